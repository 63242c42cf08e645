"""`inspect`: what it shows, and what it refuses."""

from __future__ import annotations

import json
import shutil

import pytest


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
    assert "model.safetensors" in cli("inspect", copy).line


def test_a_missing_file_is_named(cli, copy):
    (copy / "model.safetensors").unlink()
    assert "model.safetensors is missing" in cli("inspect", copy).line


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda text: text[:-40], "JSON"),
        (lambda text: "[]", "schema version"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 9'), "schema version 9"),
        (lambda text: text.replace('"coding": "tc_lif",', '"coding": "tc_lif", "colour": 1,', 1), "colour"),
        (lambda text: text.replace('"text": 4', '"text": 5', 1), "SHA-256"),
    ],
)
def test_a_changed_config_is_refused(cli, copy, change, names):
    path = copy / "spike_config.json"
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    assert names in cli("inspect", copy).line
