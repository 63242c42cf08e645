"""Rebuilding a spiking model: block by block towards what it gave in floats, then as a whole towards its logits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from loguru import logger
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.modality import TEXT, ModalityAdapter, Scopes, TokenRows, holders
from spike_compressor.modifiers.reconstruction.blocks import Block, Call, captured, chains_of, in_floats
from spike_compressor.modifiers.reconstruction.fitting import Rates, descend
from spike_compressor.modifiers.reconstruction.learning import Learns, learning
from spike_compressor.modifiers.unreached import some
from spike_compressor.runtime import spiking_state

#: One part in so many judges what was learned from the others.
_JUDGED = 8
#: Rates of the whole model, as a share of a block's: what all layers do at once adds up.
_WHOLE = 0.2


@dataclass(frozen=True)
class Settings:
    """How a model is rebuilt.

    Attributes:
        learns: what is learned.
        block_steps: steps of each block; 0 for none.
        model_steps: steps of the whole model; 0 for none.
        rates: of a step.
        prompts: in a step, at least.
        seed: of the order of the data.
    """

    learns: Learns
    block_steps: int
    model_steps: int
    rates: Rates
    prompts: int
    seed: int


@dataclass(frozen=True)
class BlockReport:
    """What became of a block.

    Attributes:
        name: of the block.
        before: squared error of its output as a share of the output in floats, on data that it did not learn from.
        after: likewise; `before` where it was left as it was.
        changed: share of its integers that are others.
    """

    name: str
    before: float
    after: float
    changed: float


class Rebuilder:
    """Rebuilds the blocks of a spiking model on calibration data.

    Args:
        model: that spikes, on one device.
        blocks: of it, with their copies in floats.
        batches: of the calibration data, on the model's device.
        adapter: of the model.
        settings: how.
        progress: wraps what takes long.
    """

    def __init__(
        self,
        model: Any,
        blocks: Sequence[Block],
        batches: Sequence[Mapping[str, Any]],
        adapter: ModalityAdapter,
        settings: Settings,
        progress: Callable[..., Any] = lambda iterable, **_: iterable,
    ) -> None:
        self._model, self._blocks, self._batches, self._settings = model, list(blocks), list(batches), settings
        self._adapter, self._progress = adapter, progress
        self._state = spiking_state(model)
        self._rows: list[TokenRows] = []
        self._counts: list[int] = []
        for batch in self._batches:
            rows = adapter.rows(batch)
            if rows is None:
                raise InputError(
                    f"a calibration batch with {', '.join(batch)} does not tell the modality of its tokens; give it "
                    "`input_ids`"
                )
            self._rows.append(rows)
            self._counts.append(int(rows.modality.shape[0]))

    # Blocks

    def rebuild_blocks(self) -> list[BlockReport]:
        """Fit every block to what it gave in floats, in the order in which they run.

        Its inputs are those that the blocks before it give as they are by then, while its targets come of the model in
        floats: errors that came with the inputs are made up for as far as they can be.
        """
        first = self._batches[next((i for i, batch in enumerate(self._batches) if self._has_media(batch)), 0)]
        chains, left = chains_of(self._model, self._blocks, lambda: self._run(first))
        if left:
            logger.warning(f"{len(left)} blocks did not run once in a pass and stay as they are: {some(left)}")
        reports = []
        bar = self._progress(range(sum(map(len, chains))), desc="Rebuilding blocks")
        steps = iter(bar)
        for chain in chains:
            for report in self._rebuild_chain(chain):
                next(steps, None)
                reports.append(report)
        for _ in steps:
            pass
        return reports

    def _rebuild_chain(self, chain: list[Block]) -> Iterator[BlockReport]:
        names = [block.name for block in chain]
        with torch.no_grad():
            own = captured(self._model, names, self._batches, self._run)
            with in_floats(self._model, self._blocks):
                real = captured(self._model, names, self._batches, self._run)
        reached = {
            n: (mine, theirs)
            for n, (mine, theirs) in enumerate(zip(own, real, strict=True))
            if mine is not None and theirs is not None
        }
        inputs = {n: mine.rows for n, (mine, _) in reached.items()}
        targets = {n: theirs.rows for n, (_, theirs) in reached.items()}
        for block in chain:
            module = self._model.get_submodule(block.name)
            calls = {n: mine.calls[block.name] for n, (mine, _) in reached.items()}
            with torch.no_grad():
                for n, (_, theirs) in reached.items():
                    targets[n] = theirs.calls[block.name].on(block.real, targets[n])
            yield self._rebuild(block, module, calls, inputs, targets)
            with torch.no_grad(), self._rows_of_block(block) as at:
                for n, call in calls.items():
                    at(n)
                    inputs[n] = call.on(module, inputs[n])

    def _rebuild(
        self,
        block: Block,
        module: nn.Module,
        calls: Mapping[int, Call],
        inputs: Mapping[int, Tensor],
        targets: Mapping[int, Tensor],
    ) -> BlockReport:
        parts = self._parts(list(calls))
        judged = parts[::_JUDGED] if len(parts) >= _JUDGED // 2 else parts
        taught = [part for part in parts if part not in judged] or parts
        with self._rows_of_block(block) as at, _in_float32(module):

            def error(part: list[int]) -> Tensor:
                losses = []
                for n in part:
                    at(n)
                    out = calls[n].to(torch.float32).on(module, inputs[n].to(torch.float32))
                    losses.append(_error(out, targets[n].to(torch.float32), self._valid(block, n, out)))
                weights = torch.tensor([float(self._counts[n]) for n in part], device=losses[0].device)
                return (torch.stack(losses) * weights).sum() / weights.sum()

            def judge() -> float:
                with torch.no_grad():
                    return sum(float(error(part)) for part in judged) / len(judged)

            with learning(self._state, {block.name: (module, block)}, self._settings.learns) as learned:
                before = judge()
                scale = 1 / max(before, torch.finfo(torch.float32).tiny)
                descend(
                    learned.groups(self._settings.rates),
                    lambda number: error(taught[number]) * scale,
                    len(taught),
                    self._settings.block_steps,
                    self._settings.seed,
                )
                after = judge()
                changed = learned.settle() if after < before else learned.restore()
        logger.debug(f"{block.name}: error {before:.4f} -> {after:.4f}, {changed:.1%} of its integers are others")
        return BlockReport(block.name, before, min(before, after), changed)

    # The whole model

    def rebuild_model(self) -> tuple[float, float]:
        """Learn all blocks together, towards the logits that the model had in floats.

        Returns:
            Kullback-Leibler divergence of the next token, in nats, on data that it did not learn from: before, after.
        """
        parts = self._parts(list(range(len(self._batches))))
        judged = parts[::_JUDGED] if len(parts) >= _JUDGED // 2 else parts
        taught = [part for part in parts if part not in judged] or parts
        modules = {block.name: (self._model.get_submodule(block.name), block) for block in self._blocks}

        def divergence(part: list[int]) -> Tensor:
            losses = []
            for n in part:
                with torch.no_grad(), in_floats(self._model, self._blocks):
                    target = self._chosen(self._run(self._batches[n]), n).log_softmax(-1)
                own = self._chosen(self._run(self._batches[n]), n).log_softmax(-1)
                losses.append((target.exp() * (target - own)).sum(-1))
            found = torch.cat(losses)
            return found.mean() if found.numel() else found.sum()

        def judge() -> float:
            with torch.no_grad():
                return sum(float(divergence(part)) for part in judged) / len(judged)

        with contextlib.ExitStack() as stack:
            for module, _ in modules.values():
                stack.enter_context(_in_float32(module))
            learned = stack.enter_context(learning(self._state, modules, self._settings.learns))
            before = judge()
            scale = 1 / max(before, torch.finfo(torch.float32).tiny)
            bar = iter(self._progress(range(self._settings.model_steps), desc="Rebuilding the model"))
            descend(
                learned.groups(self._settings.rates.times(_WHOLE)),
                lambda number: divergence(taught[number]) * scale,
                len(taught),
                self._settings.model_steps,
                self._settings.seed,
                lambda: next(bar, None),
            )
            after = judge()
            if after < before:
                learned.settle()
            else:
                learned.restore()
        return before, min(before, after)

    def _chosen(self, output: Any, number: int) -> Tensor:
        """Logits [R, vocabulary] at the places of text tokens whose successor is text, too, or is labelled."""
        logits = getattr(output, "logits", None)
        rows, batch = self._rows[number], self._batches[number]
        if logits is None or logits.shape[:2] != rows.modality.shape:
            raise InputError(
                f"SpikeReconstructionModifier.model_steps needs a language model's logits, which "
                f"{type(self._model).__name__} does not give; set it to 0"
            )
        wanted = (rows.modality == TEXT).to(logits.device)
        if rows.valid is not None:
            wanted &= rows.valid.to(logits.device)
        labels = batch.get("labels")
        if isinstance(labels, Tensor) and labels.shape == wanted.shape:
            wanted &= (labels != -100).to(wanted.device)
        return logits[:, :-1][wanted[:, 1:]].to(torch.float32)

    # What both need

    def _run(self, batch: Mapping[str, Any]) -> Any:
        return self._model(**{key: value for key, value in batch.items() if key != "labels"})

    def _has_media(self, batch: Mapping[str, Any]) -> bool:
        return any(batch.get(name) is not None for name in self._adapter.media_fields)

    def _parts(self, numbers: list[int]) -> list[list[int]]:
        """Batches in groups of as many prompts as a step has at least, in the data's order."""
        parts: list[list[int]] = []
        prompts = self._settings.prompts
        for number in numbers:
            if not parts or sum(self._counts[n] for n in parts[-1]) >= prompts:
                parts.append([])
            parts[-1].append(number)
        return parts

    @contextlib.contextmanager
    def _rows_of_block(self, block: Block) -> Iterator[Callable[[int], None]]:
        """Within it, calls of a block outside of the model know their rows: those of the batch that was last named."""
        now: list[TokenRows] = []

        def at(number: int) -> None:
            rows = self._rows[number]
            now[:] = [TokenRows(rows.modality, rows.valid)]  # what is derived of rows and ratios does not pile up

        if all(self._adapter.fixed_modality(name) not in (None, TEXT) for name in block.layers):
            yield at
            return
        outer = holders(self._model, block.layers)
        around = [module for name, module in outer.items() if f"{name}.".startswith(f"{block.name}.")]
        scopes = Scopes(around or [self._model.get_submodule(block.name)], lambda: now[0] if now else None)
        scopes.open()
        try:
            yield at
        finally:
            scopes.close()

    def _valid(self, block: Block, number: int, out: Tensor) -> Tensor | None:
        """Where an output of a block is no padding; None where nothing is, or it is not the tokens'."""
        valid = self._rows[number].valid
        if (
            valid is None
            or out.shape[:2] != valid.shape
            or all(self._adapter.fixed_modality(name) not in (None, TEXT) for name in block.layers)
        ):
            return None
        return valid.to(out.device)


