"""Calibration on two ranks decides what one process decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from compressed_tensors.offload import load_offloaded_model
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor import load
from spike_compressor.errors import InputError
from spike_compressor.modifiers import distributed
from spike_compressor.modifiers.distributed import require_group

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


def test_processes_that_do_not_know_each_other_are_refused(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=naming("WORLD_SIZE", 2, "init_process_group('gloo')", "init_dist()")):
        workshop.oneshot("llama", recipe(RTN, msts="{allocation: fixed, timesteps: 4}"), output_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_parameters_on_a_disk_are_refused(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kind = tiny_models.CLASSES["llama"]
    with load_offloaded_model(kind):
        model = kind.from_pretrained(
            workshop.source("llama"), device_map="auto", max_memory={"cpu": 0}, offload_folder=str(tmp_path)
        )
    require_group(model)  # of one process
    monkeypatch.setattr(distributed, "is_distributed", lambda: True)
    with pytest.raises(InputError, match=naming("embed_tokens", "disk", "max_memory")):
        require_group(model)
    require_group(workshop.model("llama"))


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
