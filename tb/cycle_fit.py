"""Simulated cycles of layers against the cycle model of `spike-compressor estimate`: what is fitted, what is judged.

A layer is `{bundle, layer, fitted, rows, inputs, outputs, groups, parts, words, shapes}`: `parts` are rows of each T
and their statistics, `words` those of row tiles and blocks in the event-driven core, `shapes` what was simulated.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import Any

import numpy as np
from images import Shape, plan
from run_trace import GROUP_CODING
from spike_compressor.estimate.organisations import ORGANISATIONS, Job, make
from spike_compressor.estimate.organisations.event import EventCore
from spike_compressor.estimate.statistics import Spikes, parts_of
from spike_compressor.trace import Layer

#: Simulated shapes by name; the first of each organisation is a synthesised one.
SHAPES: dict[str, tuple[str, Shape]] = {
    "event 64x16, 4 weights a beat": ("event", Shape(8, 64, 16, 16, 4, 4, 4, 16, False)),
    "event 64x16, 16 weights a beat": ("event", Shape(8, 64, 16, 16, 16, 4, 4, 16, False)),
    "dense 8x16x8": ("dense", Shape(8, 16, 8, 1, 8, 4, 4, 512, False)),
    "group 4x8x8": ("group", Shape(4, 8, 32, 1, 8, 4, 7, 64, False, units=1)),
}
#: Layers that constants are fitted on: the first block of tower and decoder, and random ones of seven steps. All others
#: are held out.
CALIBRATION = re.compile(r"(vision_tower.*|language_model)\.layers\.0\.|S = 7")

Constants = dict[str, dict[str, float]]


def array_of(kind: str, shape: Shape) -> dict[str, int]:
    """A shape in the words of the package."""
    known = {
        "rows": shape.rows,
        "columns": shape.columns,
        "lanes": shape.lanes,
        "slots": shape.slots,
        "weight_inputs": shape.weight_inputs,
        "groups": shape.lanes // 4,
        "units": shape.units,
    }
    return {field: known[field] for field in ORGANISATIONS.get(kind).fields}


def facts(bundle: str, layer: Layer) -> dict[str, Any]:
    """What the cycle model takes of a layer, whatever shape computes it."""
    event = next(shape for kind, shape in SHAPES.values() if kind == "event")
    words, parts = None, steps_of_rows(layer)
    if layer.info.coding != GROUP_CODING:
        words = EventCore(array_of("event", event), {}).tile_words(layer)
        parts = parts_of(layer)
    return {
        "bundle": bundle,
        "layer": layer.name,
        "fitted": bool(CALIBRATION.search(layer.name)),
        "rows": layer.info.tokens,
        "inputs": layer.info.in_features,
        "outputs": layer.info.out_features,
        "groups": plan(layer, event).groups,
        "parts": [[rows, list(one.codes), one.spread] for rows, one in parts],
        "words": [] if words is None else words.tolist(),
        "shapes": {},
    }


def steps_of_rows(layer: Layer) -> list[tuple[int, Spikes]]:
    """Rows of each number of steps in group coding, whose cycles hang on nothing else."""
    counts = sorted(Counter(layer.timesteps.tolist()).items())
    return [(rows, Spikes((1.0, *[0.0] * (2**steps - 1)))) for steps, rows in counts]


def shapes_of(layer: Layer) -> list[str]:
    """Names of the shapes that compute a layer's coding."""
    group = layer.info.coding == GROUP_CODING
    return [name for name, (kind, _) in SHAPES.items() if (kind == "group") == group]


def job_of(layer: dict[str, Any]) -> Job:
    """A layer by its statistics alone."""
    mix = tuple((rows, Spikes(tuple(codes), spread)) for rows, codes, spread in layer["parts"])
    return Job(mix, layer["inputs"], layer["outputs"], layer["groups"])


