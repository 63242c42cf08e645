"""Looking at a model while calibration data run through it: rows, hidden states, errors of every T."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from compressed_tensors.offload import OffloadCache, disable_onloading
from llmcompressor.core import State
from llmcompressor.utils.helpers import DisableQuantization
from torch import Tensor, nn

from spike_compressor.coding import NonFiniteInputError, raise_if_non_finite
from spike_compressor.errors import InputError
from spike_compressor.modality.following import unfollowed
from spike_compressor.modifiers.allocation import Measured, Need, Slot
from spike_compressor.modifiers.calibration import CalibrationRows
from spike_compressor.modifiers.distributed import sum_over_ranks
from spike_compressor.modifiers.evolution import EvolutionStatistics, hidden_states
from spike_compressor.modifiers.prompts import Prompts
from spike_compressor.modifiers.sensitivity import ROWS_PER_SAMPLE, ErrorTable, spread
from spike_compressor.runtime.plan import Override

#: Prompts that gradients are taken of, unless told otherwise: fewer can be too few, more are no better (docs/msts.md).
GRADIENT_SAMPLES = 64
#: Tokens that are enough whatever the number of prompts: windows of a language model hold hundreds each.
GRADIENT_TOKENS = 8192

#: Registers a hook: module, hook, kind ("forward_pre", "forward"), further arguments.
Register = Callable[..., Any]


class _Rows:
    """Rows of an input by modality.

    Args:
        masks: bool [samples, rows of a sample] by modality; [1, rows] where the input does not tell samples apart.
        samples: of the batch.

    Attributes:
        masks: as given; kept, so that their identity tells them from others.
        counts: rows by modality.
        sampled: flat indices of the rows that errors are measured on, by modality; of those that have some.
    """

    def __init__(self, masks: dict[str, Tensor], samples: int) -> None:
        self.masks = masks
        self.counts = {modality: int(mask.sum()) for modality, mask in masks.items()}
        self.sampled: dict[str, Tensor] = {}
        for modality, mask in masks.items():
            # an input that does not tell samples apart gives as many rows as one that does
            quota = ROWS_PER_SAMPLE * (samples if mask.shape[0] == 1 else 1)
            chosen = spread(mask, quota).reshape(-1).nonzero().squeeze(1)
            if chosen.numel():
                self.sampled[modality] = chosen

    def of(self, x: Tensor) -> dict[str, Tensor]:
        """The sampled rows [R, K] of x [*rows, K], by modality."""
        flat = x.reshape(-1, x.shape[-1])
        return {modality: flat.index_select(0, chosen) for modality, chosen in self.sampled.items()}


class Probe:
    """Collects what allocations need to know, from one pass over the calibration data.

    Args:
        model: that is calibrated.
        modules: the layers that are to spike.
        rows: modalities of the data's tokens.
        needs: what to collect; rows are always counted.
        curves: collect `Need.EVOLUTION` too if the model lets us: nobody asked for it, so nothing is refused for it.
        trials: for `Need.ERRORS`: makes the empty table of a slot with so many inputs.
    """

    def __init__(
        self,
        model: nn.Module,
        modules: Mapping[str, nn.Linear],
        rows: CalibrationRows,
        needs: frozenset[Need],
        trials: Callable[[Slot, int], ErrorTable],
        curves: bool = False,
    ) -> None:
        self.model, self.modules, self.rows, self.needs = model, modules, rows, needs
        self._layers: dict[str, nn.Module] = {}
        self._curves = curves and Need.EVOLUTION not in needs
        with contextlib.suppress(InputError) if self._curves else contextlib.nullcontext():
            if self._curves or Need.EVOLUTION in needs:
                self._layers = rows.adapter.decoder_layers(model)
        self._trials = trials
        self._reset()
        rows.on_restart.append(self._reset)

    def _reset(self) -> None:
        self._counts: dict[Slot, int] = {}
        self._counted: set[tuple[str, int]] = set()
        self._evolution = EvolutionStatistics(tuple(self._layers), self.rows.adapter.token_modalities)
        self._errors: dict[Slot, ErrorTable] = {}
        self._looked_at: dict[int, _Rows] = {}
        self._batch = -1
        self._prompts: Prompts | None = None

    def watch(self, register: Register, state: State) -> None:
        """Register the hooks that collect during a pipeline's pass."""
        self.rows.follow(self.model, self.modules, state)
        for name, module in self.modules.items():
            register(module, partial(self._on_input, name, state), "forward_pre")
        for index, layer in enumerate(self._layers.values()):
            register(layer, partial(self._on_layer, index, state), "forward", with_kwargs=True)

    def _on_input(self, name: str, state: State, module: nn.Linear, args: tuple[Any, ...]) -> None:
        batch = state.current_batch_idx
        if (name, batch) in self._counted:  # a quantizer that tries a layer several times on one batch
            return
        self._counted.add((name, batch))
        x: Tensor = args[0]
        rows = self._rows_of(name, x, batch)
        self._count(name, rows)
        if Need.ERRORS in self.needs:
            with unfollowed():
                sampled = rows.of(x)
            for modality, part in sampled.items():
                self._measure(name, module, modality, part)

    def _count(self, name: str, rows: _Rows) -> None:
        for modality, count in rows.counts.items():
            self._counts[name, modality] = self._counts.get((name, modality), 0) + count

    def _rows_of(self, name: str, x: Tensor, batch: int) -> _Rows:
        """The rows of a layer's input; layers that share masks are looked at once a batch."""
        masks = self.rows.of_module(name, x, batch)
        if batch != self._batch:
            self._looked_at.clear()
            self._batch = batch
        found = self._looked_at.get(id(masks))
        if found is None:
            samples = self.rows.batches[batch].modality.shape[0]
            found = self._looked_at[id(masks)] = _Rows(masks, samples)
        return found

    def _measure(self, name: str, module: nn.Linear, modality: str, x: Tensor, gradient: Tensor | None = None) -> None:
        if (name, modality) not in self._errors:
            self._errors[name, modality] = self._trials((name, modality), module.in_features)
        with _named(name):
            if gradient is None:  # the first layer that has any is named; gradients come from the last one
                raise_if_non_finite(x)
            self._errors[name, modality].update(x, None if gradient is not None else module.weight, gradient)

    def _on_layer(
        self, index: int, state: State, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        batch = state.current_batch_idx
        if not self._layers or self._evolution.has(
            index, batch
        ):  # a quantizer that tries a layer again may do so with batches of its own
            return
        before, after = hidden_states(args, kwargs, output)
        rows = self.rows.of_layer(before, batch) if before.shape == after.shape else None
        if rows is None:
            self._no_curve(index, before, after, self.rows.batches[batch].modality.shape)
            return
        tokens = rows.modality.shape
        self._evolution.update(index, batch, before.view(*tokens, -1), after.view(*tokens, -1), rows)

    def _no_curve(self, index: int, before: Tensor, after: Tensor, tokens: torch.Size) -> None:
        """A decoder layer that sees other rows than the batch's tokens, or changes them, has no curve."""
        if not self._curves:
            raise InputError(
                f"the decoder layer {tuple(self._layers)[index]} turns {list(before.shape)} into {list(after.shape)} "
                f"where the batch has {list(tokens)} tokens, so allocation `med` cannot tell how tokens turn; use "
                "`sensitivity` or `uniform`"
            )
        self._layers, self._evolution = {}, EvolutionStatistics((), ())

    def gradient_pass(self, progress: Callable[[Any], Any] = iter, samples: int | None = None) -> None:
        """Run data forward and backward once and collect everything, errors weighted by the loss's gradient.

        The loss is the summed cross entropy of the next text token: placeholders and padding are no targets.

        Args:
            progress: wraps the data loader.
            samples: prompts to run, over all ranks, in whole batches spread evenly over the data; GRADIENT_SAMPLES if
                None, or as many as hold GRADIENT_TOKENS. A batch that brings a modality before any other is run too.
                Rows are scaled to those of all data: exact where a layer has as many rows a token in every batch.

        Raises:
            InputError: a model that gives no logits, or NaN in a layer.
        """
        model: Any = self.model
        state = State(model=model)
        training = model.training
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            stack.enter_context(DisableQuantization(model))
            stack.enter_context(_frozen(model))
            stack.enter_context(_unmoved(model))
            stack.enter_context(self.rows.following(model, self.modules, state))
            handles: list[Any] = []
            stack.callback(lambda: [handle.remove() for handle in handles])
            for name, module in self.modules.items():
                handles.append(module.register_forward_pre_hook(partial(self._on_differentiated_input, name, state)))
            for index, layer in enumerate(self._layers.values()):
                handles.append(layer.register_forward_hook(partial(self._on_layer, index, state), with_kwargs=True))
            embedding = model.get_input_embeddings()
            handles.append(embedding.register_forward_hook(lambda _, __, out: out.detach().requires_grad_().clone()))
            model.eval()
            stack.callback(lambda: model.train(training))
            device = next(model.parameters()).device
            prompts = None
            for index, batch in enumerate(progress(self.rows.loader)):
                if prompts is None:  # reading the data has begun anew, and forgot what was collected
                    enough = GRADIENT_TOKENS if samples is None else None
                    prompts = self._prompts = Prompts(self.rows.loader, samples or GRADIENT_SAMPLES, enough)
                if not prompts.takes(self.rows.batches[index]):
                    continue
                state.current_batch_idx = index
                inputs = {key: value.to(device) for key, value in batch.items() if isinstance(value, Tensor)}
                for value in inputs.values():
                    if value.is_floating_point():
                        value.requires_grad_()  # pictures: the tower's layers get gradients too
                loss = self._loss(model, inputs, index)
                if loss is not None:
                    loss.backward()

    def _loss(self, model: Any, inputs: dict[str, Tensor], index: int) -> Tensor | None:
        ids, rows = inputs.get("input_ids"), self.rows.batches[index]
        if ids is None:
            raise InputError(
                "MSTSModifier: weighting `gradient` needs calibration batches with `input_ids`; use weighting `output`"
            )
        logits = getattr(model(**{key: value for key, value in inputs.items() if key != "labels"}), "logits", None)
        if logits is None or logits.shape[:2] != ids.shape:
            raise InputError(
                f"MSTSModifier: weighting `gradient` needs a language model's logits, which {type(model).__name__} "
                "does not give; use weighting `output`"
            )
        target = (rows.modality == 0).to(ids.device)
        if rows.valid is not None:
            target &= rows.valid.to(ids.device)
        chosen = target[:, 1:]
        if not bool(chosen.any()):
            return None
        return nn.functional.cross_entropy(logits[:, :-1][chosen].float(), ids[:, 1:][chosen], reduction="sum")

    def _on_differentiated_input(
        self, name: str, state: State, module: nn.Linear, args: tuple[Any, ...]
    ) -> tuple[Any, ...] | None:
        x: Tensor = args[0]
        found = self._rows_of(name, x, state.current_batch_idx)
        self._count(name, found)
        if not found.sampled or not x.requires_grad:
            return None
        with unfollowed():
            rows = found.of(x.detach())

        def on_gradient(gradient: Tensor) -> None:
            for modality, part in found.of(gradient).items():
                self._measure(name, module, modality, rows[modality], part)

        # an input of this layer's own, which others may share: its gradient is that through this layer alone
        own = x.view_as(x)
        own.register_hook(on_gradient)
        return (own, *args[1:])

    def result(self, pinned: dict[Slot, Override]) -> Measured:
        """Everything collected, summed up over ranks.

        Raises:
            InputError: nothing was collected.
        """
        modalities = self.rows.adapter.modalities
        prompts, found = self._prompts, self._counts
        if prompts is not None:
            found = {slot: prompts.of_all(slot[1], count) for slot, count in found.items()}
        counts = torch.tensor([[found.get((n, m), 0) for m in modalities] for n in self.modules])
        sum_over_ranks(counts)
        rows = {
            (name, modality): int(counts[i, j])
            for i, name in enumerate(self.modules)
            for j, modality in enumerate(modalities)
            if counts[i, j]
        }
        if Need.EVOLUTION in self.needs:
            self._require_curves()
        self._evolution.reduce()
        errors = {}
        if Need.ERRORS in self.needs:
            for slot in rows:
                table = self._errors.get(slot) or self._trials(slot, self.modules[slot[0]].in_features)
                with _named(slot[0]):
                    table.reduce()
                errors[slot] = table
        return Measured(
            modalities=modalities,
            macs={name: module.in_features * module.out_features for name, module in self.modules.items()},
            rows=rows,
            tokens=dict(self.rows.tokens),
            pinned=pinned,
            decoder_layer=self._decoder_layers(),
            evolution=self._evolution.result() if self._layers else None,
            errors=errors,
            samples=self._samples(),
        )

    def _samples(self) -> int:
        if self._prompts is None:
            return self.rows.samples
        samples = torch.tensor([self._prompts.samples])
        sum_over_ranks(samples)
        return int(samples)

    def _require_curves(self) -> None:
        """A layer that a pipeline ran in parts has no curve, and would pass for one that only text reached."""
        batches = range(len(self.rows.batches))
        for index, name in enumerate(self._layers):
            if batches and not any(self._evolution.has(index, batch) for batch in batches):
                raise InputError(
                    f"the decoder layer {name} was not called as a whole while calibrating, so allocation `med` cannot "
                    "tell how tokens turn in it; use pipeline='basic', or `sensitivity` or `uniform`"
                )

    def _decoder_layers(self) -> dict[str, int]:
        return {
            name: index
            for index, layer in enumerate(self._layers)
            for name in self.modules
            if name.startswith(layer + ".")
        }


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """NaN and infinity are errors that name the layer."""
    try:
        yield
    except NonFiniteInputError as error:
        raise error.at(f"layer {name}, while calibrating") from None


@contextlib.contextmanager
def _unmoved(model: nn.Module) -> Iterator[None]:
    """Within the block nobody looks where an offloaded model's tensors are, if they lie where they are used anyway."""
    caches = [module._parameters for module in model.modules() if isinstance(module._parameters, OffloadCache)]
    staying = all("cpu" == str(cache.onload_device) == str(cache.offload_device) for cache in caches)
    with disable_onloading() if caches and staying else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter collects a gradient within the block."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
