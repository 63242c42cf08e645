"""Models that answer the demo's questions, in this process or in several: a batch of questions at a time.

Batches are made before they are handed out, and a process computes with one thread, so the answers do not depend on how
many processes there are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from spike_compressor.checkpoint import load, open_model, open_processor
from spike_compressor.demo.data import KINDS, Item
from spike_compressor.demo.evaluate import Accuracy, Batch, accuracy, batches, judge_batch
from spike_compressor.processes import processes, require_jobs
from spike_compressor.runtime.reference import weight_only
from spike_compressor.threads import small_model_threads, usable_cores

#: Answers for which a process more is worth the seconds of its imports.
_WORTH_A_PROCESS = 2000
#: Processes beyond which what one process does alone takes longer than the answers.
_ENOUGH = 8


@dataclass(frozen=True)
class Examinee:
    """A model that is asked: where it is, and how it computes.

    `weight_only` and `spiking` are spike-ready checkpoints; the former bypasses its neurons.
    """

    directory: Path
    computes: Literal["float", "weight_only", "spiking"]

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[Any, Any]]:
        """The model and its processor."""
        with contextlib.ExitStack() as stack:
            model = open_model(self.directory, "float32") if self.computes == "float" else load(self.directory)
            if self.computes == "weight_only":
                stack.enter_context(weight_only(model))
            yield model, open_processor(self.directory)


class Desk:
    """Where an examinee sits: one at a time is open, until the next one comes."""

    def __init__(self) -> None:
        self._examinee: Examinee | None = None
        self._stack = contextlib.ExitStack()
        self._open: tuple[Any, Any] = (None, None)

    def judge(self, examinee: Examinee, batch: Batch) -> list[bool]:
        """Whether each question of a batch is answered right."""
        if examinee != self._examinee:
            self.close()
            self._open = self._stack.enter_context(examinee.opened())
            self._examinee = examinee
        return judge_batch(*self._open, batch)

    def close(self) -> None:
        """Let the model go."""
        self._examinee, self._open = None, (None, None)
        self._stack.close()


Judged = Iterator[tuple[Batch, list[bool]]]


class Ask(Protocol):
    """Has an examinee answer batches; they may be under way as soon as this returns."""

    def __call__(self, examinee: Examinee, asked: Sequence[Batch]) -> Judged: ...


@contextlib.contextmanager
def examination(jobs: int, threads: int = 1, verbose: bool = False) -> Iterator[Ask]:
    """Ask models in `jobs` processes of `threads` threads each, or here if it is one.

    Raises:
        InputError: `jobs` is less than 1.
    """
    require_jobs(jobs)
    if jobs == 1:
        with contextlib.closing(Desk()) as desk:
            yield partial(_here, desk)
    else:
        with processes(jobs, threads=threads, verbose=verbose) as pool:
            yield partial(_elsewhere, pool)


def worthwhile_jobs(per_kind: int) -> int:
    """Processes for a demo of so many questions of each kind: one a core, up to eight; few for few."""
    answers = 4 * len(KINDS) * per_kind
    return max(1, min(usable_cores() // small_model_threads(), answers // _WORTH_A_PROCESS, _ENOUGH))


class Exam:
    """Questions put to a model; with several processes it begins at once.

    Args:
        ask: of `examination`.
        examinee: the model.
        processor: its processor.
        items: the questions.
        shuffle_images: the blind baseline, see `evaluate`.
    """

    def __init__(
        self, ask: Ask, examinee: Examinee, processor: Any, items: Sequence[Item], *, shuffle_images: bool = False
    ) -> None:
        self._items = items
        self._judged = ask(examinee, batches(processor, items, shuffle_images=shuffle_images))

    def accuracy(self, progress: Callable[[int, int], object] | None = None) -> Accuracy:
        """Wait for all answers; `progress(done, total)` is called after every batch."""
        correct = [False] * len(self._items)
        done = 0
        for batch, right in self._judged:
            for place, one in zip(batch.places, right, strict=True):
                correct[place] = one
            done += len(batch.places)
            if progress is not None:
                progress(done, len(self._items))
        return accuracy(self._items, correct)


def _here(desk: Desk, examinee: Examinee, asked: Sequence[Batch]) -> Judged:
    for batch in asked:
        yield batch, desk.judge(examinee, batch)


def _elsewhere(pool: Executor, examinee: Examinee, asked: Sequence[Batch]) -> Judged:
    futures = {pool.submit(_judge, examinee, batch): batch for batch in asked}
    return ((futures[future], future.result()) for future in as_completed(futures))


def _judge(examinee: Examinee, batch: Batch) -> list[bool]:
    return _DESK.judge(examinee, batch)


#: Of a process that judges for another one.
_DESK = Desk()
