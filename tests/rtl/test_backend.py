"""Backend `rtl`: the simulated core gives the codes, sums and outputs of `fused`, and says what it cannot do."""

from __future__ import annotations

import copy
import json
import pickle
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.modality import TokenRows, rows_scope
from spike_compressor.rtl import COUNTERS, ERRORS, VARIABLE, CoreError, core, watching
from spike_compressor.rtl.library import FAILURES
from spike_compressor.runtime import IntegerWeight, LayerSpec, Neurons, SpikingLinear

pytestmark = pytest.mark.usefixtures("simulated_core")

ROOT = Path(__file__).parents[2]
MIXED = torch.tensor([[0, 1, 1, 0, 1, 0, 0]], dtype=torch.uint8)
SPECS = {
    "tc_lif": LayerSpec({"text": 4, "vision": 2}, ratio={"text": 0.9, "vision": 1.3}),
    "T = 7": LayerSpec({"text": 7, "vision": 1}, statistic="rms", ratio={"text": 0.4, "vision": 0.8}),
    "static": LayerSpec({"text": 3, "vision": 5}, threshold="static", scale={"text": 0.11, "vision": 0.05}),
    "csd": LayerSpec({"text": 4, "vision": 3}, coding="csd"),
}
WEIGHTS = {"W4": (-8, 7, 1), "W8": (-128, 127, 1), "W4 groups": (-8, 7, 3)}


def layer(spec: LayerSpec, weights: str = "W4", backend: str = "rtl", K: int = 90) -> SpikingLinear:
    low, high, groups = WEIGHTS[weights]
    generator = torch.Generator().manual_seed(3)
    codes = torch.randint(low, high + 1, (21, K), generator=generator, dtype=torch.int8)
    made = torch.nn.Linear(K, 21)
    made.__class__ = SpikingLinear
    del made._parameters["weight"]
    scale = torch.rand(21, groups, generator=generator) + 0.01
    made.__dict__["neurons"] = Neurons("some.layer", spec, IntegerWeight(codes, scale, 8), backend, None)
    made.bias.data = torch.arange(21) / 8
    return made.requires_grad_(False)


def inputs(rows: int = 7, K: int = 90) -> torch.Tensor:
    x = torch.randn(1, rows, K, generator=torch.Generator().manual_seed(4)) * 3
    x[0, 1:2] = 0  # a row of zeros
    return x


def outputs(made: SpikingLinear, rows: int = 7) -> torch.Tensor:
    with torch.no_grad(), rows_scope(TokenRows(MIXED[:, :rows])):
        return made(inputs(rows))


def both(**settings: Any) -> list[tuple[torch.Tensor, Any]]:
    """Outputs, and what observers were told, of `fused` and of the core."""
    found: list[tuple[torch.Tensor, Any]] = []
    for backend in ("fused", "rtl"):
        made, events = layer(backend=backend, **settings), []
        silent = torch.zeros(90, dtype=torch.bool)
        silent[::7] = True
        made.silence(silent)
        plain = outputs(made)
        made.observers.append(lambda _, event, events=events: events.append(event))
        assert torch.equal(outputs(made), plain)
        found.append((plain, events[0]))
    return found


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("spec", SPECS)
def test_a_layer_is_that_of_fused(spec: str, weights: str) -> None:
    """Codes are those that the core has fired, with T by row, silent neurons, and sizes that fill none of its tiles."""
    (expected, ours), (found, theirs) = both(spec=SPECS[spec], weights=weights)
    assert torch.equal(found, expected)
    for key in ("codes", "acc", "scale", "output", "timesteps"):
        assert torch.equal(getattr(theirs, key), getattr(ours, key)), key
        assert getattr(theirs, key).dtype == getattr(ours, key).dtype, key
    assert theirs.saturated == ours.saturated


