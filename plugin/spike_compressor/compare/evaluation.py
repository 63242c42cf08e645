"""What models are judged by: small classes behind a registry, named as `name` or `name:argument`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch

from spike_compressor.compare.bootstrap import Interval, accuracy_interval, perplexity_interval
from spike_compressor.compare.cells import digest_of_files, digest_of_source
from spike_compressor.compare.disjoint import shingles
from spike_compressor.compare.perplexity import Perplexity, perplexity
from spike_compressor.errors import InputError

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Figure:
    """What an evaluation found out about one model.

    Attributes:
        value: the figure, in `Evaluation.unit`.
        low, high: its 95 % bootstrap interval.
        count: items that it was measured on.
        detail: plain values for tables and paired differences.
    """

    value: float
    low: float
    high: float
    count: int
    detail: dict[str, Any]

    @classmethod
    def of(cls, interval: Interval, count: int, detail: dict[str, Any]) -> Figure:
        return cls(interval.estimate, interval.low, interval.high, count, detail)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "count": self.count, "detail": self.detail}


class Evaluation:
    """One way to judge a model.

    A subclass has a `name`, takes its argument as text, and is decorated with `register_evaluation`. Instances must
    pickle: cells run in processes of their own.
    """

    name: ClassVar[str]
    #: Of the figure: `%`, `perplexity`, ...
    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]
    #: Plural noun of the items, for messages.
    items_are: ClassVar[str] = "items"
    #: Rooms and files of this package whose code decides the figure.
    code: ClassVar[tuple[str, ...]] = ("compare/evaluation.py", "compare/bootstrap.py")

    def __init__(self, argument: str) -> None:
        self.argument = argument

    @property
    def label(self) -> str:
        """As it is named on the command line."""
        return f"{self.name}:{self.argument}" if self.argument else self.name

    def parts(self) -> dict[str, Any]:
        """Everything that the figure depends on beside the model; plain values."""
        return {"evaluation": self.label, "code": digest_of_source(*self.code)}

    def items(self, processor: Any) -> Iterator[bytes]:
        """The items as bytes that are equal exactly if the items are, to be compared with the calibration data."""
        raise NotImplementedError

    def calibration_items(self, loader: Any) -> Iterator[bytes]:
        """The same of calibration batches."""
        raise NotImplementedError

    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Figure:
        """Judge a model."""
        raise NotImplementedError

    def sample(self, model: Any, processor: Any) -> None:
        """Run the model on a few items, while spikes are counted."""
        raise NotImplementedError

    def blind(self, model: Any, processor: Any) -> float | None:
        """The figure of a model that does not see: pictures are exchanged; None where there are none to exchange."""
        return None


_EVALUATIONS: dict[str, type[Evaluation]] = {}
EvaluationT = TypeVar("EvaluationT", bound=type[Evaluation])


def register_evaluation(evaluation: EvaluationT) -> EvaluationT:
    """Class decorator: make an evaluation known under its `name`."""
    _EVALUATIONS[evaluation.name] = evaluation
    return evaluation


def available_evaluations() -> tuple[str, ...]:
    """Names that `--eval` takes."""
    return tuple(_EVALUATIONS)


def parse_evaluation(text: str) -> Evaluation:
    """`name` or `name:argument` as an evaluation.

    Raises:
        InputError: an unknown name, or an argument that the evaluation cannot use.
    """
    name, _, argument = text.partition(":")
    if name not in _EVALUATIONS:
        raise InputError(f"unknown evaluation {name!r}; there are: {', '.join(_EVALUATIONS)}")
    return _EVALUATIONS[name](argument)


def whole_number(argument: str, default: int, where: str) -> int:
    """A number from 1 out of an argument, `default` where it is empty.

    Raises:
        InputError: it is none; begins with `where`.
    """
    if not argument:
        return default
    if not argument.isdigit() or not int(argument):
        raise InputError(f"{where}: {argument!r} is no whole number from 1")
    return int(argument)


def pixels_of(batch: Any) -> Iterator[bytes]:
    """Each picture of a batch, as the model gets it."""
    pictures = batch.get("pixel_values")
    if pictures is not None:
        for picture in pictures:
            yield picture.to(torch.float32).contiguous().numpy().tobytes()


class _DemoItems(Evaluation):
    """Questions about pictures of the embedded model's test split."""

    items_are = "pictures"
    code = (*Evaluation.code, "demo/evaluate.py", "demo/data.py", "demo/scenes.py")
    default = 200

    def __init__(self, argument: str) -> None:
        super().__init__(argument)
        self.per_kind = whole_number(argument, self.default, f"--eval {self.name}")

    def questions(self, per_kind: int | None = None) -> list[Any]:
        from spike_compressor.demo.data import items

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
        from spike_compressor.demo.evaluate import judge

        judge(model, processor, self.questions(2))


