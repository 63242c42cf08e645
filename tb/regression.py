"""The benches and what they run on: shapes of the whole core, modules and their parameters."""

from __future__ import annotations

import functools
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import run_trace
from beats import Streams
from generate import random_arrays
from images import Shape
from spike_compressor.trace import BundleWriter, open_bundle
from toolchain import BUILD, build, simulate, variant_sources

SEED = int(os.environ.get("SEED", "1"))

SHAPES = {
    "default": Shape(),
    "odd": Shape(rows=3, columns=5, lanes=4, slots=2, weight_inputs=2, weight_bits=4, tmax=7, blocks=32),
    "slim": Shape(rows=1, columns=1, lanes=16, slots=1, weight_inputs=4, weight_bits=3, tmax=4, blocks=32),
    "capped": Shape(rows=3, columns=5, lanes=8, slots=8, weight_inputs=4, weight_bits=4, tmax=7, blocks=8, capped=True),
    "lean": Shape(rows=4, columns=6, lanes=8, slots=4, weight_inputs=8, weight_bits=4, tmax=4, blocks=16, csd=False),
}
#: Shapes whose counters come out of reset just below a carry through all their bits.
LATE = ("odd",)

#: One limit of the core's parameters each, the others small: what compiles and simulates in minutes.
CORNERS = {
    "lanes 4, slots 1": Shape(2, 3, lanes=4, slots=1, weight_inputs=1, weight_bits=8, tmax=7, blocks=64),
    "lanes 128": Shape(2, 2, lanes=128, slots=2, weight_inputs=128, weight_bits=4, tmax=4, blocks=8),
    "slots 128": Shape(2, 3, lanes=4, slots=128, weight_inputs=4, weight_bits=4, tmax=4, blocks=8),
    "rows 255": Shape(255, 2, lanes=4, slots=2, weight_inputs=4, weight_bits=4, tmax=3, blocks=8),
    "columns 255": Shape(2, 255, lanes=4, slots=2, weight_inputs=4, weight_bits=4, tmax=3, blocks=8),
    "weight bits 2": Shape(3, 5, lanes=8, slots=4, weight_inputs=8, weight_bits=2, tmax=4, blocks=8),
    "tmax 1": Shape(3, 5, lanes=8, slots=4, weight_inputs=8, weight_bits=4, tmax=1, blocks=8),
    "least": Shape(1, 1, lanes=4, slots=1, weight_inputs=1, weight_bits=2, tmax=1, blocks=8, csd=False),
    "capped 16": Shape(
        2,
        3,
        lanes=16,
        slots=4,
        weight_inputs=16,
        weight_bits=4,
        tmax=4,
        blocks=8,
        csd=False,
        capped=True,
        one_block=True,
    ),
    "one block": Shape(3, 5, lanes=4, slots=4, weight_inputs=2, weight_bits=4, tmax=7, blocks=16, one_block=True),
}
#: Tests of bench_core that corners run.
CORNER_TESTS = ("extremes", "random_jobs", "group_scales", "largest_groups", "reset_in_mid_stream")

#: Of the dense baseline.
DENSE_SHAPES = {
    "square": {"Rows": 4, "Columns": 8, "Lanes": 8, "WeightInputs": 8, "MaxInputs": 128},
    "odd": {
        "Rows": 3,
        "Columns": 5,
        "Lanes": 4,
        "WeightInputs": 2,
        "WeightBits": 3,
        "Tmax": 3,
        "MaxInputs": 68,
        "MaxGroups": 3,
    },
    "multiply": {"Rows": 2, "Columns": 3, "Lanes": 8, "WeightInputs": 4, "MaxInputs": 128, "Multiply": 1},
    "passes": {"Rows": 3, "Columns": 4, "Lanes": 8, "WeightInputs": 4, "MaxInputs": 128, "Planes": 3},
    "halves": {"Rows": 2, "Columns": 3, "Lanes": 4, "MaxInputs": 64, "Tmax": 6, "Planes": 3, "Multiply": 1},
}

#: Of the group core; the last is what faults are put into, see `mutate.py`.
GROUP_SHAPES = {
    "group": Shape(4, 6, lanes=16, slots=1, weight_inputs=4, weight_bits=4, tmax=7, blocks=6, csd=False, units=1),
    "group pairs": Shape(
        3, 5, lanes=32, slots=1, weight_inputs=32, weight_bits=3, tmax=5, blocks=4, csd=False, units=2
    ),
    "group bytes": Shape(2, 3, lanes=8, slots=1, weight_inputs=4, weight_bits=8, tmax=4, blocks=6, csd=False, units=1),
}

