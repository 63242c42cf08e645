"""The frontier: codes are read, what was found is kept by chunk, and rows, table and picture follow from it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import frontier
import pytest
import torch
from drawings import drawing
from frontier_codes import Code
from frontier_judges import JUDGES, Embedded, SmolLM2
from frontier_report import FIGURES, operations
from frontier_weights import QUANTIZERS, TRANSFORMS, weights_recipe
from helpers.messages import naming
from spike_compressor.evaluations import Perplexity
from spike_compressor.runtime import LayerSpec
from tables import markdown


@pytest.mark.parametrize(
    ("label", "spec"),
    [
        ("rms@0.35", LayerSpec({"text": 7, "vision": 7}, ratio={"text": 0.35, "vision": 0.35}, statistic="rms")),
        (
            "tc_lif_rdoq:rms@0.4",
            LayerSpec({"text": 7, "vision": 7}, "tc_lif_rdoq", ratio={"text": 0.4, "vision": 0.4}, statistic="rms"),
        ),
        ("absmax@T4", LayerSpec({"text": 4, "vision": 4})),
        ("absmax@T3x0.8", LayerSpec({"text": 3, "vision": 3}, ratio={"text": 0.8, "vision": 0.8})),
        ("absmax@text=T4+vision=T3", LayerSpec({"text": 4, "vision": 3})),
        (
            "rms@text=0.7+vision=0.5",
            LayerSpec({"text": 7, "vision": 7}, ratio={"text": 0.7, "vision": 0.5}, statistic="rms"),
        ),
    ],
)
def test_codes_are_read(label: str, spec: LayerSpec) -> None:
    assert Code.parse(label).spec(("text", "vision")) == spec


def test_budgets_are_read_and_nonsense_is_not() -> None:
    recipe = Code.parse("rms@sops=1.1e8").recipe(weights_recipe("none+rtn_g64"))
    assert recipe is not None
    planner, neurons = dict(recipe.spikes)["MSTSModifier"], dict(recipe.spikes)["TCLIFModifier"]
    assert planner == {"allocation": "sensitivity", "budget": {"sops_per_token": 1.1e8}}
    assert neurons == {
        "targets": ["Linear"],
        "ignore": ["lm_head"],
        "threshold_statistic": "rms",
        "threshold_ratio": "auto",
    }
    assert Code.parse("rms@spikes=0.6").budget == {"spikes_per_input": 0.6}
    recipe = Code.parse("tc_lif_rdoq:rms@sops=1.1e8").recipe(weights_recipe("none+rtn_g64"))
    assert recipe is not None
    assert dict(recipe.spikes)["TCLIFModifier"] == {**neurons, "coding": "tc_lif_rdoq"}
    for label in ("rms", "rms@", "rms@T9", "rms@text=", "squash:rms@0.4", "group4:rms@0.4"):
        with pytest.raises(SystemExit, match=naming(label)):
            Code.parse(label)
    with pytest.raises(SystemExit, match=naming("squash", *TRANSFORMS)):
        weights_recipe("squash+rtn_g64")


@pytest.mark.parametrize(
    ("label", "fields"),
    [
        ("rms@0.5+rebuilt", {"timesteps": 7, "threshold_ratio": 0.5}),
        ("rms@text=0.7+vision=0.5+rebuilt", {"timesteps": {"text": 7, "vision": 7}}),
        ("rms@sops=1e6+rebuilt", {"threshold_ratio": "auto"}),
    ],
)
def test_weights_that_learn_take_a_recipe(label: str, fields: dict[str, Any]) -> None:
    weights = weights_recipe("none+rtn_g64")
    assert Code.parse(label.removesuffix("+rebuilt")).label != Code.parse(label).label == label
    recipe = Code.parse(label).recipe(weights)
    assert recipe is not None
    assert recipe.learns
    assert fields.items() <= dict(recipe.spikes)["TCLIFModifier"].items()
    assert Code.parse("rms@0.5").recipe(weights) is None


@pytest.mark.parametrize("name", [*(f"none+{one}" for one in QUANTIZERS), *(f"{one}+rtn_g64" for one in TRANSFORMS)])
def test_all_weights_are_recipes(name: str) -> None:
    from spike_compressor.modifiers.reading import read_recipe

    assert read_recipe(weights_recipe(name).text(), None).modifiers


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A run on a few questions, and its folder."""
    folder = tmp_path_factory.mktemp("frontier")
    with pytest.MonkeyPatch.context() as patched:
        _few_questions(patched)
        return _run(folder, patched), folder


def _few_questions(patched: pytest.MonkeyPatch) -> None:
    for name, value in {"per_kind": 4, "chunks": 2, "samples": 8, "counted": 2}.items():
        patched.setattr(Embedded, name, value)