@register_evaluation
class DemoQuestions(_DemoItems):
    """Accuracy on the embedded model's questions, averaged over 15 kinds; `questions:200` asks 200 of each."""

    name = "questions"
    unit = "%"
    higher_is_better = True

    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Figure:
        from spike_compressor.demo.evaluate import judge

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
        return Figure.of(percent, len(asked), detail)

    def blind(self, model: Any, processor: Any) -> float | None:
        """Accuracy of the model with the pictures exchanged, in %."""
        from spike_compressor.demo.evaluate import evaluate

        return 100 * evaluate(model, processor, self.questions(), shuffle_images=True).average


@register_evaluation
class DemoAnswers(_DemoItems):
    """Perplexity of the right answers to the embedded model's questions, end token included; `answers:100` of each."""

    name = "answers"
    unit = "perplexity"
    higher_is_better = False
    default = 100

    @torch.inference_mode()
    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Figure:
        from spike_compressor.demo.model import prompt

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
        return Figure.of(perplexity_interval(measured), len(nll), {"nll": math.fsum(nll) / sum(counts)})


@register_evaluation
class TextPerplexity(Evaluation):
    """Perplexity of a text file: `text:FILE`, or `text:FILE@512x24` for 24 windows of 512 tokens (default 512x16)."""

    name = "text"
    unit = "perplexity"
    higher_is_better = False
    items_are = "passages of 32 tokens"
    code = (*Evaluation.code, "compare/perplexity.py")

    def __init__(self, argument: str) -> None:
        super().__init__(argument)
        path, _, windows = argument.partition("@")
        context, _, count = (windows or "512x16").partition("x")
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"--eval text: no file at {path!r}; give text:FILE")
        self.context, self.windows = whole_number(context, 512, "--eval text"), whole_number(count, 16, "--eval text")

    @property
    def label(self) -> str:
        return f"text:{self.path.name}@{self.context}x{self.windows}"

    def parts(self) -> dict[str, Any]:
        return {**super().parts(), "file": digest_of_files([self.path], self.path.parent)}

    def tokens(self, processor: Any) -> torch.Tensor:
        """int64 [windows x context], from the head of the file."""
        tokenizer = getattr(processor, "tokenizer", processor)
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--eval text: cannot read {self.path}: {error}") from error
        ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
        if ids.numel() < 2:
            raise InputError(f"--eval text: {self.path} is empty")
        return ids[: self.context * self.windows]

    def items(self, processor: Any) -> Iterator[bytes]:
        yield from shingles(self.tokens(processor))

    def calibration_items(self, loader: Any) -> Iterator[bytes]:
        for batch in loader:
            mask = batch.get("attention_mask")
            for index, row in enumerate(batch["input_ids"]):
                yield from shingles(row if mask is None else row[mask[index].bool()])

    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Figure:
        measured = perplexity(model, self.tokens(processor), self.context, progress=progress)
        return Figure.of(perplexity_interval(measured), measured.scored, measured.to_dict())

    def sample(self, model: Any, processor: Any) -> None:
        perplexity(model, self.tokens(processor)[: self.context], self.context)
