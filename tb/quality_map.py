"""Where each of three organisations wins: distributions of inputs, quality in dB, outputs of a layer.

    python tb/quality_map.py [--library SLUG …] [--rows N] [--seed N] [--out docs/results/rtl_map.json]

Rows of 2,048 inputs are drawn, and coded by each organisation in its own way until the error has the same size: a dense
array of 3 or 4 planes at its best threshold, one of 3 or 4 planes that takes larger magnitudes in two passes, one of 7
planes; the event core with thresholds as coarse as the error allows and up to seven planes of range; the group array
with as few steps as do, rows of S and S + 1 mixed. Areas are those of `rtl/synth/arrays.json` and, of groups and of 16
inputs, of `rtl/synth/ladder.json`, memories and encoders included; energies those of the latter. No design waits for
its streams.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

import energies  # noqa: E402
import numpy as np  # noqa: E402
from account import CHUNK, GROUPS_OF, INPUTS, ROWS, TODAY, WIDE, Core, Dense, Group, Library  # noqa: E402
from cycle_model import words_of  # noqa: E402
from explore import activations, plane_counts  # noqa: E402
from organisations import RATIOS  # noqa: E402
from spike_compressor.trace import decode_groups, fire_groups, group_membranes  # noqa: E402
from toolchain import ROOT  # noqa: E402

OUT = ROOT / "docs" / "results" / "rtl_map.json"
LIBRARIES = ["osu180", "sky130hd"]
QUALITIES = (15.0, 18.0, 21.0, 24.0)
OUTPUTS = (192, 576, 1024, 2048, 4096, 8192)
#: One input of so many is ten times as large as the others.
RARE, LARGE = 256, 10.0
KINDS = {
    "Gauss": "gauss",
    "Laplace": "laplace",
    "gated": "gated",
    "Gauss, one of 256 ten times as large": "outliers",
}
#: Columns of arrays; the best count that is no larger than the dense one of four planes, 16 inputs and `LARGEST`.
COLUMNS = {"dense": (16, 32, 48, 64), "spike": (64, 128, 192, 256), "groups": (16, 24, 32, 40, 48)}
LARGEST = 48

#: Rungs whose areas are drawn, the best dense one among them.
DRAWN = {
    "INT4 x INT8 (W4A8)": "W4A8",
    "INT4 x (sign + 4), 16 inputs": "dense, T = 4",
    "spikes, INT4, T up to 4": "event core",
    "groups, INT4, S = 7": "groups, S = 7",
}
#: Parts of an array, put together.
PARTS = {
    "arithmetic": ("columns", "row offsets", "pipeline and picker", "picks of spikes"),
    "weights": ("weight register", "weight banks", "weight loader"),
    "activations or spikes": ("store of activations", "store of spikes"),
    "sums": ("buffer of sums", "accumulators"),
    "encoders, front end": ("encoders", "front end"),
}


def drawn(kind: str, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Inputs in units of a row's root mean square: float64 [rows, 2048], all positive."""
    x = activations(rng, "gauss" if kind == "outliers" else kind, rows, INPUTS)
    if kind == "outliers":
        x[:, ::RARE] *= LARGE
    return np.asarray(x / np.sqrt(np.square(x).mean(axis=1, keepdims=True)))


def error(x: np.ndarray, approximate: np.ndarray) -> float:
    """Error over signal, a ratio of powers."""
    return float(np.square(x - approximate).sum() / np.square(x).sum())


def coded(x: np.ndarray, step: float, planes: int) -> np.ndarray:
    """Codes of a threshold, clipped to so many planes: int64, as x."""
    return np.minimum(np.floor(x / step + 0.5), 2**planes - 1).astype(np.int64)


def coarsest(x: np.ndarray, wanted: float, planes: int) -> np.ndarray | None:
    """Codes of the coarsest threshold that errs no more than wanted; None if none does."""
    best = None
    for step in np.geomspace(2.0, 0.02, 140):
        codes = coded(x, float(step), planes)
        if error(x, codes * step) <= wanted:
            best = codes
            break
    return best


def group_errors(x: np.ndarray, rng: np.random.Generator) -> dict[int, tuple[float, float]]:
    """Error and spikes an input of S steps of groups, at the best of some thresholds."""
    signed = (x * rng.choice([-1.0, 1.0], x.shape)).astype(np.float32)
    found = {}
    for steps in range(3, 8):
        rows = np.full(len(x), steps, np.uint8)
        tried = []
        for factor in (0.8, 1.0, 1.25, 1.6, 2.0):
            unit = RATIOS[steps] * factor / 2.0 ** (steps - 1)
            scale = np.full(len(x), unit, np.float32)
            fired = fire_groups(group_membranes(signed, scale, rows), rows, 4)
            tried.append((error(signed, decode_groups(fired, rows) * unit), np.count_nonzero(fired) / x.size))
        found[steps] = min(tried)
    return found


