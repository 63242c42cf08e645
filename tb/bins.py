"""What the functional coverage of both cores has in common: names of bins, where values belong, files of counts.

With SPIKE_COVERAGE=FILE the counts of a simulation are left in a YAML file, which `merged` adds up.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from cocotb_coverage.coverage import coverage_db, merge_coverage
from images import Shape

STALLS = ("none", "inputs", "outputs", "both")
SIZES = ("inside a tile", "exactly a tile", "several tiles")
EDGES = ("one", "one less", "equal", "one more")
STREAMS = ("membrane", "weight", "spike", "acc")
#: Chance of a pause in 256ths, up to and including the number.
LEVELS = {"never": 0, "some": 100, "often": 256}
#: How far a job was when a reset came.
PHASES = ("nothing came in", "rows came in", "words were added")


def level(value: float, limits: Mapping[str, float]) -> str:
    """The first name whose limit the value keeps to."""
    return next(name for name, limit in limits.items() if value <= limit)


def sides_of(stalls: Any) -> str:
    """Which side's streams pause, one of STALLS, of a driver's `Stalls`."""
    return STALLS[bool(stalls.membrane or stalls.weight) + 2 * bool(stalls.spike or stalls.acc)]


def size_of(rows: int, inputs: int, outputs: int, shape: Shape) -> str:
    """How a job lies on the array: one of SIZES if it does so in all three dimensions, else "mixed"."""
    differences = (rows - shape.rows, inputs - shape.lanes * shape.slots, outputs - shape.columns)
    found = {SIZES[(d > 0) - (d < 0) + 1] for d in differences}
    return found.pop() if len(found) == 1 else "mixed"


def edge_of(size: int, limit: int) -> str:
    """One of EDGES, or "elsewhere"."""
    return {limit + 1: "one more", limit - 1: "one less", limit: "equal", 1: "one"}.get(size, "elsewhere")


def merged(files: Sequence[Path], target: Path) -> dict[str, dict[str, int]]:
    """Counts of all bins over the files: coverage item -> bin -> count. Writes the sums as YAML to `target`."""
    merge_coverage(lambda _: None, str(target), *map(str, files))
    found = yaml.safe_load(target.read_text(encoding="utf-8"))
    return {
        name: {str(label): int(count) for label, count in item["bins:_hits"].items()}
        for name, item in found.items()
        if "bins:_hits" in item
    }


def missing(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Bins that no job hit."""
    return [f"{name}: {label}" for name, bins in counts.items() for label, count in bins.items() if not count]


def _leave() -> None:
    file = os.environ.get("SPIKE_COVERAGE")
    if file:
        coverage_db.export_to_yaml(filename=file)


atexit.register(_leave)
