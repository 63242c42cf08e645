"""Benchmarks run from their command lines, on settings so small that only the way is tested, not the figures."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import calibration
import fitted_smollm2
import msts_embedded
import msts_smollm2
import on_gpu
import overhead
import pytest
import quantizers
import quantizers_embedded
import smollm2
import tables
import torch
from drawings import drawing
from harness import RESULTS, ROOT, recipe_file
from helpers.messages import naming

#: The results of benchmarks; `tb/` tests the pages of hardware that are made from JSON.
HARDWARE = {RESULTS / f"{name}.json" for name in ("equal_accuracy", "rtl_bench", "rtl_map")}
COMMITTED = sorted(set(RESULTS.glob("*.json")) - HARDWARE)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--threads", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def ratio(estimate: float, low: float, high: float) -> dict[str, float]:
    return {"estimate": estimate, "low": low, "high": high}


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    """A tiny run's result and arguments."""
    folder = tmp_path_factory.mktemp("embedded")
    arguments = [
        "--recipes",
        "RTN",
        "--fixed",
        "2/3",
        "--budgets",
        "2/3",
        "--questions",
        "4",
        "--samples",
        "8",
        "--json",
    ]
    arguments += ["--out", str(folder / "result.json"), "--scratch", str(folder)]
    done = run("msts_embedded.py", *arguments)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    assert json.loads(done.stdout) == json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return json.loads(done.stdout), arguments


