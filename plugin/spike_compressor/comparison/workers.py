"""Run the cells of a sweep, in this process or in several, and keep what each one finds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from typing import Any

from spike_compressor.comparison.cells import Cells
from spike_compressor.comparison.sweep import Cell, Sweep
from spike_compressor.modality import use_adapters
from spike_compressor.processes import processes, require_jobs
from spike_compressor.progress import Step, Steps
from spike_compressor.runtime.memory import give_memory_back
from spike_compressor.threads import use_threads


def run_cells(sweep: Sweep, jobs: int, steps: Steps) -> list[dict[str, Any]]:
    """Every cell's row, in order: from the folder, or computed.

    Args:
        sweep: what is to be run.
        jobs: processes that run cells; 1: this one.
        steps: shows one line for each cell that is computed.

    Raises:
        InputError: no process at all.
    """
    require_jobs(jobs)
    store = Cells(sweep.folder / "cells")
    cells = sweep.cells()
    keys = {cell: sweep.key(cell) for cell in cells}
    found = {cell: result for cell in cells if (result := store.get(keys[cell])) is not None}
    todo = {cell: f"{number}/{len(cells)} {cell.label}" for number, cell in enumerate(cells, 1) if cell not in found}
    jobs = min(jobs, len(todo))
    with contextlib.closing(_in_processes(sweep, todo, jobs, steps) if jobs > 1 else _here(sweep, todo, steps)) as rows:
        for cell, result in rows:
            found[cell] = store.put(keys[cell], json.loads(json.dumps(result)))
    return [
        {"kind": cell.kind, "recipe": cell.recipe, "budget": cell.budget, "seed": cell.seed, **found[cell]}
        for cell in cells
    ]


#: A cell and what was found about it.
Computed = Generator[tuple[Cell, dict[str, Any]], None, None]


def _here(sweep: Sweep, todo: Mapping[Cell, str], steps: Steps) -> Computed:
    for cell, name in todo.items():
        with steps.step(name) as step:
            result = _one(sweep, cell, partial(_shown, step))
        yield cell, result


def _shown(step: Step, evaluation: str, done: int, total: int) -> None:
    step.note(evaluation)
    step(done, total)


def _in_processes(sweep: Sweep, todo: Mapping[Cell, str], jobs: int, steps: Steps) -> Computed:
    with processes(jobs, threads=sweep.threads, verbose=steps.verbose) as pool:
        # one process quantizes a recipe's weights; then its cells are free
        waiting = list(todo)
        first: dict[tuple[str, int], Cell] = {}
        running: dict[Future[dict[str, Any]], Cell] = {}
        while waiting or running:
            for cell in list(waiting):
                group = (cell.recipe, cell.seed)
                if group not in first or first[group] not in {*waiting, *running.values()}:
                    running[pool.submit(_one, sweep, cell)] = cell
                    waiting.remove(cell)
                    first.setdefault(group, cell)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                cell, result = running.pop(future), future.result()
                steps.finished(todo[cell], result["seconds"])
                yield cell, result


def _one(sweep: Sweep, cell: Cell, progress: Callable[[str, int, int], object] | None = None) -> dict[str, Any]:
    give_memory_back()
    use_adapters(sweep.adapters)
    with use_threads(sweep.threads):
        return sweep.run(cell, progress)
