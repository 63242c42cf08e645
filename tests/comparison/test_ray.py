"""A comparison on a Ray cluster finds what one process finds, whatever happens to its workers. `make ray-test`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.cluster_evaluation import Watched
from helpers.messages import naming
from spike_compressor.cli.models import calibration_of_seed
from spike_compressor.cli.program import run
from spike_compressor.comparison import compare, make_engine
from spike_compressor.comparison.engines import Todo
from spike_compressor.comparison.engines.on_ray import RETRIES, _files, _Here, _there
from spike_compressor.comparison.recipe import SplitRecipe
from spike_compressor.comparison.sweep import Cell, Sweep
from spike_compressor.errors import InputError
from spike_compressor.progress import Steps

ray = pytest.importorskip("ray")
TESTS = Path(__file__).parents[1]
RTN = TESTS.parent / "recipes" / "compare" / "rtn_w4_g64.yaml"
CALIBRATION = partial(calibration_of_seed, "demo", 8, 4)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two machines with a CPU each, whose workers find the helpers of these tests."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1)
        yield cluster.address
        cluster.shutdown()


def asked(model: Path, first: str, folder: Path) -> dict[str, Any]:
    """The arguments of a comparison of four cells."""
    return {
        "model": model,
        "recipes": [RTN],
        "budgets": ["2/3"],
        "evaluations": [Watched(first, folder)],
        "calibration": CALIBRATION,
        "folder": folder,
    }


@pytest.fixture(scope="module")
def expected(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process keeps."""
    folder = tmp_path_factory.mktemp("here")
    compare(**asked(model, "", folder))
    return kept(folder)


def kept(folder: Path) -> dict[str, Any]:
    """The kept cells by the names of their files, without what they took."""
    found = {path.name: json.loads(path.read_text()) for path in (folder / "cells").iterdir()}
    return {
        name: {**one, "result": {**one["result"], "seconds": 0}} if isinstance(one["result"], dict) else one
        for name, one in found.items()
    }


def weights(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "weights").rglob("*.safetensors")}


def test_two_machines_find_what_one_process_finds(
    address: str, model: Path, expected: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And say no more than that they are through with a cell."""
    result = compare(**asked(model, "meet", tmp_path), engine=make_engine("ray", address=address))
    assert len(list(tmp_path.glob("machine-*"))) == 2
    assert [row["kind"] for row in result["rows"]] == ["float", "weights", "spiking", "integer"]
    assert kept(tmp_path) == expected
    assert not list(tmp_path.glob(".*"))
    out, err = capfd.readouterr()
    assert out == ""
    assert sorted(line[0] for line in err.splitlines() if "/4 " in line) == list("1234")
    assert len([line for line in err.splitlines() if line.strip()]) == 5  # and the check before them

    again = compare(**asked(model, "die always", tmp_path), engine=make_engine("ray", address=address))
    assert again == result  # nothing was computed


def test_a_cell_whose_worker_is_killed_runs_again(
    address: str, model: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    compare(**asked(model, "die", tmp_path), engine=make_engine("ray", address=address, jobs=1))
    assert len(list(tmp_path.glob("call-*"))) == len(expected) + 1
    assert kept(tmp_path) == expected


def test_a_cell_that_kills_every_worker_is_given_up(address: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match=naming("cell", RETRIES + 1, "--cpus")):
        compare(**asked(model, "die always", tmp_path), engine=make_engine("ray", address=address, jobs=1))
    assert len(list(tmp_path.glob("call-*"))) == RETRIES + 1


def test_an_error_of_a_cell_is_that_of_one_process(address: str, model: Path, tmp_path: Path) -> None:
    found = []
    for options in ({}, {"engine": make_engine("ray", address=address)}):
        with pytest.raises(InputError) as caught:
            compare(**asked(model, "fail", tmp_path), **options)
        found.append((type(caught.value), str(caught.value)))
    assert found[0] == found[1]
    assert not ray.is_initialized()


def test_a_command_that_was_killed_goes_on(address: str, model: Path, tmp_path: Path) -> None:
    arguments = ["compare", "--model", str(model), "--data", "demo", "--samples", "8", "--batch-size", "4"]
    arguments += ["--recipes", str(RTN), "--budget", "2/3", "--eval", "answers:1"]
    command = [*arguments, "--engine", "ray", "--address", address, "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        [sys.executable, "-m", "spike_compressor.cli", *command], stderr=subprocess.DEVNULL
    ) as process:
        while not (first := list((tmp_path / "out").glob("cells/*.json"))):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in first}
    assert run(command) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert run([*arguments, "--out", str(tmp_path / "here")]) == 0
    assert kept(tmp_path / "out") == kept(tmp_path / "here")
    assert weights(tmp_path / "out") == weights(tmp_path / "here")


# Refusals


def of_the_sweep(model: Path, folder: Path) -> tuple[Sweep, Todo]:
    cell = Cell("float")
    sweep = Sweep(model, {"rtn": SplitRecipe.read(RTN)}, (), (Watched("", folder),), CALIBRATION, folder)
    return sweep, Todo(cell, "1/1 float", sweep.key(cell))


def test_a_machine_that_would_compute_something_else_is_refused(address: str, model: Path, tmp_path: Path) -> None:
    sweep, one = of_the_sweep(model, tmp_path)
    versions = {**one.key["model"]["versions"], "torch": "0.1"}
    other = replace(one, key={**one.key, "model": {**one.key["model"], "versions": versions}})
    with pytest.raises(InputError, match=naming("machine", "model.versions.torch", "'0.1' here", "packages")):
        list(make_engine("ray", address=address).compute(sweep, [other], Steps()))


def test_storage_that_is_not_shared_is_refused(model: Path, tmp_path: Path) -> None:
    sweep, one = of_the_sweep(model, tmp_path)
    here = _Here(Path.cwd(), tmp_path / "mark", _files(model), False)
    with pytest.raises(InputError, match=naming("machine", tmp_path, "share")):
        _there(sweep, one, here)
    here.mark.touch()
    with pytest.raises(InputError, match=naming("machine", model, "share")):
        _there(sweep, one, replace(here, files={**here.files, "config.json": 1}))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"cpus": 2.0}, ("2 CPUs", "1 CPUs and 0 GPUs", "--cpus")),
        ({"gpus": 1.0}, ("1 GPUs", "1 CPUs and 0 GPUs", "--gpus")),
    ],
)
def test_more_than_a_machine_has_is_refused(
    address: str, model: Path, tmp_path: Path, options: dict[str, float], names: tuple[object, ...]
) -> None:
    sweep, one = of_the_sweep(model, tmp_path)
    with pytest.raises(InputError, match=naming(*names)):
        list(make_engine("ray", address=address, **options).compute(sweep, [one], Steps()))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"cpus": 0}, ("cpus", 0)),
        ({"gpus": -1}, ("gpus", -1)),
        ({"gpus": 1.5}, ("gpus", 1.5, "whole")),
        ({"jobs": 0}, ("jobs", 0)),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options: dict[str, float], names: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match=naming(*names)):
        make_engine("ray", **options)


def test_a_cluster_that_is_not_there_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=naming("127.0.0.1:1", "ray start")):
        compare(**asked(model, "", tmp_path), engine=make_engine("ray", address="127.0.0.1:1"))
    assert not list(tmp_path.iterdir())
