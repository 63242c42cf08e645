"""The modality of every token of the calibration data, in step with whatever pipeline reads it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from llmcompressor.core import State
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.modality import (
    TEXT,
    ModalityAdapter,
    RowSelection,
    Scopes,
    TokenRows,
    current_rows,
    holders,
    rows_by_modality,
    rows_of,
)
from spike_compressor.modifiers.distributed import sum_over_ranks


class Unnoticed:
    """A data loader's batches, read so that nobody notices: not who watches the loader, nor the global generator."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._class = getattr(loader, "_unwatched_class", type(loader))

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        batches = None
        state = torch.random.get_rng_state()
        while True:
            outside = torch.random.get_rng_state()
            torch.random.set_rng_state(state)
            try:
                batches = self._class.__iter__(self._loader) if batches is None else batches
                batch = next(batches, _END)
            finally:
                state = torch.random.get_rng_state()
                torch.random.set_rng_state(outside)
            if batch is _END:
                return
            yield batch


#: What no batch is.
_END = object()


class CalibrationRows:
    """Token rows of each calibration batch, recorded while a pipeline iterates over the data loader.

    Pipelines iterate anew for every modifier, and a shuffling loader gives another order each time. So the rows are
    taken from the very iteration that feeds the pipeline: the loader's class is replaced by one that watches.

    Attributes:
        batches: rows of the batches read so far in this iteration.
        samples: prompts of the last whole iteration, over all ranks.
        tokens: their tokens by modality.
        on_restart: called whenever a new iteration begins.

    Raises (from within the iteration):
        InputError: a multimodal model and nothing but text in the whole data, unless `allow_text_only`; batches that do
            not tell their modalities; in the sequential pipeline, batches with other inputs than the first.
    """

    def __init__(self, dataloader: Any, adapter: ModalityAdapter, allow_text_only: bool) -> None:
        self.adapter, self.allow_text_only = adapter, allow_text_only
        self.batches: list[TokenRows] = []
        self.samples = 0
        self.tokens: dict[str, int] = dict.fromkeys(adapter.modalities, 0)
        self.on_restart: list[Callable[[], None]] = []
        self._first: frozenset[str] | None = None  # inputs of the first batch of an iteration that is not over
        self._traced: frozenset[str] | None = None
        self._masks: dict[int, dict[str, Tensor]] = {}
        self._whole: dict[tuple[str, int, int, torch.device], dict[str, Tensor]] = {}
        self._scopes: Scopes | None = None
        # a run that failed before it could release the loader has left its class on it
        self._loader, self._class = dataloader, getattr(dataloader, "_unwatched_class", type(dataloader))
        rows, unwatched = self, self._class

        class Watched(unwatched):  # type: ignore[misc, valid-type]
            _unwatched_class = unwatched

            def __iter__(self) -> Iterator[Any]:
                rows._restart()
                for batch in super().__iter__():
                    rows._add(batch)
                    yield batch
                rows._finish()

        dataloader.__class__ = Watched

    @property
    def loader(self) -> Any:
        """The watched data loader."""
        return self._loader

    def follow(self, model: nn.Module, layers: Iterable[str], state: State) -> None:
        """Follow rows through the decoder layers, for modules that are given chosen ones: experts, pruned tokens.

        Args:
            model: that is calibrated.
            layers: the modules that `of_module` will be asked of.
            state: knows which batch is under way.
        """
        if self._scopes is not None:
            return
        try:
            decoder = tuple(f"{name}." for name in self.adapter.decoder_layers(model))
        except InputError:
            return  # all rows or an error, in a model without known layers
        # outside of them pipelines may trace the model, with inputs that are no tensors
        inside = [name for name in layers if name.startswith(decoder)]
        modules = [module for name, module in holders(model, inside).items() if f"{name}.".startswith(decoder)]
        self._scopes = Scopes(modules, lambda: self._under_way(state))
        self._scopes.open()

    @contextlib.contextmanager
    def following(self, model: nn.Module, layers: Iterable[str], state: State) -> Iterator[None]:
        """As `follow`, for a pass that is no pipeline's and has a state of its own."""
        others, self._scopes = self._scopes, None
        if others is not None:
            others.close()
        try:
            self.follow(model, layers, state)
            yield
        finally:
            if self._scopes is not None:
                self._scopes.close()
            self._scopes = others
            if others is not None:
                others.open()

    def release(self) -> None:
        """Stop watching."""
        self._loader.__class__ = self._class
        if self._scopes is not None:
            self._scopes.close()
            self._scopes = None

    def _under_way(self, state: State) -> TokenRows | None:
        """Rows of the batch that runs; None while another modifier runs batches that were not read here."""
        index = state.current_batch_idx
        return self.batches[index] if 0 <= index < len(self.batches) else None

    def _restart(self) -> None:
        # who reads one batch and begins anew has traced the model with it: the sequential pipeline
        self._traced = self._first if len(self.batches) == 1 else None
        self._first = None
        self.batches.clear()
        self._masks.clear()
        self._whole.clear()
        for callback in self.on_restart:
            callback()

    def _add(self, batch: Any) -> None:
        if not isinstance(batch, Mapping):
            raise InputError(f"calibration batches must be mappings of the model's inputs, not {type(batch).__name__}")
        self._check_inputs(frozenset(key for key, value in batch.items() if value is not None))
        rows = self.adapter.rows(batch)
        if rows is None:
            raise InputError(
                f"a calibration batch with {', '.join(batch)} does not tell the modality of its tokens; give it "
                "`input_ids`"
            )
        self.batches.append(rows)

    def _check_inputs(self, names: frozenset[str]) -> None:
        """The sequential pipeline's graph takes the first batch's inputs: it drops others without a word."""
        if self._first is None:
            self._first = names
        if self._traced is not None and names != self._traced:
            raise InputError(
                f"calibration batch {len(self.batches)} has the inputs {', '.join(sorted(names))}; the sequential "
                f"pipeline was traced with a batch that has {', '.join(sorted(self._traced))}, and would drop or miss "
                "the difference. Give every batch the same inputs (pictures or video in each, or in none), or use "
                "pipeline='basic'."
            )

    def _finish(self) -> None:
        self._first = None
        counts = [rows.counts() for rows in self.batches]
        totals = [sum(count.get(name, 0) for count in counts) for name in self.tokens]
        sums = torch.tensor([sum(rows.modality.shape[0] for rows in self.batches), *totals])
        sum_over_ranks(sums)  # every rank reads its share as often as the others
        self.samples, *totals = sums.tolist()
        self.tokens = dict(zip(self.tokens, totals, strict=True))
        others = [name for name in self.adapter.token_modalities if name != "text"]
        if others and self.samples and not any(self.tokens[name] for name in others) and not self.allow_text_only:
            ids = {name: list(ids) for name, ids in self.adapter.placeholders.items()}
            raise InputError(
                f"the calibration data holds {self.tokens['text']} text tokens and not one {' or '.join(others)} "
                f"token, but the model is multimodal (placeholder ids: {ids}). Calibrate with such data, or set "
                "`allow_text_only: true` in MSTSModifier or TCLIFModifier."
            )

    def of_layer(self, x: Tensor, batch: int) -> TokenRows | None:
        """The tokens that the rows of a decoder layer's input x [*leading, K] are; None where that cannot be told."""
        rows = self.batches[batch]
        if rows.modality.numel() == x.shape[:-1].numel():
            return rows
        chosen = rows_of(x)
        if chosen is None:
            return None
        valid = chosen.valid
        shape = (-1, x.shape[-2])
        return TokenRows(chosen.modality.view(shape), None if valid is None else valid.view(shape))

    def of_module(self, name: str, x: Tensor, batch: int) -> dict[str, Tensor]:
        """Which rows of a module's input belong to which modality; padding belongs to none.

        Args:
            name: of the module.
            x: its input [*rows, K].
            batch: index of the batch.

        Returns:
            bool [samples, rows of a sample] by modality, of those that have rows; [1, rows] where the input does not
            tell samples apart. Modules with the same rows share one table, which is not to be changed.

        Raises:
            InputError: the module's rows are not the batch's tokens.
        """
        lead = x.shape[:-1]
        if self.adapter.fixed_modality(name) not in (None, TEXT):
            samples = lead[0] if len(lead) > 1 else 1
            (modality,) = self.adapter.modalities_of(name)
            key = modality, samples, lead.numel(), x.device
            if key not in self._whole:
                mask = torch.ones(lead.numel(), dtype=torch.bool, device=x.device)
                self._whole[key] = {modality: mask.reshape(samples, -1)}
            return self._whole[key]
        if not lead.numel():  # an expert that the router sent nothing
            return {}
        rows = self.batches[batch]
        chosen = RowSelection(rows) if current_rows() is None and rows.modality.numel() == lead.numel() else rows_of(x)
        if chosen is None:
            raise InputError(
                f"{name} sees {lead.numel()} rows where the batch has {rows.modality.numel()} tokens, and which they "
                "are cannot be told: they come from an operation through which rows are not followed. List the module "
                "in TCLIFModifier's `ignore`."
            )
        if chosen.rows.modality.shape != rows.modality.shape or not chosen.all_in_order:
            return _masks(chosen.modality, chosen.valid, x.device, (1, -1))
        if batch not in self._masks:  # the same for every module of the language model
            self._masks[batch] = _masks(rows.modality, rows.valid, x.device, rows.modality.shape)
        return self._masks[batch]


def _masks(
    modality: Tensor, valid: Tensor | None, device: torch.device, shape: tuple[int, ...] | torch.Size
) -> dict[str, Tensor]:
    """bool masks by modality of rows, padding in none of them."""
    masks = rows_by_modality(modality, valid)
    return {label: mask.to(device).reshape(shape) for label, mask in masks.items()}
