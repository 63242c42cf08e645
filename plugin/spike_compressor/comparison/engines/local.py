"""This machine: this process, or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from spike_compressor.comparison.engines.base import Computed, Engine, Todo, register_engine, run_one, side_by_side
from spike_compressor.comparison.sweep import Sweep
from spike_compressor.processes import processes
from spike_compressor.progress import Step, Steps


@register_engine("local")
@dataclass(frozen=True)
class LocalEngine(Engine):
    """Cells one after the other in this process, or with more `jobs` than one in as many processes of this machine."""

    def compute(self, sweep: Sweep, todo: Sequence[Todo], steps: Steps) -> Computed:
        jobs = min(self.jobs or 1, len(todo))
        if jobs > 1:
            with processes(jobs, threads=sweep.threads, verbose=steps.verbose) as pool:
                yield from side_by_side(todo, lambda one: pool.submit(run_one, sweep, one.cell), jobs, steps)
            return
        for one in todo:
            with steps.step(one.label) as step:
                result = run_one(sweep, one.cell, partial(_shown, step))
            yield one.cell, result


def _shown(step: Step, evaluation: str, done: int, total: int) -> None:
    step.note(evaluation)
    step(done, total)