def _error(out: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over rows of the squared error as a share of the row's square; few rows of LLMs are large beyond measure."""
    errors = (out - target).pow(2).mean(-1) / target.pow(2).mean(-1).clamp_min(torch.finfo(torch.float32).tiny)
    return (errors if valid is None else errors[valid]).mean()


@contextlib.contextmanager
def _in_float32(module: nn.Module) -> Iterator[None]:
    """Within it a block computes in float32, whatever it is stored in: small steps would be lost in 16 bits."""
    narrow = [
        tensor
        for tensor in (*module.parameters(), *module.buffers())
        if tensor.is_floating_point() and tensor.dtype.itemsize < 4
    ]
    was = [tensor.dtype for tensor in narrow]
    for tensor in narrow:
        tensor.data = tensor.data.to(torch.float32)
    try:
        yield
    finally:
        for tensor, dtype in zip(narrow, was, strict=True):
            tensor.data = tensor.data.to(dtype)


def summary(reports: Iterable[BlockReport]) -> str:
    """One line about all blocks."""
    reports = list(reports)
    better = [report for report in reports if report.after < report.before]
    ratios = torch.tensor([report.after / report.before for report in better] or [1.0])
    changed = sum(report.changed for report in reports) / max(len(reports), 1)
    return (
        f"{len(better)} of {len(reports)} blocks are nearer to what they gave in floats: on data that they did not "
        f"learn from, their error is {ratios.log().mean().exp().item():.3f} of what it was; {changed:.1%} of the "
        "integers are others"
    )
