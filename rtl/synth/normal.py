"""Layers of normally distributed inputs and weights, coded as a design takes them: those of the ladder's rungs."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from designs import Design
from generate import arrays_from_membranes
from rungs import RUNGS, GroupRung, codes
from spike_compressor.errors import InputError
from spike_compressor.trace import BundleWriter, group_membranes

#: Of each kind of core but the spike core, as bundles have it: the coding, and fraction bits of a membrane.
CODINGS = {"dense": ("tc_lif", 8), "group": ("group4_beam4", 7)}


def size(text: str) -> tuple[int, int]:
    """Inputs and outputs, given as `512x256`."""
    found = [part for part in text.split("x") if part.isdecimal()]
    if len(found) != 2 or text.count("x") != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no INPUTSxOUTPUTS, as 512x256")
    return int(found[0]), int(found[1])


def rung(most: int) -> GroupRung:
    """The ladder's rung of groups whose rows have at most so many steps."""
    return next(one for one in RUNGS.values() if isinstance(one, GroupRung) and max(one.steps) == most)


def arrays(design: Design, inputs: int, outputs: int) -> dict[str, Any]:
    """A layer's arrays: a row tile, or one for each number of steps that the rung of groups has in turn."""
    generator, rows, most = np.random.default_rng(1), design.shape.rows, design.shape.tmax
    coding, frac_bits = CODINGS[design.kind]
    weight = codes(generator, outputs, inputs, 7).astype(np.int8)
    if design.kind == "group":
        steps = np.repeat(np.array(rung(most).steps, np.uint8), rows)
        unit = (rung(most).scale / 2.0 ** (steps - 1.0)).astype(np.float32)
        membrane = group_membranes(generator.standard_normal((len(steps), inputs)).astype(np.float32), unit, steps)
    else:
        steps = np.full(rows, most, np.uint8)
        membrane = (codes(generator, rows, inputs, (1 << most) - 1) << frac_bits).astype(np.int32)
    return arrays_from_membranes(membrane, steps, weight, coding=coding, frac_bits=frac_bits, groups=1, rng=generator)


def layer(design: Design, shape: tuple[int, int], work: Path) -> tuple[Path, str]:
    """Write a bundle of one layer for a design; its folder and the layer's name.

    Raises InputError for a design that has no such layer.
    """
    if design.kind not in CODINGS:
        raise InputError(f"--normal is for {' and '.join(CODINGS)} designs: give this one a bundle with --trace")
    name, (coding, frac_bits) = f"{shape[0]} x {shape[1]}", CODINGS[design.kind]
    folder = work / f"{design.kind}_{design.shape.tmax}_{shape[0]}x{shape[1]}" / "normal"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    producer = {"name": "normal.py", "version": "1", "backend": "none"}
    with BundleWriter(folder, producer=producer, model={"architecture": "", "name": "normal"}) as writer:
        writer.add_layer(name, coding=coding, frac_bits=frac_bits, weight_bits=4, **arrays(design, *shape))
    return folder, name