#: A small core with a streamer: 20-byte sums that fill three beats of 8 bytes; 8-byte sums, four in a beat of 32.
STREAMED = {"Rows": 3, "Lanes": 4, "Slots": 2, "WeightInputs": 2, "WeightBits": 4, "MaxInputs": 128}

#: Bundles are replayed with every width of the streams (bits), every kind of memory, on the dense baseline (first True)
#: and with T in TUSER (second True).
REPLAYS = [
    (width, memory, dense, False)
    for width in run_trace.WIDTHS[1:]
    for memory, dense in (("", False), ("single_port", False), ("latches", False), ("single_port", True))
] + [(width, "single_port", dense, True) for width in (0, 32, 64, 1024) for dense in (False, True)]

UNITS: list[tuple[str, str, dict[str, int]]] = [
    ("fifo", "spike_fifo", {"Depth": 5}),
    ("neuron", "spike_neuron", {}),
    ("neuron", "spike_neuron", {"Tmax": 3, "Csd": 0}),
    ("neuron_array", "spike_neuron_array", {"Rows": 4, "Lanes": 8, "Slots": 4}),
    ("neuron_array", "spike_neuron_array", {"Rows": 3, "Lanes": 4, "Slots": 2, "Tmax": 4, "Csd": 0}),
    ("neuron_array", "spike_neuron_array", {"Rows": 3, "Lanes": 4, "Slots": 2, "UserTimesteps": 1}),
    ("capped_array", "spike_neuron_array", {"Rows": 2, "Lanes": 8, "Slots": 8, "Csd": 0, "Capped": 1}),
    ("capped_array", "spike_neuron_array", {"Rows": 3, "Lanes": 16, "Slots": 4, "Tmax": 4, "Capped": 1}),
    ("neuron_array", "spike_neuron_array", {"Rows": 4, "Lanes": 8, "Slots": 4, "Capped": 1}),
    ("capper", "spike_capper", {"Width": 5}),
    ("capper", "spike_capper", {"Lanes": 4, "Slots": 2, "Tmax": 3, "Width": 3}),
    ("loss", "spike_loss", {}),
    ("store", "spike_store", {"Rows": 3, "Lanes": 4, "Slots": 2, "Blocks": 5, "Tmax": 4}),
    ("store", "spike_store", {"Rows": 1, "Lanes": 4, "Slots": 4, "Blocks": 1, "Tmax": 3, "Csd": 0}),
    ("store", "spike_store", {"Rows": 2, "Lanes": 4, "Slots": 4, "Blocks": 3, "Tmax": 3, "Csd": 0, "Capped": 1}),
    ("tiler", "spike_tiler", {}),
    ("chunker", "spike_chunker", {"Slots": 4, "Blocks": 9}),
    ("chunker", "spike_chunker", {"Slots": 1, "Blocks": 9}),
    ("walker", "spike_walker", {"Rows": 3, "Columns": 5, "Lanes": 4, "Slots": 4, "Blocks": 16, "Tmax": 4}),
    ("lane", "spike_lane", {"Slots": 16}),
    ("lane", "spike_lane", {"Slots": 1}),
    ("picker", "spike_picker", {"Rows": 3, "Columns": 5, "Lanes": 8, "Slots": 8}),
    ("weight_loader", "spike_weight_loader", {"Rows": 2, "Columns": 3, "Lanes": 8, "Slots": 4, "WeightInputs": 8}),
    (
        "weight_loader",
        "spike_weight_loader",
        {"Rows": 2, "Columns": 2, "Lanes": 8, "Slots": 2, "WeightInputs": 2, "WeightBits": 4},
    ),
    ("tally", "spike_tally", {}),
    ("tally", "spike_tally", {"Width": 5}),
    ("csa", "spike_csa", {"Operands": 17, "Width": 10}),
    ("csa", "spike_csa", {"Operands": 5, "Width": 7}),
    ("column", "spike_column", {"Lanes": 8, "WeightBits": 4, "SumWidth": 9, "AccWidth": 20}),
    ("array", "spike_array", {"Rows": 3, "Columns": 4, "Lanes": 8, "Slots": 4, "WeightBits": 4, "Tmax": 4}),
    ("accumulator", "spike_accumulator", {"Rows": 3, "Columns": 4, "HalfWidth": 20}),
    ("accumulator", "spike_accumulator", {"Rows": 3, "Columns": 4, "HalfWidth": 20, "SumBits": 21}),
    ("accumulator", "spike_accumulator", {"Rows": 3, "Columns": 4, "HalfWidth": 20, "SumBits": 19, "OneBlock": 1}),
    ("sequencer", "spike_sequencer", {"Lanes": 8, "Slots": 4, "Blocks": 16}),
    ("sequencer", "spike_sequencer", {"Lanes": 4, "Slots": 1, "Blocks": 64, "Csd": 0}),
    ("sequencer", "spike_sequencer", {"Lanes": 8, "Slots": 8, "Blocks": 16, "Capped": 1}),
    ("counters", "spike_counters", {}),
    ("regs", "regs_harness", {}),
    ("pack", "spike_pack", {"Width": 32, "Unit": 8}),
    ("pack", "spike_pack", {"Width": 8, "Unit": 20}),
    ("fp_column", "fp_column", {"Lanes": 4}),
    ("fp_column", "fp_column", {"Lanes": 2, "ExpBits": 8, "FracBits": 7, "Subnormals": 0}),
    ("int_column", "int_column", {"Lanes": 8}),
    ("int_column", "int_column", {"Lanes": 4, "WeightBits": 4, "AccWidth": 20}),
    ("row_offset", "row_offset", {"Lanes": 8}),
    ("row_offset", "row_offset", {"Lanes": 8, "WeightBits": 4, "ActBits": 5, "AccWidth": 20, "SignMagnitude": 1}),
    (
        "row_offset",
        "row_offset",
        {"Lanes": 8, "WeightBits": 4, "ActBits": 6, "AccWidth": 20, "SignMagnitude": 1, "PassBits": 3},
    ),
    ("group_column", "group_column", {"Groups": 8}),
    ("group_column", "group_column", {"Groups": 4, "WeightBits": 3, "Steps": 3, "AccWidth": 11}),
    ("group_column", "group_column", {"Groups": 8, "Dual": 1}),
    ("group_encoder", "group_encoder", {}),
    ("group_store", "group_store", {"Rows": 3, "Groups": 4, "Chunks": 3, "Steps": 4}),
    ("group_store", "group_store", {"Rows": 2, "Groups": 4, "Chunks": 2, "Steps": 3, "Units": 2}),
    ("group_walker", "group_walker", {"Rows": 3, "Columns": 5, "Groups": 4, "Chunks": 16, "Steps": 5}),
    ("group_array", "group_array", {"Rows": 3, "Columns": 2, "Groups": 4, "Steps": 5, "AccBits": 20}),
    ("group_drain", "group_drain", {"Rows": 3, "Columns": 2, "Steps": 5, "AccBits": 18}),
    ("group_drain", "group_drain", {"Rows": 1, "Columns": 3, "Steps": 2, "AccBits": 12}),
    ("group_front", "group_front", {"Rows": 2, "Groups": 4, "Chunks": 4, "Steps": 5}),
    ("group_front", "group_front", {"Rows": 3, "Groups": 4, "Chunks": 4, "Steps": 3, "Units": 2, "UserTimesteps": 1}),
    ("axil_checker", "axil_checker", {"Fatal": 0}),
    ("axi_write_checker", "axi_write_checker", {"Fatal": 0}),
    ("ports", "spike_core", {"Rows": 1, "Columns": 1, "Lanes": 4, "Slots": 1, "MaxInputs": 16}),
    ("ports", "dense_core", {"Rows": 1, "Columns": 1, "Lanes": 4, "MaxInputs": 16}),
    ("ports", "group_core", {"Rows": 1, "Columns": 1, "Groups": 2, "WeightInputs": 8, "MaxInputs": 16}),
    ("streamed", "streamed_harness", STREAMED | {"Columns": 5, "DataWidth": 64, "MaxBurst": 4, "AddrWidth": 40}),
    ("streamed", "streamed_harness", STREAMED | {"Columns": 2, "DataWidth": 256, "Bursts": 2}),
]


