"""Every script in `examples/` runs and prints what it is there to show."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
RTN = ROOT / "recipes" / "rtn_w4_tclif_34.yaml"
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script as a user does, in an empty directory; gives what it prints."""
    from loguru import logger

    logger.remove()
    monkeypatch.chdir(tmp_path)

    def call(script: str, *arguments: object) -> str:
        monkeypatch.setattr("sys.argv", [script, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return capsys.readouterr().out

    return call


@pytest.fixture
def no_new_codings() -> Iterator[None]:
    """What an example registers is forgotten."""
    from spike_compressor.coding.base import CODINGS

    with CODINGS.temporarily():
        yield


def test_every_script_is_listed_and_tested() -> None:
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert len(scripts) >= 5
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    here = Path(__file__).read_text(encoding="utf-8")
    for name in scripts:
        assert f"]({name})" in listed
        assert f'run("{name}"' in here


def test_your_own_vlm_is_quantized_and_its_plan_is_read_and_changed(run: Run, tmp_path: Path) -> None:
    from spike_compressor.demo.model import MODEL_DIR

    rows = []
    for number in range(4):
        Image.new("RGB", (64, 64), (60 * number, 20, 200)).save(tmp_path / f"{number}.png")
        rows.append(json.dumps({"text": "<image> is there a 7 ? yes", "image": f"{number}.png"}))
    (tmp_path / "calibration.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = ["--data", "calibration.jsonl", "--recipe", RTN]
    printed = run("quantize_your_vlm.py", "--model", MODEL_DIR, *data, "--out", "spiking")
    assert "vision   T = 3.00" in printed
    assert "text     T = 4.00" in printed

    printed = run("read_a_plan.py", "spiking", "--raise", "re:.*down_proj", "--by", 2, "--out", "plan.yaml")
    assert "68 layers: {'text': 4, 'vision': 3}" in printed
    assert "6 layers changed in plan.yaml" in printed
    plan = yaml.safe_load(Path("plan.yaml").read_text(encoding="utf-8"))
    changed = {name: T for name, T in plan.items() if T != {"text": 4, "vision": 3}}
    assert set(changed) == {f"model.language_model.layers.{n}.mlp.down_proj" for n in range(6)}
    assert all(T == {"text": 6, "vision": 5} for T in changed.values())


def test_the_recipe_in_the_first_script_is_the_best_shipped_one(run: Run) -> None:
    """Without arguments, the embedded model, its own data and the script's own recipe."""
    shipped = yaml.safe_load((ROOT / "recipes" / "gptq_w4_tclif_rebuilt.yaml").read_text(encoding="utf-8"))
    own = runpy.run_path(str(EXAMPLES / "quantize_your_vlm.py"))["RECIPE"]
    steps = [modifiers for group in yaml.safe_load(own)["spike_stage"].values() for modifiers in group]
    assert steps == [modifiers for group in shipped["spike_stage"].values() for modifiers in group]
    assert "spikes do 9" in run("quantize_your_vlm.py", "--samples", 8)


def test_two_recipes_are_compared(run: Run) -> None:
    recipes = [ROOT / "recipes" / "compare" / name for name in ("rtn_w4_g64.yaml", "rtn_w8_channel.yaml")]
    printed = run("compare_two_recipes.py", "--recipes", *recipes, "--budget", "2/3", "--questions", 1)
    lines = [line.split() for line in printed.splitlines() if line.startswith(("float", "weights", "spiking"))]
    assert [line[:2] for line in lines if line[0] == "spiking"] == [["spiking", p.stem] for p in recipes]
    assert sum("synaptic operations per token" in line for line in printed.splitlines()) == 2


def test_a_trace_is_written_and_replayed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = run("trace_and_replay.py", "--layers", "re:.*layers.0.mlp.*", "--rows", 4, "--no-rtl")
    layers = [line for line in printed.splitlines() if line.endswith("spikes: equal")]
    assert len(layers) == 5  # three of the decoder, two of the vision tower
    assert Path("trace", "manifest.json").is_file()


def test_a_trace_that_is_wrong_is_not_replayed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other weights than those that were traced, and the script says where."""
    from spike_compressor import trace

    real = trace.open_bundle

    def flipped(path: Path) -> Iterator[trace.Layer]:
        for layer in real(path):
            layer._arrays["weight"] = layer.weight ^ 1
            yield layer

    monkeypatch.setattr(trace, "open_bundle", flipped)
    with pytest.raises(SystemExit, match=r"layers\.0\.mlp\.down_proj.*accumulators"):
        run("trace_and_replay.py", "--layers", "re:.*language_model.*layers.0.mlp.down_proj", "--rows", 4, "--no-rtl")


def test_the_embedded_model_is_fine_tuned_with_spikes(run: Run) -> None:
    """Two steps change integers and are saved; what minutes of training bring stands in docs/training.md."""
    from spike_compressor import load
    from spike_compressor.runtime import spiking_layers

    codes = []
    for steps in (1, 3):
        small = ["--batch", 2, "--questions", 1, "--learning-rate", 2e-2, "--out", f"after{steps}"]
        printed = run("finetune_with_spikes.py", "--steps", steps, *small)
        assert len(re.findall(r"spiking, (?:not )?trained: +\d+\.\d+ % \(", printed)) == 2
        codes.append([layer.integer.codes for layer in spiking_layers(load(f"after{steps}")).values()])
    changed = [not torch.equal(*pair) for pair in zip(*codes, strict=True)]
    assert len(changed) == 68
    assert sum(changed) > 34


@pytest.mark.usefixtures("no_new_codings")
def test_a_coding_is_added(run: Run) -> None:
    printed = run("add_a_coding.py")
    assert "code -6 at T = 3: [0, -1, -1]" in printed
    assert "same logits, to the bit: True" in printed
    assert "same firing rate: True" in printed