def predictions(layer: dict[str, Any], name: str, constants: Constants) -> dict[str, float]:
    """Cycles of a layer on a shape by the model: from `statistics`, and from its `spikes` where it hangs on them."""
    kind, shape = SHAPES[name]
    organisation, job = make(kind, array_of(kind, shape), constants), job_of(layer)
    found = {"statistics": organisation.cycles(job).total}
    if kind == "event":
        found["spikes"] = organisation.exact(job, layer["words"])
    return found


def fit(layers: list[dict[str, Any]]) -> Constants:
    """Constants of each organisation, on the layers that are to be fitted.

    Those that count so many times by least squares of relative errors; the others are tried, and those taken whose
    largest error is the least.
    """
    found = {}
    for kind in dict.fromkeys(kind for kind, _ in SHAPES.values()):
        names = [name for name, (own, _) in SHAPES.items() if own == kind]
        own = [(layer, name) for layer in layers if layer["fitted"] for name in names if name in layer["shapes"]]
        searched = ORGANISATIONS.get(kind).searched
        trials = [dict(zip(searched, values, strict=True)) for values in itertools.product(*searched.values())]
        found[kind] = min((_solved(kind, own, trial) for trial in trials), key=lambda one: one[0])[1]
    return found


def _solved(
    kind: str, measured: list[tuple[dict[str, Any], str]], trial: dict[str, float]
) -> tuple[float, dict[str, float]]:
    """Largest error, and the constants that give it, with those of a trial as they are."""
    names = ORGANISATIONS.get(kind).fitted
    start = {kind: dict.fromkeys(names, 0.0) | trial}
    counts, left = [], []
    for layer, name in measured:
        cycles = layer["shapes"][name]["cycles"]
        often = make(kind, array_of(*SHAPES[name]), start).terms(job_of(layer))[1]
        known = predictions(layer, name, start)
        counts.append([often[constant] / cycles for constant in names])
        left.append(1 - known.get("spikes", known["statistics"]) / cycles)
    solved = np.linalg.lstsq(np.array(counts), np.array(left), rcond=None)[0]
    error = float(np.abs(np.array(counts) @ solved - left).max())
    return error, trial | {name: round(float(value), 2) for name, value in zip(names, solved, strict=True)}


def conclusions(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Constants, a summary of errors, and the layers with what the model says of them and how far off it is."""
    constants = fit(layers)
    for layer in layers:
        for name, one in layer["shapes"].items():
            model = predictions(layer, name, constants)
            one["model"] = {mode: round(value) for mode, value in model.items()}
            one["error"] = {mode: round(value / one["cycles"] - 1, 4) for mode, value in model.items()}
    return {"constants": constants, "summary": _summary(layers), "rows": layers}


def _summary(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Errors by shape, and whether layers were fitted: how many, mean and largest absolute error of each mode."""
    lines = []
    for name, fitted, mode in itertools.product(SHAPES, (True, False), ("spikes", "statistics")):
        own = [layer["shapes"][name] for layer in layers if layer["fitted"] == fitted and name in layer["shapes"]]
        errors = [abs(one["error"][mode]) for one in own if mode in one["error"]]
        if errors:
            total = sum(one["model"][mode] for one in own) / sum(one["cycles"] for one in own) - 1
            lines.append(
                {
                    "shape": name,
                    "layers": "fitted" if fitted else "held out",
                    "model": mode,
                    "count": len(errors),
                    "mean": round(float(np.mean(errors)), 4),
                    "largest": max(errors),
                    "sum": round(total, 4),
                }
            )
    return lines


def worst(layers: list[dict[str, Any]], mode: str = "spikes", least_cycles: int = 0) -> float:
    """The largest absolute error of a held-out layer in any shape; cycles of dense arrays hang on no spike.

    Args:
        layers: with what `conclusions` says of them.
        mode: what the model knows.
        least_cycles: of the layers that count; one row and block more or less does not show in longer ones.
    """
    held = [one for layer in layers if not layer["fitted"] for one in layer["shapes"].values()]
    long = [one["error"] for one in held if one["cycles"] >= least_cycles]
    return max(abs(error.get(mode, error["statistics"])) for error in long)