def test_what_the_core_counts() -> None:
    made, works, events = layer(SPECS["tc_lif"], "W4 groups"), [], []
    with watching(works.append):
        outputs(made)
        made.observers.append(lambda _, event: events.append(event))
        outputs(made)
    outputs(made)  # nobody counts
    (work, observed), event = works, events[0]
    assert (work.name, work.rows, work.inputs, work.outputs) == ("some.layer", 7, 90, 21)
    assert torch.equal(work.acc, event.acc)
    bits = sum((event.codes.abs().to(torch.int16) >> bit & 1).sum() for bit in range(7))
    assert work.counters["spikes"] == observed.counters["spikes"] == int(bits)
    assert work.counters["rows_t4"] == 4
    assert work.counters["rows_t2"] == 3
    tiles = -(-21 // core().shape.columns)
    assert work.counters["additions"] == tiles * work.counters["spikes"]
    # with an observer the core sends what it has fired, and waits for that stream
    assert observed.counters["cycles"] > work.counters["cycles"] >= work.counters["words"] > 0


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row(rows: int) -> None:
    out = outputs(layer(SPECS["csd"]), rows)
    assert torch.equal(out, outputs(layer(SPECS["csd"], backend="fused"), rows))
    assert out.shape == (1, rows, 21)


def test_copies_and_pickles_have_the_same_core() -> None:
    made = layer(SPECS["tc_lif"])
    expected = outputs(made)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other.backend.name == "rtl"
        assert torch.equal(outputs(other), expected)


@pytest.mark.parametrize("coding", ["tc_lif_rdoq", "group4", "binary_unsigned", "unary"])
def test_codings_that_the_core_does_not_fire_are_refused_at_once(coding: str) -> None:
    with pytest.raises(InputError, match=naming("some.layer", coding, "tc_lif, csd", "set_backend")):
        layer(LayerSpec({"text": 3, "vision": 3}, coding=coding))


def test_rows_beyond_the_store_are_refused_at_once() -> None:
    room = core().shape.blocks * core().shape.lanes * core().shape.slots
    layer(SPECS["tc_lif"], K=room)
    with pytest.raises(InputError, match=naming("some.layer", f"{room + 1} inputs", f"{room}", "--inputs")):
        layer(SPECS["tc_lif"], K=room + 1)
    with pytest.raises(InputError, match=naming("some.layer", "T = 8", "up to 7")):
        core().require("some.layer", 8, 1, 1)


def test_without_its_library_one_sentence_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nowhere = tmp_path / "libspike_rtl.so"
    monkeypatch.setenv(VARIABLE, str(nowhere))
    with pytest.raises(InputError, match=naming(str(nowhere), "make rtl-library", VARIABLE)) as error:
        layer(SPECS["tc_lif"])
    assert "\n" not in str(error.value)
    nowhere.write_bytes(b"no library")
    with pytest.raises(InputError, match=naming(str(nowhere), "cannot be loaded", "make rtl-library")):
        layer(SPECS["tc_lif"])


def test_what_the_core_reports_is_an_error_that_names_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(_: Any, job: Any, counters: Any, errors: Any) -> int:
        errors._obj.value = 1 << ERRORS.index("weight_last") | 1 << ERRORS.index("left_over")
        return -6

    monkeypatch.setattr(core(), "_functions", SimpleNamespace(spike_rtl_compute=compute))
    with pytest.raises(CoreError, match=naming("some.layer", "reported errors: weight_last, left_over")):
        outputs(layer(SPECS["tc_lif"]))


def test_after_a_failure_the_core_computes_on() -> None:
    made = layer(SPECS["tc_lif"])
    expected = outputs(made)
    membranes, weights = torch.zeros(2, 8, dtype=torch.int32), torch.ones(1, 3, 8, dtype=torch.int8)
    with pytest.raises(CoreError, match=naming("x", "a number among them")):
        core().compute("x", membranes, torch.tensor([3, 0], dtype=torch.uint8), weights, frac_bits=8)  # no T
    assert torch.equal(outputs(made), expected)


def test_names_are_those_of_the_registers_and_the_driver() -> None:
    table = json.loads((ROOT / "rtl/registers/spike_core.json").read_text())
    assert tuple(one["name"] for one in table["counters"]["names"]) == COUNTERS
    fields = next(one["fields"] for one in table["registers"] if one["name"] == "ERROR")
    assert tuple(field["name"] for field in fields) == ERRORS
    headers = "".join((ROOT / f"rtl/{name}.h").read_text() for name in ("driver/spike_core", "library/spike_rtl"))
    numbers = {int(number) for number in re.findall(r"^  SPIKE_\w+ = (-\d+)", headers, re.MULTILINE)}
    assert numbers - {-1, -2, -7} == set(FAILURES)  # those three end in no job