def test_a_gpu_is_tried_as_the_cpu_is(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    arguments = ["on_gpu.py", "--device", "cpu", "--quick", "--out", str(tmp_path / "result.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    assert on_gpu.main() == 0
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["equal"] is True
    assert result["layers"]["cases"] >= 72
    assert result["model"]["layers"] == 68
    assert result["model"]["logits_with_and_without_observers"] == "equal"
    assert "68 of 68 layers equal" in capsys.readouterr().out


def test_a_bit_that_differs_is_named() -> None:
    one, other = (on_gpu.neurons(on_gpu.SPECS["T = 4"], 5, 8, 1) for _ in range(2))
    x, modality = on_gpu.rows(3, 8, torch.float32)
    first, second = (on_gpu.results(layer, x, modality, torch.zeros(5)) for layer in (one, other))
    assert on_gpu.differing(first, second) == []
    second["accumulators"][2, 4] += 1
    assert on_gpu.differing(first, second) == ["accumulators"]


def test_without_a_gpu_there_is_a_sentence(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["on_gpu.py"])
    assert on_gpu.main() == 2
    assert re.search(naming("CUDA", "--device cpu"), capsys.readouterr().err)


def test_strategies_run_at_exactly_the_mean_of_fixed(embedded: tuple[dict[str, Any], list[str]]) -> None:
    rows = {row["spikes"]: row for row in embedded[0]["rows"] if row.get("budget") == "2/3"}
    assert set(rows) == {"fixed", *msts_embedded.STRATEGIES}
    mean = rows["fixed"]["mean_timesteps"]
    assert rows["fixed"]["timesteps"] == {"vision": 2, "text": 3}
    assert 2 < mean < 3
    for name, row in rows.items():
        assert row["mean_timesteps"] <= mean * (1 + 1e-9), name
        assert row["mean_timesteps"] > mean - 0.1, name
        assert row["sops_per_token"] > 0


def test_every_row_has_intervals_and_its_baselines(embedded: tuple[dict[str, Any], list[str]]) -> None:
    for row in embedded[0]["rows"]:
        assert row["accuracy"]["low"] <= row["accuracy"]["estimate"] <= row["accuracy"]["high"]
        differences = {key for key in row if key in ("minus_fixed", "minus_uniform")}
        expected = {"minus_fixed", "minus_uniform"} - {f"minus_{row['spikes']}"} if "budget" in row else set()
        assert differences == expected
    goals = {goal["goal"].partition(":")[0] for goal in embedded[0]["goals"]}
    assert goals == {"RTN, budget 2/3"}
    assert "| RTN | med | 2/3 |" in tables.markdown(embedded[0])


def test_a_second_run_finds_every_cell(embedded: tuple[dict[str, Any], list[str]]) -> None:
    done = run("msts_embedded.py", *embedded[1])
    assert json.loads(done.stdout)["rows"] == embedded[0]["rows"]
    assert "Calibrating" not in done.stderr


@pytest.mark.slow
def test_a_spiking_run_is_timed_in_a_process_of_its_own(tmp_path: Path) -> None:
    arguments = overhead.arguments().parse_args(["--samples", "8", "--threads", "1", "--scratch", str(tmp_path)])
    found = {kind: overhead.spawn(arguments, "embedded", kind) for kind in ("plain", "spikes")}
    for run in found.values():
        assert 0 < run["cpu_seconds"] < 600
        assert 0 < run["seconds"] < 600
        assert 100 < run["peak_mib"] < 8000


def test_peak_memory_is_this_processs() -> None:
    # in a process of its own: what other tests of this one once held would hide the block
    program = """
import overhead
before = overhead.peak_memory()
block = bytearray(200 << 20)
block[::4096] = b"x" * len(block[::4096])
print(overhead.peak_memory() - before)
"""
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True)
    assert 190 < float(done.stdout) < 260


@pytest.mark.slow
def test_calibration_is_timed_by_allocation_and_finished_runs_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["calibration.py", "--parts", "time", "--models", "embedded", "--samples", "8", "--repeats", "1"]
    arguments += [
        "--allocations",
        "sensitivity",
        "--threads",
        "1",
        "--scratch",
        str(tmp_path),
        "--out",
        str(tmp_path / "calibration.json"),
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    assert calibration.main() in (0, 1)
    result = json.loads((tmp_path / "calibration.json").read_text(encoding="utf-8"))
    (row,) = result["rows"]
    assert all(0 < row["cpu_seconds"][kind] < 600 for kind in ("fixed", "sensitivity"))
    over = row["cpu_seconds"]["sensitivity"] / row["cpu_seconds"]["fixed"]
    assert result["ratios"]["oneshot_overhead"] == result["ratios"]["oneshot_sensitivity_embedded"] == over
    assert f"{over:.3f}" in tables.markdown(result)
    capsys.readouterr()
    assert calibration.main() in (0, 1)
    assert "run 1 of 1" not in capsys.readouterr().err
    assert json.loads((tmp_path / "calibration.json").read_text(encoding="utf-8"))["rows"] == result["rows"]


def test_smollm2_timed_alone_is_a_result_of_its_own_that_says_how_it_was_made() -> None:
    said = ["--parts", "time", "--models", "smollm2", "--allocations", "sensitivity", "--repeats", "1"]
    alone = calibration.arguments().parse_args(said)
    assert calibration.name(alone) == "calibration_smollm2"
    assert calibration.command(alone) == " ".join(["python", "benchmarks/calibration.py", *said])
    everything = calibration.arguments().parse_args(["--models", "embedded", "smollm2"])
    assert (calibration.name(everything), calibration.command(everything)) == ("calibration", None)


def test_memory_of_calibration_is_judged_against_llm_compressor_alone() -> None:
    peaks = {"alone": 2000.0, "fixed": 2100.0, "sensitivity": 2500.0}
    found: dict[str, Any] = {kind: {"oneshot": value, "save": 2000.0} for kind, value in peaks.items()}
    found["open"] = {"load": 900.0, "resident": 700.0, "began": 500.0}
    row = {"part": "memory", "parameters": 1e9, "peak_mib": found}
    passed = {goal.goal.split("`")[1]: goal.passed for goal in calibration.goals([row])}
    assert passed == {
        "memory_oneshot_fixed": True,
        "memory_save_fixed": True,
        "memory_oneshot_sensitivity": False,
        "memory_save_sensitivity": True,
    }
    assert "| with `sensitivity` | 2,500 | 1.250 | 2,000 | 1.000 |" in tables._calibration([row])


def test_overhead_compares_medians() -> None:
    row = {
        "model": "embedded",
        "seconds": {"plain": 10.0, "spikes": 10.9, "ratio": 1.09},
        "peak_mib": {"plain": 500.0, "spikes": 600.0, "ratio": 1.2},
    }
    assert [goal.passed for goal in overhead.goals([row])] == [True, False]


@pytest.mark.parametrize(
    ("weights", "over", "passed"),
    [
        ("SpinQuant R1R2 + GPTQ", ratio(0.8, 0.7, 0.9), True),
        ("SpinQuant R1R2 + GPTQ", ratio(0.97, 0.95, 0.99), False),  # lower, but not by a clear margin
        ("SpinQuant R1R2 + GPTQ", ratio(0.9, 0.8, 1.02), False),  # not certain
        ("QuIP + GPTQ", ratio(1.001, 0.99, 1.01), True),
        ("QuIP + GPTQ", ratio(1.01, 1.002, 1.02), False),
    ],
)
def test_the_goals_of_smollm2(weights: str, over: dict[str, float], passed: bool) -> None:
    row = {"weights": weights, "spikes": "sensitivity (gradient)", "mean_timesteps": 4.0, "over_uniform": over}
    (goal,) = msts_smollm2.goals([row])
    assert goal.passed is passed


@pytest.mark.parametrize(("difference", "passed"), [((-0.01, -0.02, 0.001), True), ((-0.01, -0.02, -0.001), False)])
def test_the_goals_of_the_embedded_model(difference: tuple[float, float, float], passed: bool) -> None:
    row = {"weights": "RTN", "spikes": msts_embedded.BEST, "budget": "2/2", "minus_uniform": ratio(*difference)}
    (goal,) = msts_embedded.goals([row])
    assert goal.passed is passed


def test_a_missed_goal_is_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from harness import Goal, finish

    args = argparse.Namespace(out=tmp_path / "new" / "x.json", json=True, threads=1)
    assert finish("x", args, {}, [], [Goal("a", "1", True)]) == 0
    assert finish("x", args, {}, [], [Goal("a", "1", True), Goal("b", "2", False)]) == 1
    assert json.loads(args.out.read_text(encoding="utf-8"))["goals"][1]["passed"] is False


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_tables_are_those_of_the_committed_results(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["benchmark"] == path.stem
    assert path.with_suffix(".md").read_text(encoding="utf-8") == tables.markdown(result)
    assert result["machine"]["cpu"]
    assert path.stat().st_size < 200_000


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_pictures_are_those_of_the_committed_results(path: Path) -> None:
    picture = drawing(json.loads(path.read_text(encoding="utf-8")))
    assert path.with_suffix(".svg").is_file() is (picture is not None)
    if picture is not None:
        committed = path.with_suffix(".svg").read_text(encoding="utf-8")
        # words and marks; where they stand depends on matplotlib's version and the fonts at hand
        drawn, kept = (re.findall(r">([^<>]+)</text>|<(use) ", text) for text in (picture, committed))
        assert drawn == kept
        assert len(drawn) > 50


def test_generated_pages_are_not_kept() -> None:
    kept = {path.name for folder in RESULTS.iterdir() if folder.is_dir() for path in folder.iterdir()}
    assert kept == {"report.md", "cells.csv"} == set(quantizers.KEPT)


def test_no_work_serves_calibration_and_evaluation() -> None:
    assert not set(smollm2.CALIBRATION_WORKS) & set(smollm2.EVALUATION_WORKS)


@pytest.mark.skipif(not smollm2.available(), reason="SmolLM2 is not installed; `make bench-setup` does it")
@pytest.mark.slow
def test_smollm2_is_an_ordinary_model_directory(tmp_path: Path) -> None:
    from spike_compressor.evaluations import perplexity

    model, tokenizer = smollm2.load_model(tmp_path), smollm2.load_tokenizer(tmp_path)
    assert not hasattr(model.config, "quantization_config")
    assert model.dtype == torch.float32
    text = smollm2.work("britannica-11th")[:2000]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert perplexity(model, torch.tensor(ids), context=256).perplexity < 60
    assert [path.name for path in tmp_path.iterdir()] == ["smollm2-135m"]


def quantizer_row(
    kind: str, recipe: str = "", budget: str = "", value: float = 0.0, sops: float = 1.0
) -> dict[str, Any]:
    row = {"kind": kind, "recipe": recipe, "budget": budget, "seed": 0}
    row["figures"] = {"score": {"value": value, "low": value, "high": value}}
    if kind == "spiking":
        row["spikes"] = {"tokens": {"text": 2}, "sops_per_token": {"text": sops}}
    return row


def test_quantizers_are_judged_by_the_best_recipe() -> None:
    def result(*rows: dict[str, Any]) -> dict[str, Any]:
        return {"evaluations": [{"label": "score", "higher_is_better": True}], "rows": list(rows), "seeds": [0]}

    real = quantizer_row("float", value=98.0)
    close = quantizer_row("spiking", "good", "3/4", 97.3)
    far = quantizer_row("spiking", "bad", "3/4", 60.0)
    (goal,) = quantizers_embedded.goals(result(real, close, far))
    assert goal.passed
    assert goal.found.startswith("good: 97.30 against 98.00, -0.70")
    (goal,) = quantizers_embedded.goals(result(real, far))
    assert not goal.passed
    assert quantizers_embedded.goals(result(real)) == []
    real = quantizer_row("float", value=40.0)
    four = [quantizer_row("spiking", name, "mean:4:sensitivity", value) for name, value in (("a", 50.0), ("b", 44.0))]
    (goal,) = fitted_smollm2.goals(result(real, *four))
    assert (goal.passed, goal.found) == (True, "b: 1.100")
    (goal,) = fitted_smollm2.goals(result(real, quantizer_row("spiking", "a", "mean:3:sensitivity", 51.0)))
    assert (goal.passed, goal.found) == (False, "a: 1.275")


def test_budgets_of_the_goals_are_in_the_sweeps() -> None:
    from spike_compressor.comparison import SpikeBudget

    made = fitted_smollm2.parser().parse_args([])
    assert set(fitted_smollm2.LIMITS) <= {SpikeBudget.parse(text).label for text in made.budgets}
    assert [recipe_file(recipe).parent.name for recipe in made.recipes] == ["recipes"]
    with pytest.raises(SystemExit, match=naming("'none'", "recipes/")):
        recipe_file("none")
    assert "3/4" in {SpikeBudget.parse(text).label for text in quantizers_embedded.SWEEP}


@pytest.mark.slow
def test_a_sweep_of_quantizers_writes_what_it_found(tmp_path: Path) -> None:
    """By its defaults of folders: the report is copied beside the result, not onto itself."""
    same = ["--recipes", "rtn_w4_channel", "--budgets", "3/4", "--seeds", "0", "1"]
    sizes = ["--questions", "1", "--answers", "1", "--samples", "8"]
    out = tmp_path / "quantizers_embedded.json"
    done = run("quantizers_embedded.py", *same, *sizes, "--scratch", str(tmp_path), "--out", str(out), "--json")
    assert done.returncode in (0, 1), done.stderr[-2000:]
    result = json.loads(out.read_text(encoding="utf-8"))
    kinds = ["weights", "spiking", "integer"]
    found = [(row["kind"], row["seed"]) for row in result["rows"]]
    assert found == [("float", 0), *((kind, seed) for seed in (0, 1) for kind in kinds)]
    said = shlex.join(["python", "benchmarks/quantizers_embedded.py", *same, "--seeds-at", "3/4", *sizes])
    assert result["command"] == said
    assert {path.name for path in (tmp_path / "quantizers_embedded").iterdir()} == set(quantizers.KEPT)
    assert "rtn_w4_channel" in out.with_suffix(".svg").read_text(encoding="utf-8")
    assert "rtn_w4_channel" in tables.markdown(result)


def test_the_table_of_quantizers_marks_the_front() -> None:
    rows = [
        quantizer_row("float", value=98.0),
        *(quantizer_row("weights", name, value=97.0) for name in ("a", "b")),
        quantizer_row("spiking", "a", "3/4", 96.0, sops=10),
        quantizer_row("spiking", "b", "3/4", 95.0, sops=20),
    ]
    rows += [{**quantizer_row("weights", "a", value=97.0), "seed": 1}]
    rows += [{**quantizer_row("spiking", "a", "3/4", 99.0, sops=1), "seed": 1}]
    judged = [{"label": "score", "higher_is_better": True}]
    kept = quantizers.compact({"evaluations": judged, "rows": rows, "seeds": [0, 1]})
    assert [row.get("pareto") for row in kept] == [None, None, None, True, False, None, False]
    text = "\n".join(tables._quantizers(kept))
    assert "| a | 0 | 97.00 (97.00 .. 97.00) | **96.00 (96.00 .. 96.00)** |" in text
    assert "| b | 0 | 97.00 (97.00 .. 97.00) | 95.00 (95.00 .. 95.00) |" in text
    assert "| b | 0 | 20 |" in text


def test_an_order_is_stable_when_all_pairs_keep_theirs() -> None:
    def result(*figures: tuple[str, int, float]) -> dict[str, Any]:
        rows = [{**quantizer_row("spiking", name, "3/4", value), "seed": seed} for name, seed, value in figures]
        judged = [{"label": "score", "higher_is_better": True}]
        return {"evaluations": judged, "rows": rows, "seeds": sorted({seed for _, seed, _ in figures})}

    same = [("a", 0, 96.0), ("b", 0, 95.0), ("a", 1, 97.0), ("b", 1, 97.0), ("c", 0, 90.0), ("c", 1, 91.0)]
    assert quantizers.order_over_seeds(result(*same), ["3/4", "4/5"]) == ["3/4: stable"]
    turned = [*same[:4], ("c", 0, 95.5), ("c", 1, 91.0)]
    assert quantizers.order_over_seeds(result(*turned), ["3/4"]) == ["3/4: not stable, 2 of 3 pairs keep theirs"]
    assert quantizers.order_over_seeds(result(*same[:2]), ["3/4"]) == []


def test_fixed_is_the_pair_of_the_mean_or_the_next_larger_one() -> None:
    def row(spikes: str, budget: str, mean: float, weights: str = "RTN") -> dict[str, Any]:
        return {"weights": weights, "spikes": spikes, "budget": budget, "mean_timesteps": mean}

    pairs = [row("fixed", "3/4", 3.2), row("fixed", "2/2", 2.0), row("fixed", "3/2", 2.8)]
    rows = [
        {"weights": "float", "spikes": "none"},
        *pairs,
        row("fixed", "3/2", 2.8, "GPTQ"),
        row("uniform", "2.5", 2.48),
    ]
    best = row("sensitivity (gradient)", "2.5", 2.5)
    assert msts_embedded.baseline_of(best, rows, "fixed") == 3
    assert msts_embedded.baseline_of(best, rows, "uniform") == 5
    assert msts_embedded.baseline_of({**best, "budget": "2/2", "mean_timesteps": 2.0}, rows, "fixed") == 2
    assert msts_embedded.baseline_of({**best, "mean_timesteps": 3.5}, rows, "fixed") is None
    assert msts_embedded.baseline_of(rows[0], rows, "fixed") is None
    assert msts_embedded.baseline_of(rows[1], rows, "fixed") is None
    compared = {**best, "minus_fixed": ratio(0.01, 0.0, 0.02), "fixed_rival": "3/2"}
    (goal,) = msts_embedded.goals([compared])
    assert goal.goal.startswith("RTN, budget 2.5: sensitivity (gradient) loses no more than fixed 3/2 (")
