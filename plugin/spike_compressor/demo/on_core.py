"""A question answered by the simulated core, token by token, and held against the same answer from backend `fused`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from spike_compressor.demo.data import Item
from spike_compressor.demo.model import MAX_ANSWER_TOKENS, prompt
from spike_compressor.rtl import Work, core, watching
from spike_compressor.runtime import (
    AttentionSpikes,
    LayerSpikes,
    observing,
    set_backend,
    spiking_attention,
    spiking_layers,
)

#: Counters that are summed up by pass.
_SUMMED = ("cycles", "spikes", "words", "additions")


@dataclass
class Pass:
    """What the core did in one forward pass of the model.

    Attributes:
        tokens: of the language model; those of the picture among them.
        answer: the token that came of it.
        cycles: of the core, over all layers.
        spikes: fired, each counted once, whatever it was added to.
        words: cycles in which weights were added.
        additions: of a word of weights, one for each spike and tile of columns.
        seconds: of the simulation, and of all that is computed around it.
    """

    tokens: int = 0
    answer: str = ""
    cycles: int = 0
    spikes: int = 0
    words: int = 0
    additions: int = 0
    seconds: float = 0.0

    def line(self) -> str:
        """It in one line."""
        what = "picture and question" if self.tokens > 1 else "a token"
        return (
            f"{what}, {self.tokens} tokens -> {self.answer!r}: {self.cycles:,} cycles, {self.spikes:,} spikes, "
            f"{self.cycles / self.tokens:,.0f} cycles per token, {self.seconds:.1f} s"
        )


@dataclass
class _Answer:
    """What was generated: text, logits of each token, and accumulators in the order of calls, by layer or product."""

    text: str
    logits: Tensor
    sums: dict[str, list[Tensor]]

    def equals(self, other: _Answer) -> bool:
        return (
            self.text == other.text
            and torch.equal(self.logits, other.logits)
            and self.sums.keys() == other.sums.keys()
            and all(
                len(sums) == len(other.sums[name]) and all(map(torch.equal, sums, other.sums[name]))
                for name, sums in self.sums.items()
            )
        )


def answer_on_core(
    model: Any,
    processor: Any,
    item: Item,
    layers: str | Sequence[str] | None = None,
    tell: Callable[[str], object] = lambda line: None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Let the core compute an answer, and compare it with that of backend `fused`.

    Args:
        model: spiking model; afterwards all its layers are on `fused`.
        processor: its processor.
        item: the question.
        layers: names or `re:` patterns of those that the core computes; None for all, attention products included.
        tell: called with a line after each forward pass.
        progress: called with the number of calls of the core in a pass, and how many there will be.

    Returns:
        What docs/rtl_backend.md says of `rtl` in the demo's report.

    Raises:
        InputError: no core, a pattern that matches nothing, or a layer that the core cannot compute.
        RuntimeError: the answers, logits or accumulators differ.
    """
    names = set_backend(model, "rtl", layers)
    try:
        passes, ours = _on_core(model, processor, item, names, tell, progress)
    finally:
        set_backend(model, "fused")
    theirs = _on_fused(model, processor, item, names)
    if not ours.equals(theirs):
        raise RuntimeError("the simulated core and the fused backend disagree; please report this")
    tokens, cycles, words = (sum(getattr(one, key) for one in passes) for key in ("tokens", "cycles", "words"))
    shape = core().shape
    return {
        "core": {name: getattr(shape, name) for name in ("rows", "columns", "lanes", "slots")},
        "layers": len(names),
        "spiking": len(spiking_layers(model)) + len(spiking_attention(model)),
        "question": item.question,
        "answer": ours.text,
        "expected": item.answer,
        "equal": {"logits": ours.logits.numel(), "accumulators": sum(t.numel() for s in ours.sums.values() for t in s)},
        "passes": [asdict(one) for one in passes],
        "tokens": tokens,
        "cycles": cycles,
        "spikes": sum(one.spikes for one in passes),
        "cycles_per_token": cycles / tokens,
        "utilisation": sum(one.additions for one in passes) / max(1, words * shape.lanes),
        "seconds": sum(one.seconds for one in passes),
    }


class _Told:
    """A streamer of `generate`: after each pass it is given the token that came of it."""

    def __init__(self, ended: Callable[[Tensor], None]) -> None:
        self._ended, self._prompt = ended, True

    def put(self, tokens: Tensor) -> None:
        if not self._prompt:
            self._ended(tokens)
        self._prompt = False

    def end(self) -> None:
        """Nothing is left to be told."""


def _on_core(
    model: Any,
    processor: Any,
    item: Item,
    names: Sequence[str],
    tell: Callable[[str], object],
    progress: Callable[[int, int], object],
) -> tuple[list[Pass], _Answer]:
    passes: list[Pass] = []
    sums: dict[str, list[Tensor]] = {}
    calls, began = 0, time.monotonic()

    def begins(rows: Any) -> None:
        nonlocal calls, began
        calls, began = 0, time.monotonic()
        passes.append(Pass(tokens=rows.modality.numel()))

    def works(work: Work) -> None:
        nonlocal calls
        calls += 1
        progress(min(calls, len(names)), len(names))
        for name in _SUMMED:
            setattr(passes[-1], name, getattr(passes[-1], name) + work.counters[name])
        sums.setdefault(work.name, []).append(work.acc)

    def ended(token: Tensor) -> None:
        passes[-1].answer = processor.tokenizer.decode(token)
        passes[-1].seconds = time.monotonic() - began
        tell(passes[-1].line())

    with observing(model, rows=begins), watching(works):
        text, logits = _generated(model, processor, item, _Told(ended))
    return passes, _Answer(text, logits, sums)


def _on_fused(model: Any, processor: Any, item: Item, names: Sequence[str]) -> _Answer:
    sums: dict[str, list[Tensor]] = {}
    linears = [name for name in names if name in spiking_layers(model)]

    def layers(_: Any, event: LayerSpikes) -> None:
        sums.setdefault(event.name, []).append(event.acc)

    def products(_: Any, event: AttentionSpikes) -> None:
        if event.name in names and event.acc is not None and event.product is not None:
            sums.setdefault(event.product.name, []).append(event.acc)

    with observing(model, layers=layers, attention=products, names=linears):
        text, logits = _generated(model, processor, item)
    return _Answer(text, logits, sums)


@torch.inference_mode()
def _generated(model: Any, processor: Any, item: Item, streamer: Any = None) -> tuple[str, Tensor]:
    """The greedy answer, and the logits [tokens, vocabulary] that it was chosen by."""
    encoded = processor(images=item.image, text=prompt(item.question), return_tensors="pt").to(model.device)
    encoded["pixel_values"] = encoded["pixel_values"].to(model.dtype)
    found = model.generate(
        **encoded,
        max_new_tokens=MAX_ANSWER_TOKENS,
        do_sample=False,
        streamer=streamer,
        output_logits=True,
        return_dict_in_generate=True,
    )
    answer = found.sequences[0, encoded["input_ids"].shape[1] :]
    text = str(processor.tokenizer.decode(answer, skip_special_tokens=True)).strip()
    return text, torch.cat(found.logits)
