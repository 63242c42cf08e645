"""The cycle model: constants and errors follow from the committed simulations, and held-out layers are within 5 %."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import cycle_fit
import numpy as np
import pytest
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.estimate.accelerator import constants
from spike_compressor.estimate.organisations import Job, make
from spike_compressor.estimate.statistics import Spikes, mean_words, of_distribution, of_rows

RESULT = Path(__file__).parents[2] / "docs" / "results" / "estimate_cycles.json"
EVENT = {"rows": 8, "columns": 64, "lanes": 16, "slots": 16, "weight_inputs": 4}
DENSE = {"rows": 8, "columns": 16, "lanes": 8}
SILENT = Spikes((1.0, 0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def again(result: dict[str, Any]) -> dict[str, Any]:
    return cycle_fit.conclusions(copy.deepcopy(result["rows"]))


def test_constants_and_errors_are_those_of_the_simulations(result: dict[str, Any], again: dict[str, Any]) -> None:
    assert again["constants"] == result["constants"] == constants()
    assert again["summary"] == result["summary"]
    assert again["rows"] == result["rows"]


def test_held_out_layers_are_within_five_percent(result: dict[str, Any], again: dict[str, Any]) -> None:
    assert cycle_fit.worst(again["rows"]) <= 0.05
    assert cycle_fit.worst(again["rows"], "statistics", least_cycles=1300) <= 0.05
    assert cycle_fit.worst(again["rows"], "statistics") <= 0.08
    held = [layer for layer in result["rows"] if not layer["fitted"]]
    assert len(held) > 80
    for name, (kind, _) in cycle_fit.SHAPES.items():
        assert sum(name in layer["shapes"] for layer in held) > (5 if kind == "group" else 80)
    assert {layer["rows"] for layer in held} >= {1, 8, 40}
    assert {layer["inputs"] for layer in held} >= {192, 512, 3584}


def test_an_error_of_the_model_would_show(result: dict[str, Any]) -> None:
    """A core that took a tenth longer than the model says would be told."""
    layer = next(one for one in copy.deepcopy(result["rows"]) if not one["fitted"])
    for name, one in layer["shapes"].items():
        model = cycle_fit.predictions(layer, name, result["constants"])
        one["error"] = {mode: cycles / (1.1 * one["cycles"]) - 1 for mode, cycles in model.items()}
    assert cycle_fit.worst([layer]) > 0.05
    assert cycle_fit.worst([layer], "statistics") > 0.05


def test_silent_rows_wait_for_weights_alone() -> None:
    core = make("event", EVENT, constants())
    cycles = core.cycles(Job(((8, SILENT),), 2048, 6400))
    assert cycles.bound in ("loading", "blocks")
    assert cycles.total == pytest.approx(100 * 2048 / 4, rel=0.01)
    assert cycles.additions == 0


def test_dense_cycles_hang_on_no_spike() -> None:
    array = make("dense", DENSE, constants())
    busy = of_distribution("gauss", 4, 1.4)
    one, other = (array.cycles(Job(((64, spikes),), 2048, 1600)) for spikes in (SILENT, busy))
    assert one.total == other.total == pytest.approx(8 * 100 * 256, rel=0.01)
    assert other.additions == pytest.approx(1.4 * other.macs, rel=0.02)


def test_words_by_statistics_are_those_of_drawn_rows() -> None:
    spikes = of_distribution("laplace", 3, 0.6)
    assert spikes.timesteps == 3
    assert spikes.per_input == pytest.approx(0.6, rel=0.02)
    words = mean_words(spikes, 256, 16)
    assert 0.6 * 256 / 16 < words < 0.6 * 256 / 16 / 0.6
    assert mean_words(SILENT, 256, 16) == 1


def test_statistics_of_codes() -> None:
    codes = np.array([[0, -3, 1, 2], [7, 0, 0, -4]])
    spikes = of_rows(codes, 3)
    assert spikes.codes == (0.375, 0.125, 0.125, 0.125, 0.125, 0, 0, 0.125)
    assert spikes.per_input == pytest.approx((2 + 1 + 1 + 3 + 1) / 8)
    assert spikes.planes == pytest.approx((0.25, 0.375, 0.375))
    assert spikes.scaled(1) is spikes
    assert of_distribution("gauss", 4, 1.2).scaled(0.7).per_input == pytest.approx(0.84, rel=0.05)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: of_distribution("uniform", 4, 1.0), ("uniform", "gauss", "laplace", "gated")),
        (lambda: of_distribution("gauss", 2, 3.0), (3, "gauss", 2)),
        (lambda: make("evnt", EVENT, constants()), ("evnt", "event")),
        (lambda: make("dense", {"rows": 8, "columns": 16}, constants()), ("dense", "lanes")),
        (lambda: make("dense", {**DENSE, "slots": 4}, constants()), ("dense", "slots")),
        (lambda: make("dense", {**DENSE, "rows": 0}, constants()), ("array.rows", 0)),
        (lambda: make("dense", DENSE, {}), ("dense", "make rtl-estimate")),
    ],
)
def test_what_cannot_be_is_named(call: Any, names: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match=naming(*names)):
        call()
