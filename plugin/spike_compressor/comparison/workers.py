"""Have an engine run the cells of a sweep, and keep what each one finds."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from spike_compressor.comparison.cells import Cells
from spike_compressor.comparison.engines import Engine, Todo
from spike_compressor.comparison.sweep import Sweep
from spike_compressor.progress import Steps


def run_cells(sweep: Sweep, engine: Engine, steps: Steps) -> list[dict[str, Any]]:
    """Every cell's row, in order: from the folder, or computed.

    Args:
        sweep: what is to be run.
        engine: computes what is not there yet.
        steps: shows one line for each cell that is computed.
    """
    store = Cells(sweep.folder / "cells")
    cells = sweep.cells()
    keys = {cell: sweep.key(cell) for cell in cells}
    found = {cell: result for cell in cells if (result := store.get(keys[cell])) is not None}
    todo = [
        Todo(cell, f"{number}/{len(cells)} {cell.label}", keys[cell])
        for number, cell in enumerate(cells, 1)
        if cell not in found
    ]
    if todo:
        with contextlib.closing(engine.compute(sweep, todo, steps)) as rows:
            for cell, result in rows:
                found[cell] = store.put(keys[cell], json.loads(json.dumps(result)))
    return [
        {"kind": cell.kind, "recipe": cell.recipe, "budget": cell.budget, "seed": cell.seed, **found[cell]}
        for cell in cells
    ]