def _run(folder: Path, patched: pytest.MonkeyPatch, *more: str) -> dict[str, Any]:
    out = folder / "result.json"
    arguments = ["embedded", "--weights", "none+rtn_g64", "--codes", "weights", "rms@0.5", "absmax@T2", "absmax@T7"]
    argv = ["frontier.py", *arguments, "--scratch", str(folder), "--out", str(out), "--threads", "1", *more]
    patched.setattr(sys, "argv", argv)
    threads = torch.get_num_threads()
    try:
        assert frontier.main() == 0
    finally:
        torch.set_num_threads(threads)
    return dict(json.loads(out.read_text()))


def test_rows_are_paired_with_float_and_with_weights_alone(swept: tuple[dict[str, Any], Path]) -> None:
    result, _ = swept
    rows = {(row["weights"], row["code"]): row for row in result["rows"]}
    assert rows["float", "float"]["figures"]["minus_float"] == {"estimate": 0.0, "low": 0.0, "high": 0.0}
    assert rows["none+rtn_g64", "weights"]["figures"]["minus_weights"]["estimate"] == 0
    assert "sops_per_token" not in rows["none+rtn_g64", "weights"]
    spiking = {code: rows["none+rtn_g64", code] for code in ("rms@0.5", "absmax@T2", "absmax@T7")}
    for row in spiking.values():
        figures = row["figures"]
        assert figures["minus_float"]["estimate"] == pytest.approx(
            figures["accuracy"]["estimate"] - rows["float", "float"]["figures"]["accuracy"]["estimate"]
        )
        assert row["coverage"] > 0.9
        assert set(row["by_kind"]) == {"vision tower", "projector", "q/k/v", "o", "gate/up", "down"}
    assert [spiking[code]["mean_timesteps"] for code in spiking] == [7, 2, 7]
    assert spiking["absmax@T2"]["spikes_per_input"] < spiking["rms@0.5"]["spikes_per_input"]
    assert spiking["absmax@T2"]["front"]  # nothing is cheaper, so nothing beats it
    table = markdown(result)
    assert "`rms@0.5`" in table
    assert "gate/up, text" in table
    assert "vision tower" in table.split("Spikes per input by kind")[1]
    picture = drawing(result)
    assert picture is not None
    assert FIGURES["embedded"]["minus_float"].heading in picture


def test_finished_chunks_are_kept(swept: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    result, folder = swept
    _few_questions(monkeypatch)

    def never(*_: Any) -> None:
        raise AssertionError("computed again")

    for name in ("judge", "count", "open"):
        monkeypatch.setattr(Embedded, name, never)
    assert _run(folder, monkeypatch)["rows"] == result["rows"]
    fewer = _run(folder, monkeypatch, "--chunks", "1", "--only-kept")
    assert len(fewer["rows"]) == len(result["rows"])
    assert "--chunks 1" in fewer["command"]


def test_operations_are_shares_of_the_macs() -> None:
    def entry(sops: int, macs: int) -> dict[str, Any]:
        return {"sops": sops, "macs": macs}

    spikes = {
        "totals": {"tokens": {"text": 10}, "mean_timesteps": {"weighted": 7.0}, "coverage": 0.9},
        "layers": {
            "a.q_proj": {"text": entry(50, 100)},
            "a.k_proj": {"text": entry(10, 20)},
            "a.down_proj": {"text": entry(6, 60)},
        },
        "modalities": {"a.q_proj": ["text"], "a.k_proj": ["text"], "a.down_proj": ["text"]},
    }
    found = operations(spikes)
    assert found["sops_per_token"] == pytest.approx(6.6)
    assert found["spikes_per_input"] == pytest.approx(66 / 180)
    assert found["by_kind"] == {"q/k/v": {"text": pytest.approx(0.5)}, "down": {"text": pytest.approx(0.1)}}


def test_perplexities_are_ratios_over_the_same_windows() -> None:
    def chunk(*nll: float) -> dict[str, Any]:
        return Perplexity(4, 4, nll, (3,) * len(nll)).to_dict()

    judge = object.__new__(SmolLM2)
    figures = judge.figures([chunk(3.0), chunk(6.0)], [chunk(2.7), chunk(5.7)], [chunk(3.0), chunk(6.0)])
    assert figures["over_float"].estimate == pytest.approx(2.718281828**0.1)
    assert figures["over_float"].low == pytest.approx(figures["over_float"].high)  # all windows lose the same
    assert figures["over_weights"].estimate == 1
    assert JUDGES["smollm2"] is SmolLM2
