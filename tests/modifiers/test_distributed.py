"""Calibration on two ranks decides what one process decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import tiny_models
from helpers.workshop import Workshop
from spike_compressor import load

SCRIPT = Path(__file__).parents[1] / "helpers" / "distributed_run.py"


def run(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def runs(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process and each of two ranks decided, by `ranks-rank`."""
    out = tmp_path_factory.mktemp("distributed")
    arguments = [str(SCRIPT), str(workshop.source("llava")), str(out)]
    run(arguments)
    run(["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *arguments])
    return {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}


RECIPES = ["med", "sensitivity", "gradient", "static"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_ranks_agree_to_the_bit(runs: dict[str, Any], recipe: str) -> None:
    assert runs["2-0"][recipe] == runs["2-1"][recipe]


@pytest.mark.parametrize("recipe", RECIPES)
def test_two_ranks_decide_what_one_process_decides(runs: dict[str, Any], recipe: str) -> None:
    one, two = runs["1-0"][recipe], runs["2-0"][recipe]
    assert one["plan"] == two["plan"]
    assert one["ratio"] == two["ratio"]
    assert one["facts"]["calibration"] == two["facts"]["calibration"]
    assert one["facts"]["calibration"]["samples"] == 8
    for name, scales in one["scale"].items():
        if scales is not None:
            assert two["scale"][name] == pytest.approx(scales, rel=1e-5), name
    if recipe == "static":
        assert all(scales is not None for scales in one["scale"].values())
    if recipe == "med":
        for name, curve in one["facts"]["evolution"]["modalities"].items():
            other = two["facts"]["evolution"]["modalities"][name]
            assert other["mean"] == pytest.approx(curve["mean"], abs=1e-5)
            assert other["half_width"] == pytest.approx(curve["half_width"], rel=1e-3)
            assert (other["tokens"], other["samples"]) == (curve["tokens"], curve["samples"])


def test_quantizers_that_are_not_reproducible_still_leave_ranks_of_one_mind(runs: dict[str, Any]) -> None:
    """GPTQ rounds differently where sums of floats differ; the ranks must agree all the same."""
    assert runs["2-0"]["gptq"] == runs["2-1"]["gptq"]


def test_a_distributed_run_saves_one_whole_checkpoint(runs: dict[str, Any], workshop: Workshop) -> None:
    folder = Path(runs["2-0"]["static"]["saved"])
    spiking = load(folder)
    specs = {name: layer.spec for name, layer in spiking.named_modules() if hasattr(layer, "spec")}
    assert {name: dict(spec.timesteps) for name, spec in specs.items()} == runs["2-0"]["static"]["plan"]
    alone = load(runs["1-0"]["static"]["saved"])
    batch = workshop.batch("llava")
    assert tiny_models.logits(spiking, batch) == pytest.approx(tiny_models.logits(alone, batch), abs=1e-3)
    assert not list(folder.parent.glob(".*"))  # nothing half-written beside it
