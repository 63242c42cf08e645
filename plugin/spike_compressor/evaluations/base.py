"""What models are judged by: small classes behind a registry, named as `name` or `name:argument`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch

from spike_compressor.errors import InputError
from spike_compressor.evaluations.bootstrap import Interval
from spike_compressor.fingerprint_code import MODEL, digest_of_code
from spike_compressor.registry import Registry

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Metric:
    """What an evaluation measured of one model.

    Attributes:
        value: in `Evaluation.unit`.
        low: lower end of its 95 % bootstrap interval.
        high: upper end.
        count: items that it was measured on.
        detail: plain values for tables and paired differences.
    """

    value: float
    low: float
    high: float
    count: int
    detail: dict[str, Any]

    @classmethod
    def of(cls, interval: Interval, count: int, detail: dict[str, Any]) -> Metric:
        return cls(interval.estimate, interval.low, interval.high, count, detail)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "count": self.count, "detail": self.detail}


class Evaluation:
    """One way to judge a model.

    A subclass takes its argument as text, and is decorated with `register_evaluation("name")`. Instances must pickle:
    cells run in processes of their own.
    """

    #: Set by `register_evaluation`.
    name: ClassVar[str]
    #: Of the value: `%`, `perplexity`, ...
    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]
    #: Plural noun of the items, for messages.
    items_are: ClassVar[str] = "items"

    def __init__(self, argument: str) -> None:
        self.argument = argument

    @property
    def label(self) -> str:
        """As it is named on the command line."""
        return f"{self.name}:{self.argument}" if self.argument else self.name

    def parts(self) -> dict[str, Any]:
        """Everything that the metric depends on beside the model; plain values.

        The code is that of the class, of its module and of what the module imports; a subclass adds its data.
        """
        return {"evaluation": self.label, "code": digest_of_code(self, beside=MODEL)}

    def items(self, processor: Any) -> Iterator[bytes]:
        """The items as bytes that are equal exactly if the items are, to be compared with the calibration data."""
        raise NotImplementedError

    def calibration_items(self, loader: Any) -> Iterator[bytes]:
        """The same of calibration batches."""
        raise NotImplementedError

    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Metric:
        """Judge a model."""
        raise NotImplementedError

    def sample(self, model: Any, processor: Any) -> None:
        """Run the model on a few items, while spikes are counted."""
        raise NotImplementedError

    def blind(self, model: Any, processor: Any) -> float | None:
        """The metric of a model that does not see: pictures are exchanged; None where there are none to exchange."""
        return None


EVALUATIONS: Registry[type[Evaluation]] = Registry("evaluation", "spike_compressor.evaluations", named=True)
EvaluationT = TypeVar("EvaluationT", bound=type[Evaluation])


def register_evaluation(name: str) -> Callable[[EvaluationT], EvaluationT]:
    """Class decorator: make an evaluation known under a name.

    Raises:
        InputError: the name belongs to another one.
    """
    return EVALUATIONS.register(name)


def available_evaluations() -> tuple[str, ...]:
    """Names that `--eval` takes."""
    return EVALUATIONS.names()


def parse_evaluation(text: str) -> Evaluation:
    """`name` or `name:argument` as an evaluation.

    Raises:
        InputError: an unknown name, or an argument that the evaluation cannot use.
    """
    name, _, argument = text.partition(":")
    return EVALUATIONS.get(name)(argument)


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