def core_parameters(name: str) -> dict[str, int]:
    """Parameters of `core_harness` for a shape."""
    return {**(SHAPES | CORNERS)[name].parameters(), "LateCounters": int(name in LATE)}


@functools.cache
def core(name: str, seed: int = SEED, coverage: bool = False, variant: str = "") -> Path:
    """Run the regression of the whole core on a shape, once a process; the folder of its log and coverage.

    Args:
        name: of SHAPES, or of CORNERS, which run CORNER_TESTS alone.
        coverage: count lines, branches and toggles, too.
        variant: folder of `rtl/variants/` whose modules take the place of the core's.

    Raises AssertionError if a test fails.
    """
    replaced = variant_sources(variant) if variant else None
    folder = build("core_harness", core_parameters(name), fast=True, coverage=coverage, replaced=replaced)
    words = ["core", variant, name.replace(", ", "-").replace(" ", "_"), str(seed)]
    work = BUILD / ("coverage" if coverage else "units") / "-".join(filter(None, words))
    images = work / "images"
    simulate(
        folder,
        "core_harness",
        "bench_core",
        work,
        seed=seed,
        testcase=CORNER_TESTS if name in CORNERS else None,
        plusargs=[f"+images={images}"],
        env={"SPIKE_IMAGES": str(images), "SPIKE_COVERAGE": str(work / "functional.yaml")},
    )
    return work


