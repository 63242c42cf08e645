"""The whole core, built in several shapes."""

import os

import pytest
from images import Shape
from toolchain import BUILD, build, simulate

SEED = int(os.environ.get("SEED", "1"))

SHAPES = {
    "default": Shape(),
    "odd": Shape(rows=3, columns=5, lanes=4, slots=2, weight_inputs=2, weight_bits=4, tmax=7, blocks=32),
    "slim": Shape(rows=1, columns=1, lanes=16, slots=1, weight_inputs=4, weight_bits=3, tmax=4, blocks=32),
    "lean": Shape(rows=4, columns=6, lanes=8, slots=4, weight_inputs=8, weight_bits=4, tmax=4, blocks=16, csd=False),
}


@pytest.mark.parametrize("name", SHAPES)
def test_core(name):
    """Random and directed jobs are reproduced bit for bit, and everything illegal is reported."""
    print(f"SEED={SEED}")
    folder = build("core_harness", SHAPES[name].parameters(), fast=True)
    work = BUILD / "units" / f"core-{name}"
    images = work / "images"
    simulate(
        folder,
        "core_harness",
        "bench_core",
        work,
        seed=SEED,
        plusargs=[f"+images={images}"],
        env={"SPIKE_IMAGES": str(images)},
    )
