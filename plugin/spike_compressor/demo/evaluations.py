"""The embedded model's questions as evaluations of a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from spike_compressor.demo.data import items
from spike_compressor.demo.evaluate import evaluate, judge
from spike_compressor.demo.model import prompt
from spike_compressor.errors import InputError
from spike_compressor.evaluations import (
    Evaluation,
    Interval,
    Metric,
    Perplexity,
    accuracy_interval,
    perplexity_interval,
    register_evaluation,
)
from spike_compressor.evaluations.base import Progress, pixels_of, whole_number


class _DemoItems(Evaluation):
    """Questions about pictures of the embedded model's test split."""

    items_are = "pictures"
    default = 200

    def __init__(self, argument: str) -> None:
        super().__init__(argument)
        self.per_kind = whole_number(argument, self.default, f"--eval {self.name}")

    def questions(self, per_kind: int | None = None) -> list[Any]:
        try:
            return items("test", per_kind or self.per_kind)
        except ValueError as error:
            raise InputError(f"--eval {self.label}: {error}") from error

    def items(self, processor: Any) -> Iterator[bytes]:
        for item in self.questions():
            yield from pixels_of(processor.image_processor(item.image, return_tensors="pt"))

    def calibration_items(self, loader: Any) -> Iterator[bytes]:
        for batch in loader:
            yield from pixels_of(batch)

    def sample(self, model: Any, processor: Any) -> None:
        judge(model, processor, self.questions(2))


@register_evaluation("questions")
class DemoQuestions(_DemoItems):
    """Accuracy on the embedded model's questions, averaged over 15 kinds; `questions:200` asks 200 of each."""

    unit = "%"
    higher_is_better = True

    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Metric:
        asked = self.questions()
        answers = judge(model, processor, asked, progress=progress)
        by_kind: dict[str, list[bool]] = {}
        for item, right in zip(asked, answers, strict=True):
            by_kind.setdefault(item.kind, []).append(right)
        interval = accuracy_interval(by_kind)
        detail = {
            "by_kind": {kind: 100 * sum(right) / len(right) for kind, right in by_kind.items()},
            "correct": {kind: "".join("01"[one] for one in right) for kind, right in by_kind.items()},
        }
        percent = Interval(100 * interval.estimate, 100 * interval.low, 100 * interval.high)
        return Metric.of(percent, len(asked), detail)

    def blind(self, model: Any, processor: Any) -> float | None:
        """Accuracy of the model with the pictures exchanged, in %."""
        return 100 * evaluate(model, processor, self.questions(), shuffle_images=True).average


@register_evaluation("answers")
class DemoAnswers(_DemoItems):
    """Perplexity of the right answers to the embedded model's questions, end token included; `answers:100` of each."""

    unit = "perplexity"
    higher_is_better = False
    default = 100

    @torch.inference_mode()
    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Metric:
        asked = self.questions()
        tokenizer = processor.tokenizer
        by_length: dict[int, list[tuple[Any, str, int]]] = {}
        for item in asked:
            text = f"{prompt(item.question)} {item.answer} {tokenizer.eos_token}"
            answer = len(tokenizer(item.answer, add_special_tokens=False)["input_ids"]) + 1
            by_length.setdefault(len(tokenizer(text)["input_ids"]), []).append((item, text, answer))
        nll: list[float] = []
        counts: list[int] = []
        for group in by_length.values():
            for start in range(0, len(group), 64):
                part = group[start : start + 64]
                batch = processor(
                    images=[i.image for i, _, _ in part], text=[t for _, t, _ in part], return_tensors="pt"
                )
                ids = batch["input_ids"]
                logits = model(**batch, use_cache=False).logits[:, :-1].float()
                losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
                for row, (_, _, answer) in zip(losses, part, strict=True):
                    nll.append(float(row[-answer:].sum(dtype=torch.float64)))
                    counts.append(answer)
                if progress is not None:
                    progress(len(nll), len(asked))
        measured = Perplexity(1, 1, tuple(nll), tuple(counts))
        return Metric.of(perplexity_interval(measured), len(nll), {"nll": math.fsum(nll) / sum(counts)})