@functools.cache
def replay(width: int, memory: str, dense: bool, user: bool, seed: int = SEED) -> Path:
    """Replay a bundle on a core whose units fill no beat, without stalls and with; the folder of the bundle.

    Args:
        width: of all streams, bits.
        memory: folder of `rtl/variants/` whose memories take the place of the core's.
        dense: on the dense baseline.
        user: T of a row comes in TUSER.

    Raises AssertionError if a spike or an accumulator differs.
    """
    path = BUILD / "replays" / f"{width}-{memory or 'default'}{'-dense' * dense}{'-user' * user}-{seed}"
    rng = np.random.default_rng(seed)
    layers = [
        ("vision.fc1", (10, 29, 13), {}),
        ("text.down_proj", (7, 36, 11), {"groups": 4, "timesteps": (3, 5, 7)}),
        ("one", (1, 1, 1), {"timesteps": 1, "weight_bits": 2, "frac_bits": 1}),
        ("csd.q_proj", (8, 31, 16), {"coding": "csd"}),
    ][: 3 if dense else 4]
    shutil.rmtree(path, ignore_errors=True)
    with BundleWriter(path, producer={"name": "tb"}, model={"name": "random"}) as bundle:
        for name, size, settings in layers:
            facts = {"coding": "tc_lif", "frac_bits": 16, "weight_bits": 4} | settings
            bundle.add_layer(
                name,
                **{key: facts[key] for key in ("coding", "frac_bits", "weight_bits")},
                **random_arrays(rng, *size, **settings),
            )
    shape = replace(SHAPES["odd"], streams=Streams.of_width(width, user=user))
    names = [name for name, *_ in layers]
    for stalls in (False, True):
        verdicts = run_trace.run(
            open_bundle(path), names, seed=seed, stalls=stalls, quiet=True, shape=shape, dense=dense, memory=memory
        )
        wrong = [verdict["error"] for verdict in verdicts if verdict["error"]]
        assert not wrong, wrong
        assert [verdict["layer"] for verdict in verdicts] == names
    return path


def dense(name: str, seed: int = SEED, variant: str = "") -> Path:
    """Run the bench of the dense baseline on a shape; the folder of its log. Raises AssertionError if a test fails.

    Args:
        variant: folder of `rtl/variants/` whose modules take the place of the core's.
    """
    parameters = {"WeightBits": 4, "Tmax": 4, "Dense": 1} | DENSE_SHAPES[name]
    folder = build("core_harness", parameters, fast=True, replaced=variant_sources(variant) if variant else None)
    work = BUILD / "units" / "-".join(filter(None, ["dense", variant, name, str(seed)]))
    images = work / "images"
    simulate(
        folder,
        "core_harness",
        "bench_dense",
        work,
        seed=seed,
        plusargs=[f"+images={images}"],
        env={"SPIKE_IMAGES": str(images)},
    )
    return work


@functools.cache
def group(name: str, seed: int = SEED, coverage: bool = False, variant: str = "") -> Path:
    """Run the bench of the group core on a shape, once a process; the folder of its log and coverage.

    Raises AssertionError if a test fails.

    Args:
        coverage: count lines, branches and toggles, too.
        variant: folder of `rtl/variants/` whose modules take the place of the core's.
    """
    replaced = variant_sources(variant) if variant else None
    folder = build("core_harness", GROUP_SHAPES[name].parameters(), fast=True, coverage=coverage, replaced=replaced)
    words = [variant, name.replace(" ", "_"), str(seed)]
    work = BUILD / ("coverage" if coverage else "units") / "-".join(filter(None, words))
    images = work / "images"
    simulate(
        folder,
        "core_harness",
        "bench_group",
        work,
        seed=seed,
        plusargs=[f"+images={images}"],
        env={"SPIKE_IMAGES": str(images), "SPIKE_COVERAGE": str(work / "functional.yaml")},
    )
    return work


def unit(
    bench: str,
    module: str,
    parameters: dict[str, int],
    seed: int = SEED,
    coverage: bool = False,
    variant: str = "",
) -> Path:
    """Run a module's bench; the folder of its log and coverage. Raises AssertionError if a test fails.

    Args:
        variant: folder of `rtl/variants/` whose modules take the place of the core's.
    """
    folder = build(module, parameters, coverage=coverage, replaced=variant_sources(variant) if variant else None)
    settings = (f"{key}{value}" for key, value in parameters.items())
    name = "-".join(filter(None, [bench, variant, *settings, str(seed)]))
    work = BUILD / ("coverage" if coverage else "units") / name
    simulate(folder, module, f"bench_{bench}", work, seed=seed)
    return work
