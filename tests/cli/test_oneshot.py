"""`oneshot`: models and data in, checkpoints out; everything else is one line and nothing written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import spike_compressor
import torch
from transformers import AutoProcessor

ROOT = Path(__file__).parents[2]
RTN = ROOT / "recipes" / "rtn_w4_tclif_34.yaml"
GPTQ = ROOT / "recipes" / "gptq_w4_tclif_34.yaml"


@pytest.fixture
def refused(cli, tmp_path, model_dir):
    """Call `oneshot` with something wrong: the error line; nothing may have been written."""
    out = tmp_path / "written" / "here"

    def call(recipe=RTN, data=None, model=None, **more):
        argv = ["oneshot", "--model", model or model_dir, "--recipe", recipe, "--out", out]
        argv += [] if data is None else ["--data", data]
        for name, value in more.items():
            argv += [f"--{name}", value]
        line = cli(*argv).line
        assert line.startswith("spike-compressor oneshot: ")
        assert not out.parent.exists()
        return line

    return call


def test_calibrated_on_pictures(cli, model_dir, samples, tmp_path):
    out = tmp_path / "spiking"
    done = cli("oneshot", "--model", model_dir, "--recipe", GPTQ, "--data", samples, "--out", out, "--json")
    answer = done.json
    assert answer["checkpoint"] == str(out)
    assert answer["config"]["calibration"]["samples"] == 4
    assert answer["config"]["calibration"]["tokens"]["vision"] == 4 * 16
    assert "WARNING" not in done.err
    model, processor = spike_compressor.load(out), AutoProcessor.from_pretrained(out)
    ids = processor(text="is there a 7 ?", return_tensors="pt")
    assert torch.isfinite(model(**ids).logits).all()


def test_table_without_json(cli, model_dir, tmp_path):
    out = tmp_path / "spiking"
    done = cli("oneshot", "--model", model_dir, "--recipe", RTN, "--out", out)
    assert done.code == 0
    assert done.out.startswith(f"{out}: llava")
    again = cli("oneshot", "--model", model_dir, "--recipe", RTN, "--out", out)  # its own result may be replaced
    assert again.code == 0


def test_samples_are_a_limit(cli, model_dir, samples, tmp_path):
    argv = ["--recipe", GPTQ, "--data", samples, "--samples", 3, "--batch-size", 2, "--out", tmp_path / "out", "--json"]
    assert cli("oneshot", "--model", model_dir, *argv).json["config"]["calibration"]["samples"] == 3


def test_text_model_whose_tokenizer_cannot_pad(cli, text_model_dir, tmp_path):
    data = tmp_path / "text.jsonl"
    data.write_text('{"text": "is there a 7 ?"}\n{"text": "yes\u2028no yes"}\n', encoding="utf-8")
    argv = ["--recipe", GPTQ, "--data", data, "--out", tmp_path / "out", "--json"]
    config = cli("oneshot", "--model", text_model_dir, *argv).json["config"]
    assert set(config["calibration"]["tokens"]) == {"text"}
    assert config["calibration"]["tokens"]["text"] > 5
    assert config["architecture"] == "llama"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{text: no}", "JSON"),
        ("[1]", '"text"'),
        ('{"prompt": "x"}', '"text"'),
        ('{"text": "<image> x", "image": "gone.png"}', "gone.png"),
        ('{"text": "<image> x", "image": 7}', '"image"'),
        ('{"text": "<image> x", "image": [["0.png"]]}', '"image"'),
        ('{"text": "no placeholder", "image": "0.png"}', "1 pictures for 0 <image>"),
        ('{"text": "<image> <image> x", "image": "0.png"}', "1 pictures for 2 <image>"),
        ('{"text": "<image> x"}', "0 pictures for 1 <image>"),
        ('{"text": "<image> x", "image": "broken.png"}', "broken.png"),
    ],
)
def test_bad_lines_are_named(refused, samples, line, says):
    path = samples.with_name("bad.jsonl")
    samples.with_name("broken.png").write_bytes(b"no picture")
    path.write_text('{"text": "<image> x", "image": "0.png"}\n' + line + "\n", encoding="utf-8")
    shown = refused(recipe=GPTQ, data=path)
    assert says in shown
    assert "broken.png" in shown or f"{path}, line 2" in shown


def test_bad_data_files(refused, tmp_path):
    assert "none.jsonl: no such file" in refused(data=tmp_path / "none.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    assert str(empty) in refused(data=empty)
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    line = refused(data=binary)
    assert str(binary) in line
    assert "UTF-8" in line


def test_pictures_for_a_text_model(refused, text_model_dir, samples):
    assert f"{samples}, line 1:" in refused(recipe=GPTQ, data=samples, model=text_model_dir)


def test_text_alone_for_a_multimodal_model(refused, tmp_path):
    path = tmp_path / "text.jsonl"
    path.write_text('{"text": "is there a 7 ?"}\n')
    assert "allow_text_only" in refused(recipe=GPTQ, data=path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("coding: tc_lif", "codnig: tc_lif", "codnig"),
        ("coding: tc_lif", "coding: morse", "morse"),
        ("coding: tc_lif", "threshold_ratio: 3", "threshold_ratio is 3: must be in (0, 2], or `auto`"),
        ("allocation: fixed", "allocatoin: fixed", "allocatoin"),
        ("{vision: 3, text: 4}", "{vision: 3, text: 9}", "must be an integer from 1 to 8, got 9"),
        ("{vision: 3, text: 4}", "{vision: 3, txet: 4}", "txet"),
        ("MSTSModifier:", "MSTModifier:", "there is no modifier 'MSTModifier'"),
        ("num_bits: 4", "num_bitz: 4", "num_bitz"),
        ("    TCLIFModifier:", "    TCLIFModifier", ""),
        ("spike_stage:", "spike_stage", ""),
    ],
)
def test_bad_recipes_name_the_field(refused, tmp_path, old, new, says):
    recipe = tmp_path / "recipe.yaml"
    text = RTN.read_text().replace("      ignore: [lm_head]\n", "      ignore: [lm_head]\n      coding: tc_lif\n")
    text = text.replace("      coding: tc_lif\n", "", 1) if text.count("coding: tc_lif") > 1 else text
    assert old in text
    recipe.write_text(text.replace(old, new))
    assert says in refused(recipe=recipe)


def test_recipe_files(refused, tmp_path):
    assert "none.yaml" in refused(recipe=tmp_path / "none.yaml")
    plain = tmp_path / "plain.yaml"
    plain.write_text(RTN.read_text()[: RTN.read_text().index("  spike_modifiers")])
    assert "has no TCLIFModifier, so nothing would spike" in refused(recipe=plain)
    for number, text in enumerate(("", "[1, 2]", "a: {b: 3}", "42", "\x00")):
        odd = tmp_path / f"odd{number}.yaml"
        odd.write_text(text)
        assert refused(recipe=odd)


def test_models(refused, tmp_path, model_dir):
    assert "config.json" in refused(model=tmp_path / "none")
    broken = shutil.copytree(model_dir, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x10" * 64)
    assert str(broken) in refused(model=broken)
    assert "int4 is no floating-point dtype" in refused(dtype="int4")


def test_calibration_that_a_recipe_needs_is_asked_for_before_the_model_is_opened(refused, samples, tmp_path):
    recipe = tmp_path / "static.yaml"
    recipe.write_text(RTN.read_text() + "      threshold: static\n")
    unreadable = tmp_path / "unreadable"
    unreadable.mkdir()
    (unreadable / "config.json").write_text("{}")
    for needy, names in ((recipe, ("TCLIFModifier", "threshold: static")), (GPTQ, ("GPTQModifier",))):
        line = refused(recipe=needy, model=unreadable)
        assert all(name in line for name in (*names, "--data"))
    line = refused(recipe=GPTQ, data=samples, model=unreadable, pipeline="datafree")
    assert all(name in line for name in ("GPTQModifier", "--pipeline datafree"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("spike_modifiers:", "spike_modifier:", ("spike_stage.spike_modifier", "'spike_modifiers'")),
        ("spike_stage:", "spike_stages:", ("spike_stages", "'spike_stage'")),
        ("  quant_modifiers:", "  run_type: oneshot\n  quant_modifiers:", ("run_type", "remove")),
        ("num_bits: 4", "num_bitz: 4", ("config_groups.w4.weights.num_bitz", "'num_bits'")),
        ("ignore: [lm_head]", "ignore: [lm_head, vision_tower]", ("QuantizationModifier.ignore", "'vision_tower'")),
    ],
)
def test_what_a_recipe_would_lose_is_refused(refused, tmp_path, old, new, says):
    recipe = tmp_path / "recipe.yaml"
    assert old in RTN.read_text()
    recipe.write_text(RTN.read_text().replace(old, new))
    line = refused(recipe=recipe)
    assert all(name in line for name in says)


def test_what_must_not_be_written_over(cli, model_dir, tmp_path):
    def line(out):
        return cli("oneshot", "--model", model_dir, "--recipe", RTN, "--out", out).line

    file = tmp_path / "file"
    file.write_text("precious")
    assert str(file) in line(file)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("precious")
    assert str(folder) in line(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert f"--out {model_dir}" in line(model_dir)
    other = shutil.copytree(model_dir, tmp_path / "other")
    assert str(other) in line(other)
    assert json.loads((other / "config.json").read_text()) == json.loads((model_dir / "config.json").read_text())
