"""What an organisation of an accelerator's arrays is: how many cycles a layer takes on one of its cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from spike_compressor.errors import InputError
from spike_compressor.estimate.statistics import Spikes
from spike_compressor.estimate.words import Array
from spike_compressor.registry import Registry
from spike_compressor.trace import Layer


@dataclass(frozen=True)
class Job:
    """A layer, or the part of it that one core computes.

    Attributes:
        mix: rows, M in all, and how they fire.
        inputs: K.
        outputs: N.
        groups: of inputs whose sums leave apart.
    """

    mix: tuple[tuple[int, Spikes], ...]
    inputs: int
    outputs: int
    groups: int = 1

    @property
    def rows(self) -> int:
        """M."""
        return sum(rows for rows, _ in self.mix)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense layer."""
        return self.rows * self.inputs * self.outputs

    @property
    def additions(self) -> float:
        """That spikes cause."""
        return sum(rows * spikes.per_input for rows, spikes in self.mix) * self.inputs * self.outputs


@dataclass(frozen=True)
class Cycles:
    """What a job takes.

    Attributes:
        total: cycles of the core.
        parts: cycles of each engine if it were alone: the largest says what the job waits for.
        words: of additions, where the array makes such; each is one for all columns.
        additions: that spikes cause.
        macs: products that a dense array makes; 0 for another.
    """

    total: float
    parts: Mapping[str, float]
    words: float
    additions: float
    macs: float

    @property
    def bound(self) -> str:
        """The engine that decides."""
        return max(self.parts, key=lambda name: self.parts[name])


class Organisation:
    """One kind of array; a subclass in a file of its own, decorated with `register_organisation("name")`.

    `fields` are the sizes of the array that a description has to give. `constants` are the cycles that its formula
    leaves open, fitted to the RTL (`data/cycles.json`).
    """

    #: Set by `register_organisation`.
    name: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    #: Names of the fitted constants, which count so many times; and of those that `terms` uses, with what is tried.
    fitted: ClassVar[tuple[str, ...]]
    searched: ClassVar[Mapping[str, range]] = {}

    def __init__(self, array: Mapping[str, int], constants: Mapping[str, float]) -> None:
        missing = sorted(set(self.fields) - set(array))
        unknown = sorted(set(array) - set(self.fields))
        if missing or unknown:
            what = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}"
            raise InputError(f"an array of organisation {self.name} {what}; its fields are {', '.join(self.fields)}")
        for field, value in array.items():
            if value < 1:
                raise InputError(f"array.{field} is {value}; it must be at least 1")
        self.array, self.constants = dict(array), dict(constants)

    @property
    def slots(self) -> int:
        """Additions or products that a cycle can hold."""
        raise NotImplementedError

    @property
    def tile_outputs(self) -> int:
        """Outputs that a core computes at once; cores share a layer's outputs in such portions."""
        return self.array["columns"]

    @property
    def tile_rows(self) -> int:
        """Rows that use weights one after the other, or at once, before others are loaded."""
        return self.array["rows"]

    def terms(self, job: Job) -> tuple[dict[str, float], dict[str, float]]:
        """Cycles of each engine without what is fitted, and how often each fitted constant counts."""
        raise NotImplementedError

    def cycles(self, job: Job) -> Cycles:
        """Cycles of a job on one core that nobody makes wait."""
        parts, often = self.terms(job)
        total = max(parts.values()) + sum(self.constants[name] * count for name, count in often.items())
        return Cycles(total, parts, *self.work(job))

    def work(self, job: Job) -> tuple[float, float, float]:
        """Words, additions and products of a job."""
        raise NotImplementedError

    def tile_words(self, layer: Layer) -> Array | None:
        """What cycles of a traced layer hang on, beside its sizes: words of row tiles and blocks, int [tiles, blocks].

        Returns:
            None where they hang on no spike.
        """
        return None

    def exact(self, job: Job, words: Array | None) -> float:
        """Cycles of a job on one core whose every spike is known.

        Args:
            job: the layer.
            words: as `tile_words` gives them.
        """
        return self.cycles(job).total


ORGANISATIONS: Registry[type[Organisation]] = Registry("organisation", "spike_compressor.organisations", named=True)
OrganisationT = TypeVar("OrganisationT", bound=type[Organisation])


def register_organisation(name: str) -> Callable[[OrganisationT], OrganisationT]:
    """Class decorator: make an organisation known under a name.

    Raises:
        InputError: the name belongs to another one.
    """
    return ORGANISATIONS.register(name)


def make(name: str, array: Mapping[str, Any], constants: Mapping[str, Mapping[str, float]]) -> Organisation:
    """An organisation of some size, with its fitted constants.

    Raises:
        InputError: an unknown organisation, sizes that it does not take, or no constants for it.
    """
    kind = ORGANISATIONS.get(name)
    if name not in constants:
        raise InputError(f"no fitted constants for the organisation {name}; `make rtl-estimate` makes those of ours")
    return kind(array, constants[name])
