"""`inspect`: what it shows, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from copy import deepcopy as copy_of
from pathlib import Path

import pytest
from spike_compressor.checkpoint.schema import sealed
from spike_compressor.cli.inspect import show_checkpoint

RTN = Path(__file__).parents[2] / "recipes" / "rtn_w4_tclif_34.yaml"


@pytest.fixture
def copy(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "copy")


def test_shows_groups_and_facts(cli, checkpoint):
    shown = cli("inspect", checkpoint)
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0].endswith("llava, tc_lif")
    tower = next(line for line in lines if "fc1" in line)
    decoder = next(line for line in lines if "down_proj" in line)
    assert tower.split()[-4:] == ["-", "3", "dynamic", "1"]  # vision rows only
    assert decoder.split()[-4:] == ["4", "3", "dynamic", "1"]
    assert any("lm_head" in line for line in lines if line.startswith("not spiking"))


def test_fitted_ratios_are_shown_as_ranges_by_kind_and_modality(cli, checkpoint, capsys):
    result = cli("inspect", checkpoint, "--json").json
    plan = result["config"]["plan"]
    for name, entry in list(plan.items()):  # a model of three layers
        for layer in (1, 2):
            plan[name.replace("layers.0.", f"layers.{layer}.")] = copy_of(entry)
    for place, (name, entry) in enumerate(plan.items()):
        entry["threshold_ratio"] = {"text": 0.5 + place / 100, "vision": 0.2 + place / 100}
        if name.endswith("down_proj"):
            entry["timesteps"]["text"] = 5 + ("layers.2." in name)
    show_checkpoint(result)
    lines = capsys.readouterr().out.splitlines()
    places = [place for place, name in enumerate(plan) if name.endswith("down_proj")]
    ends = [f"{low + place / 100:g}" for low in (0.5, 0.2) for place in (min(places), max(places))]
    row = next(line for line in lines if line.startswith("3: down_proj"))
    assert row.split()[2:] == "5 … 6 3 dynamic {} … {} / {} … {}".format(*ends).split()
    tower = next(line for line in lines if line.startswith("3: fc1"))
    assert tower.split()[2] == "-"  # vision rows only
    assert tower.count("…") == 1
    show_checkpoint(result, layers=True)
    assert set(plan) <= {line.split()[0] for line in capsys.readouterr().out.splitlines() if line}


def test_layers_are_listed_by_their_whole_names(cli, checkpoint):
    content = json.loads((checkpoint / "spike_config.json").read_text())
    out = cli("inspect", checkpoint, "--layers").out
    first_words = {line.split()[0] for line in out.splitlines()}
    assert set(content["plan"]) <= first_words


def test_json_is_the_config(cli, checkpoint):
    answer = cli("inspect", checkpoint, "--json").json
    stored = json.loads((checkpoint / "spike_config.json").read_text())
    assert answer["checkpoint"] == str(checkpoint)
    assert answer["config"] == stored


def test_a_statistic_stands_beside_the_threshold(cli, copy):
    path = copy / "spike_config.json"
    content = json.loads(path.read_text())
    names = [name for name in content["plan"] if name.endswith("down_proj")]
    for name in names:
        content["plan"][name] |= {"threshold_statistic": "rms", "threshold_ratio": {"text": 0.3, "vision": 0.5}}
    path.write_text(json.dumps(sealed({**content, "schema_version": 4})))
    shown = cli("inspect", copy)
    assert shown.code == 0, shown.err
    (row,) = (line for line in shown.out.splitlines() if "down_proj" in line and "dynamic" in line)
    assert row.split()[-7:] == ["4", "3", "dynamic,", "rms", "0.3", "/", "0.5"]
    assert f"{len(names)}: down_proj" in row
    answer = cli("inspect", copy, "--json").json["config"]
    assert answer == json.loads(path.read_text())
    assert {entry.get("threshold_statistic") for entry in answer["plan"].values()} == {"rms", None}


def test_no_checkpoint(cli, tmp_path, model_dir):
    assert "spike_config.json" in cli("inspect", tmp_path / "missing").line
    assert "spike_config.json" in cli("inspect", model_dir).line  # a model, but not spike-ready
    file = tmp_path / "file"
    file.write_text("x")
    assert str(file) in cli("inspect", file, "--json").line


def test_a_flipped_bit_is_found(cli, copy):
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert "model.safetensors is not the file that was saved" in cli("inspect", copy).line


def test_a_missing_file_is_named(cli, copy):
    (copy / "model.safetensors").unlink()
    assert "model.safetensors is missing; copy the checkpoint again" in cli("inspect", copy).line


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda text: text[:-40], "JSON"),
        (lambda text: "[]", "version"),
        (lambda text: text.replace('"schema_version": 3', '"schema_version": 9'), "version 9"),
        (lambda text: text.replace('"coding": "tc_lif",', '"coding": "tc_lif", "colour": 1,', 1), "SHA-256"),
        (lambda text: text.replace('"text": 4', '"text": 5', 1), "SHA-256"),
    ],
)
def test_a_changed_config_is_refused(cli, copy, change, names):
    path = copy / "spike_config.json"
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    assert names in cli("inspect", copy).line


@pytest.fixture(scope="module")
def measured(model_dir, samples, tmp_path_factory):
    from spike_compressor.cli.program import run

    path = tmp_path_factory.mktemp("measured") / "spiking"
    argv = ["oneshot", "--model", model_dir, "--recipe", RTN, "--data", samples, "--out", path]
    assert run([str(arg) for arg in argv]) == 0
    return path


def test_what_fired_is_shown(cli, measured, checkpoint):
    assert "calibration samples" not in cli("inspect", checkpoint).out
    lines = cli("inspect", measured).out.splitlines()
    begin = next(n for n, line in enumerate(lines) if "4 calibration samples" in line)
    assert "64 vision tokens" in lines[begin]
    headings = ("layers", "fires text", "fires vision", "clips text", "clips vision", "dead")
    assert lines[begin + 1].split() == " ".join(headings).split()
    rows = [line for line in lines[begin + 2 :] if " of " in line and line.count("%") == 4]
    everything = json.loads((measured / "spike_config.json").read_text())["activity"]["totals"]
    assert rows[-1].startswith("all ")
    assert f"{100 * everything['firing_rate']['text']:.1f} %" in rows[-1]
    assert rows[-1].endswith(f"{everything['dead']:,} of {everything['inputs']:,}")
    tower = next(line for line in lines[begin:] if "fc1" in line)
    assert tower.split(" - ")[0].split(":")[0] == "8"  # no text row in the tower
    assert any(line.startswith(f"spikes do {everything['coverage']:.1%} of the") for line in lines)


def test_every_layer_on_a_line(cli, measured):
    plan = json.loads((measured / "spike_config.json").read_text())["plan"]
    words = [line.split()[0] for line in cli("inspect", measured, "--layers").out.splitlines() if line]
    assert all(words.count(name) == 2 for name in plan)  # what it is to do, and what it did


def test_many_reasons_are_counted(cli, measured, monkeypatch):
    from spike_compressor.cli import inspect

    monkeypatch.setattr(inspect, "_FEW", 0)
    lines = cli("inspect", measured).out.splitlines()
    assert any("not spiking" in line and "1 modules" in line and "lm_head" in line for line in lines)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_plot(cli, measured, tmp_path, suffix):
    file = tmp_path / f"plan{suffix}"
    shown = cli("inspect", measured, "--plot", file)
    assert str(file) in shown.out
    assert file.stat().st_size > 1000
    assert cli("inspect", measured, "--plot", file, "--json").json["plot"] == str(file)
    assert "plan.txt" in cli("inspect", measured, "--plot", tmp_path / "plan.txt").line


def test_inspecting_needs_neither_torch_nor_llm_compressor(measured, tmp_path):
    code = (
        "import sys; from spike_compressor.cli.program import run; code = run(sys.argv[1:]);"
        "sys.exit(code or [m for m in ('torch', 'transformers', 'llmcompressor') if m in sys.modules] or 0)"
    )
    argv = [sys.executable, "-c", code, "inspect", str(measured), "--plot", str(tmp_path / "plan.svg")]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
