"""Run the cells of a sweep, in this process or in several, and keep what each one finds."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from typing import Any

import torch

from spike_compressor.comparison.cells import Cells
from spike_compressor.comparison.sweep import Cell, Sweep
from spike_compressor.errors import InputError
from spike_compressor.modality import use_adapters
from spike_compressor.progress import Step, Steps
from spike_compressor.quiet import quiet_worker
from spike_compressor.runtime.memory import give_memory_back


def run_cells(sweep: Sweep, jobs: int, steps: Steps) -> list[dict[str, Any]]:
    """Every cell's row, in order: from the folder, or computed.

    Args:
        sweep: what is to be run.
        jobs: processes that run cells; 1: this one.
        steps: shows one line for each cell that is computed.

    Raises:
        InputError: no process at all.
    """
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; it must be at least 1")
    store = Cells(sweep.folder / "cells")
    cells = sweep.cells()
    keys = {cell: sweep.key(cell) for cell in cells}
    found = {cell: result for cell in cells if (result := store.get(keys[cell])) is not None}
    todo = {cell: f"{number}/{len(cells)} {cell.label}" for number, cell in enumerate(cells, 1) if cell not in found}
    computed = _here(sweep, todo, steps) if jobs == 1 else _in_processes(sweep, todo, jobs, steps)
    for cell, result in computed:
        found[cell] = store.put(keys[cell], json.loads(json.dumps(result)))
    return [
        {"kind": cell.kind, "recipe": cell.recipe, "budget": cell.budget, "seed": cell.seed, **found[cell]}
        for cell in cells
    ]


#: A cell and what was found about it.
Computed = Iterator[tuple[Cell, dict[str, Any]]]


def _here(sweep: Sweep, todo: Mapping[Cell, str], steps: Steps) -> Computed:
    for cell, name in todo.items():
        with steps.step(name) as step:
            result = _one(sweep, cell, partial(_shown, step))
        yield cell, result


def _shown(step: Step, evaluation: str, done: int, total: int) -> None:
    step.note(evaluation)
    step(done, total)


def _in_processes(sweep: Sweep, todo: Mapping[Cell, str], jobs: int, steps: Steps) -> Computed:
    # threads and CUDA do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=quiet_worker, initargs=(steps.verbose,)) as pool:
        # one process quantizes a recipe's weights; then its cells are free
        waiting = list(todo)
        first: dict[tuple[str, int], Cell] = {}
        running: dict[Future[dict[str, Any]], Cell] = {}
        try:
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
        finally:
            pool.shutdown(cancel_futures=True)


def _one(sweep: Sweep, cell: Cell, progress: Callable[[str, int, int], object] | None = None) -> dict[str, Any]:
    give_memory_back()
    use_adapters(sweep.adapters)
    torch.set_num_threads(sweep.threads)
    return sweep.run(cell, progress)