def steps_for(errors: dict[int, tuple[float, float]], wanted: float) -> tuple[float, int] | None:
    """Steps on the mean and at most, of rows of S and S + 1 whose errors together are as wanted."""
    for steps, (own, _) in sorted(errors.items()):
        if own <= wanted:
            before = errors.get(steps - 1)
            if before is None:
                return float(steps), steps
            return steps - (wanted - own) / (before[0] - own), steps
    return None


@dataclass(frozen=True)
class Found:
    """What an organisation does on a layer.

    Args:
        name: how it is built and coded.
        cycles: of so many outputs, for a row.
        area: in mm2, for so many outputs.
        energy: pJ a MAC, for so many outputs; None: not known.
    """

    name: str
    cycles: Callable[[int], float]
    area: Callable[[int], float]
    energy: Callable[[int], float | None]

    def density(self, outputs: int) -> float:
        """MACs a cycle and mm2."""
        return INPUTS * outputs / self.cycles(outputs) / self.area(outputs)


def spikes(codes: np.ndarray, planes: int) -> float:
    """Spikes an input of codes."""
    return sum(int((codes >> e & 1).sum()) for e in range(planes)) / codes.size


def tiles(outputs: int, columns: int) -> int:
    """Column tiles."""
    return -(-outputs // columns)


def dense_found(x: np.ndarray, wanted: float, library: Library) -> Iterator[Found]:
    """Dense arrays that err no more than wanted."""
    for name, array in library.arrays.items():
        if not name.startswith("dense"):
            continue
        codes = coarsest(x, wanted, array["tmax"])
        if codes is None:
            continue
        planes = array["planes"]
        fired = spikes(codes, array["tmax"])
        for lanes in (8, 16) if name in WIDE else (8,):
            chunks = (codes.reshape(-1, ROWS, INPUTS // lanes, lanes) >> planes != 0).any(axis=(1, 3))
            passes = 1 + float(chunks.mean()) if planes < array["tmax"] else 1.0
            pj = energies.dense(library.slug, planes, lanes, fired, passes)
            for columns in COLUMNS["dense"]:
                area = sum(Dense(library, name, columns, lanes).areas().values()) / 1e6
                yield Found(
                    f"{name}, {lanes} inputs, {columns} columns" + (f", {passes:.2f} passes" if passes > 1 else ""),
                    functools.partial(_tiled, INPUTS / lanes * passes / ROWS, columns),
                    functools.partial(_same, area),
                    functools.partial(_same_energy, pj),
                )


def event_found(x: np.ndarray, wanted: float, library: Library) -> Iterator[Found]:
    """Event cores on the coarsest codes that err no more than wanted."""
    codes = coarsest(x, wanted, 7)
    if codes is None:
        return
    fired = spikes(codes, 7)
    for name, array in library.arrays.items():
        if not name.startswith("spike"):
            continue
        lanes, slots = array["lanes"], array["slots"]
        words = float(words_of(plane_counts(codes, 7, lanes, slots)).sum()) / len(codes)
        filled = fired * INPUTS / words / lanes
        for columns in COLUMNS["spike"]:
            area = sum(Core(library, name, columns, TODAY).areas().values()) / 1e6
            yield Found(
                f"{name}, {columns} columns, {fired:.2f} spikes an input, {filled:.2f} filled",
                functools.partial(_tiled, words, columns),
                functools.partial(_same, area),
                functools.partial(_same_energy, energies.event(library.slug, fired, filled, lanes)),
            )


def group_found(steps: tuple[float, int] | None, library: Library) -> Iterator[Found]:
    """Group arrays for so many steps, with as many encoders as keep up."""
    if steps is None:
        return
    mean, most = steps
    for name in GROUPS_OF:
        if int(name[-1]) >= most:
            for columns in COLUMNS["groups"]:
                yield Found(
                    f"{name}, {columns} columns, {mean:.2f} steps",
                    functools.partial(_tiled, INPUTS / CHUNK * mean / ROWS, columns),
                    functools.partial(group_area, library, name, columns),
                    functools.partial(energies.groups, library.slug, name, mean),
                )


def needed(outputs: int, columns: int) -> float:
    """Encoders that keep up with an array; a part of one, where several arrays share it."""
    return ROWS * CHUNK / 4 / tiles(outputs, columns)


def group_area(library: Library, name: str, columns: int, outputs: int) -> float:
    """mm2 of a group array with the encoders that so many outputs need."""
    return sum(Group(library, name, columns, needed(outputs, columns)).areas().values()) / 1e6


def _same(area: float, outputs: int) -> float:
    return area


def _same_energy(energy: float | None, outputs: int) -> float | None:
    return energy


def _tiled(cycles: float, columns: int, outputs: int) -> float:
    return cycles * tiles(outputs, columns)


def best(found: Sequence[Found], outputs: int, largest: float) -> dict[str, Any] | None:
    """The one that does most per area of those that are not too large, as JSON."""
    small = [one for one in found if one.area(outputs) <= largest]
    if not small:
        return None
    one = max(small, key=lambda one: one.density(outputs))
    known = {"name": one.name, "mm2": one.area(outputs), "macs_per_cycle": INPUTS * outputs / one.cycles(outputs)}
    return known | {"macs_per_cycle_mm2": one.density(outputs), "pj_per_mac": one.energy(outputs)}


def largest(library: Library) -> float:
    """mm2 that an array may have."""
    return sum(Dense(library, "dense, T 4", LARGEST, 16).areas().values()) / 1e6


def clocks(library: Library) -> Iterator[dict[str, Any]]:
    """Periods of the ladder's arrays, in ns."""
    for name in (*WIDE.values(), energies.EVENT, *GROUPS_OF.values()):
        yield {"library": library.slug, "array": name, "ns": library.rung(name)["period_ns"]}


def measured(kind: str, library: Library, rows: int, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of the map: each quality and number of outputs."""
    rng = np.random.default_rng(seed)
    x = drawn(KINDS[kind], rows, rng)
    errors = _group_errors(kind, rows, seed)
    for quality in QUALITIES:
        wanted = 10 ** (-quality / 10)
        sides = {
            "dense": list(dense_found(x, wanted, library)),
            "event": list(event_found(x, wanted, library)),
            "groups": list(group_found(steps_for(errors, wanted), library)),
        }
        for outputs in OUTPUTS:
            row: dict[str, Any] = {"library": library.slug, "kind": kind, "db": quality, "outputs": outputs}
            row |= {side: best(found, outputs, largest(library)) for side, found in sides.items()}
            for side in ("event", "groups"):
                if row[side] is not None:
                    row[side]["per_area"] = row[side]["macs_per_cycle_mm2"] / row["dense"]["macs_per_cycle_mm2"]
                    both = row[side]["pj_per_mac"], row["dense"]["pj_per_mac"]
                    row[side]["energy"] = both[0] / both[1] if all(both) else None
            yield row


@functools.cache
def _group_errors(kind: str, rows: int, seed: int) -> dict[int, tuple[float, float]]:
    rng = np.random.default_rng(seed)
    return group_errors(drawn(KINDS[kind], rows, rng), rng)


def shares(library: Library) -> Iterator[dict[str, Any]]:
    """Encoders' share of a group array of 16 columns, by outputs."""
    for name in GROUPS_OF:
        for outputs in OUTPUTS:
            parts = Group(library, name, 16, needed(outputs, 16)).areas()
            share = parts["encoders"] / sum(parts.values())
            yield {"library": library.slug, "array": name, "outputs": outputs, "share": share}


def divided(rung: Mapping[str, Any]) -> dict[str, float]:
    """mm2 of a rung by part."""
    areas = rung["area_um2"]
    left = set(areas) - {part for parts in PARTS.values() for part in parts}
    assert not left, f"no place for {sorted(left)}"
    return {name: sum(areas.get(part, 0) for part in parts) / 1e6 for name, parts in PARTS.items()}


def areas(library: Library) -> dict[str, dict[str, float]]:
    """Where the area of the ladder's arrays goes, in mm2."""
    return {name: divided(library.rung(name)) for name in DRAWN}


def main(arguments: list[str] | None = None) -> None:
    """Measure the map, and write it and its page."""
    from map_page import page

    parser = argparse.ArgumentParser(prog="quality_map.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--library", nargs="+", default=LIBRARIES, help="of rtl/synth/arrays.json")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT, help="and a page beside it")
    options = parser.parse_args(arguments)
    libraries = [Library.read(slug) for slug in options.library]
    rows = [row for one in libraries for kind in KINDS for row in measured(kind, one, options.rows, options.seed)]
    result = {
        "label": "estimated",
        "command": "python tb/quality_map.py",
        "rows": rows,
        "shares": [row for one in libraries for row in shares(one)],
        "clocks": [row for one in libraries for row in clocks(one)],
        "areas": {one.slug: areas(one) for one in libraries},
        "largest_mm2": {one.slug: largest(one) for one in libraries},
        "libraries": {one.slug: one.name for one in libraries},
        "settings": {"rows": options.rows, "seed": options.seed, "inputs": INPUTS},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(page(result), encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
