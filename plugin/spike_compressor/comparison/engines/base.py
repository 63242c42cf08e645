"""What an engine is, the registry of them, and what all of them share: one cell, and the order of many."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from spike_compressor.comparison.sweep import Cell, Sweep
from spike_compressor.errors import InputError
from spike_compressor.modality import use_adapters
from spike_compressor.processes import require_jobs
from spike_compressor.progress import Steps
from spike_compressor.registry import Registry
from spike_compressor.runtime.memory import give_memory_back
from spike_compressor.threads import use_threads


@dataclass(frozen=True)
class Todo:
    """A cell that has to be computed.

    Attributes:
        cell: it.
        label: what its line of progress begins with.
        key: everything that its result depends on, as `Sweep.key` gives it here.
    """

    cell: Cell
    label: str
    key: dict[str, Any]


#: A cell and what was found about it.
Computed = Generator[tuple[Cell, dict[str, Any]], None, None]


@dataclass(frozen=True)
class Engine:
    """Computes the cells of a comparison somewhere: a frozen dataclass, decorated with `register_engine("name")`.

    Its fields are its options. What it computes is the same wherever it does; who calls it keeps the results.

    Attributes:
        jobs: cells side by side, at most; None leaves it to the engine.

    Raises:
        InputError: options that make no sense, when it is made.
    """

    jobs: int | None = None

    #: Set by `register_engine`.
    name: ClassVar[str]

    def __post_init__(self) -> None:
        if self.jobs is not None:
            require_jobs(self.jobs)

    def check(self) -> None:
        """Refuse, before anything is read or computed, what cannot work.

        Raises:
            InputError: what the engine needs is not there.
        """

    def compute(self, sweep: Sweep, todo: Sequence[Todo], steps: Steps) -> Computed:
        """Compute cells, in whatever order, and yield each as soon as it is found.

        Who closes the generator, or lets an exception into it, ends what still runs.

        Args:
            sweep: what the cells belong to.
            todo: at least one cell.
            steps: gets one line for each cell that is through.

        Raises:
            Exception: what a cell raises, whatever it is.
            ChildProcessError: what computed a cell was ended from outside.
        """
        raise NotImplementedError


ENGINES: Registry[type[Engine]] = Registry("engine", "spike_compressor.engines", named=True)
EngineT = TypeVar("EngineT", bound=type[Engine])


def register_engine(name: str) -> Callable[[EngineT], EngineT]:
    """Class decorator: make an engine known under a name.

    Raises:
        InputError: the name belongs to another one.
    """
    return ENGINES.register(name)


def available_engines() -> tuple[str, ...]:
    """Names that `--engine` takes."""
    return ENGINES.names()


def make_engine(name: str, **options: Any) -> Engine:
    """The engine of a name with these options; those that are None are left out.

    Raises:
        InputError: an unknown name, or an option that the engine does not have or cannot use.
    """
    kind = ENGINES.get(name)
    known = [field.name for field in dataclasses.fields(kind)]
    given = {option: value for option, value in options.items() if value is not None}
    if strange := [option for option in given if option not in known]:
        raise InputError(f"engine {name!r} has no {' and no '.join(strange)}; it has: {', '.join(known)}")
    return kind(**given)


def run_one(sweep: Sweep, cell: Cell, progress: Callable[[str, int, int], object] | None = None) -> dict[str, Any]:
    """What `Sweep.run` finds about a cell, with the sweep's adapters and threads."""
    give_memory_back()
    use_adapters(sweep.adapters)
    with use_threads(sweep.threads):
        return sweep.run(cell, progress)


def side_by_side(
    todo: Sequence[Todo], submit: Callable[[Todo], Future[dict[str, Any]]], at_once: int | None, steps: Steps
) -> Computed:
    """Cells as they are found, of which no two that need the same weights begin before one of them has made these.

    Args:
        todo: cells.
        submit: begins one.
        at_once: of them that are under way at a time, at most.
        steps: gets their lines.

    Raises:
        Exception: what a cell raises.
    """
    waiting = list(todo)
    first: dict[tuple[str, int], Todo] = {}
    running: dict[Future[dict[str, Any]], Todo] = {}
    while waiting or running:
        for one in list(waiting):
            group = (one.cell.recipe, one.cell.seed)
            free = at_once is None or len(running) < at_once
            if free and (group not in first or not _among(first[group], [*waiting, *running.values()])):
                running[submit(one)] = one
                waiting.remove(one)
                first.setdefault(group, one)
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            one, result = running.pop(future), future.result()
            steps.finished(one.label, result["seconds"])
            yield one.cell, result


def _among(one: Todo, others: Sequence[Todo]) -> bool:
    return any(one is other for other in others)
