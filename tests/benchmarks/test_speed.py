"""The speed benchmark: what its figures are made of, and that a tiny run of it gives them. No figure is asserted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import speed
import tables
import torch
from harness import RESULTS
from timing import layers, models, pages, rivals
from timing.clock import interleave, ratio
from timing.limits import Limits

RESULT = RESULTS / "speed.json"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("speed")
    arguments = ["--threads", "1", "--no-quanto", "--shapes", "128x80", "--rows", "1", "5", "--seconds", "0.02"]
    arguments += ["--parts", "limits", "linear", "encode", "oneshot"]
    arguments += ["--scratch", str(folder), "--out", str(folder / "speed.json")]
    code = speed.run(speed.arguments().parse_args(arguments))
    found: dict[str, Any] = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    assert code == (0 if all(goal["passed"] for goal in found["goals"]) else 1)
    return found


def test_a_tiny_run_has_a_ratio_for_each_layer_and_rival(tiny: dict[str, Any]) -> None:
    found = tiny["ratios"]
    for weights in ("w4_channel", "w4_g64", "w8_channel", "w4_channel_unrolled", "w4_g64_unrolled"):
        for rows in (1, 5):
            for rival in ("fp32", "int8", "bf16"):
                assert found[f"linear_{weights}_m{rows}_128x80_vs_{rival}"] > 0
    assert found["linear_w4_g64_m1_128x80_cold_vs_fp32"] > 0
    assert found["linear_w4_channel_m1_128x80_torch_vs_fp32"] > 0
    assert found["encode_vs_python_steps"] > 0
    assert found["oneshot_overhead_med"] > 0
    for key, (low, high) in tiny["quartiles"].items():
        assert low <= found[key] <= high


def test_a_tiny_run_says_what_the_machine_can_do(tiny: dict[str, Any]) -> None:
    (limits,) = (row for row in tiny["rows"] if row["part"] == "limits")
    assert limits["fma_gmacs"] > 0
    assert limits["bytes_gmacs"] > 0
    assert all(rate > 0 for rate in limits["read_gb_s"].values())
    assert all(row["of_limit"] > 0 for row in tiny["rows"] if row["part"] == "linear")
    assert "cores" in tiny["settings"]["load_of_the_machine"]


def test_its_table_has_every_layer(tiny: dict[str, Any]) -> None:
    text = tables.markdown(tiny)
    assert text.count("| 128 -> 80 |") == 2 * (
        5 + len({row["level"] for row in tiny["rows"] if row["part"] == "level"})
    )
    assert text.count("| 128 -> 80, many layers in turn |") == 3


def test_limits_need_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    found = Limits(tmp_path, threads=1, seconds=0.01).row()
    assert (found["source"], found["instruction"]) == ("torch", "torch._int_mm")
    assert min(found["fma_gmacs"], found["bytes_gmacs"], *found["read_gb_s"].values()) > 0


def test_a_layer_is_only_timed_when_its_outputs_are_right() -> None:
    x = torch.randn(5, 64)
    layer = layers.spiking_linear(torch.randn(24, 64), layers.WEIGHTS[1])
    layers.require_exact(layer, x, "right")
    layer.register_forward_hook(lambda module, args, out: out.index_fill(1, torch.tensor([3]), 1.0))
    with pytest.raises(SystemExit, match="5 of 120"):
        layers.require_exact(layer, x, "wrong")


def test_the_loop_over_timesteps_gives_the_spikes_of_encode() -> None:
    from spike_compressor.coding import absmax_scale, encode

    x = torch.randn(7, 33)
    for T in (1, 3, 7):
        train = encode(x, absmax_scale(x, T), T)
        assert torch.equal(rivals.PythonSteps(T)(x), train.spikes.to(torch.float32))


def test_rounds_pair_what_ran_side_by_side() -> None:
    calls = {"a": lambda: torch.ones(10).sum(), "b": lambda: torch.ones(10, 10).sum()}
    samples = interleave(calls, 0.0, sample=0.0)
    assert [len(found) for found in samples.values()] == [3, 3]
    assert ratio([2.0, 4.0, 6.0], [1.0, 1.0, 2.0]) == (3.0, 2.0, 4.0)
    assert ratio([2.0, 4.0, 9.0, 1.0], [1.0, 1.0]).ratio == 3.0  # rounds that one of them has not are left out


def test_memory_counts_every_storage_of_a_layer_once() -> None:
    layer = layers.spiking_linear(torch.randn(64, 128), layers.WEIGHTS[0])
    held = models.held_by([layer])
    assert 64 * 128 // 2 + 4 * 64 <= held <= 4 * 64 * 128
    assert models.held_by([layer, layer]) == held
    layer.neurons.kept = [torch.ones(1000), torch.ones(1000)[:10]]
    assert models.held_by([layer]) == held + 8000


def test_a_goal_that_is_missed_is_said() -> None:
    def row(key: str, value: float, **more: Any) -> dict[str, Any]:
        return {"part": "generate", "key": key, "ratio": value, **more}

    rows = [row("generate_decode_smollm2_vs_float", 1.8), row("memory_loaded_w4_vs_float", 0.1)]
    rows += [row("linear_w4_g64_m1_576x1536_vs_fp32", 0.9), row("linear_w4_g64_unrolled_m1_576x1536_vs_fp32", 0.1)]
    rows += [{**row("linear_w4_channel_m1_576x1536_torch_vs_fp32", 0.1), "part": "level"}]
    found = {goal.goal.partition(" at ")[0]: goal.passed for goal in speed.goals(rows)}
    assert found == {
        "`generate_decode_smollm2_vs_float`": False,
        "`memory_loaded_w4_vs_float`": True,
        "no layer slower than fp32: the smallest ratio": False,
    }


@pytest.mark.skipif(not RESULT.is_file(), reason="not measured yet")
def test_the_page_has_the_tables_of_the_committed_result() -> None:
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    text = pages.PAGE.read_text(encoding="utf-8")
    assert text.partition(pages.BEGIN)[2].partition(pages.END)[0].splitlines() == ["", *pages.excerpt(rows)]
