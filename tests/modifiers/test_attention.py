"""The `attention` field of TCLIFModifier: what it targets, what it refuses, and its way through a checkpoint."""

from __future__ import annotations

import json
from typing import Any

import pytest
import spike_compressor
import torch
import yaml
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.checkpoint import read_config
from spike_compressor.checkpoint.schema import sealed
from spike_compressor.cli.program import run
from spike_compressor.errors import InputError
from spike_compressor.modifiers import TCLIFModifier
from spike_compressor.runtime import spiking_attention
from transformers import AutoModelForImageTextToText

DECODER = [f"model.language_model.layers.{n}.self_attn" for n in range(2)]
TOWER = [f"model.vision_tower.encoder.layers.{n}.self_attn" for n in range(2)]
ON = recipe(RTN, "attention: {timesteps: {vision: 4, text: 5}, threshold_ratio: 0.9}")


@pytest.mark.parametrize(
    ("attention", "expected"),
    [
        ("{timesteps: 5}", DECODER),
        ('{timesteps: 5, targets: "re:.*self_attn$"}', TOWER + DECODER),
        ('{timesteps: 5, targets: [CLIPAttention], ignore: "re:.*layers.0.*"}', TOWER[1:]),
        ('{timesteps: 5, ignore: ["re:.*layers.1.*"]}', DECODER[:1]),
    ],
)
def test_targets(attention: str, expected: list[str], workshop: Workshop) -> None:
    model = workshop.oneshot("llava", recipe(RTN, f"attention: {attention}"), dataset=None)
    assert sorted(spiking_attention(model)) == sorted(expected)


@pytest.mark.parametrize("kind", ["llama", "qwen2_vl"])
def test_decoders_of_other_architectures_are_found(kind: str, workshop: Workshop) -> None:
    model = workshop.oneshot(kind, recipe(RTN, "attention: {timesteps: 5}"), dataset=None)
    assert [name.rpartition("layers.")[2] for name in spiking_attention(model)] == ["0.self_attn", "1.self_attn"]
    assert not any("visual" in name for name in spiking_attention(model))


@pytest.mark.parametrize(
    ("attention", "names"),
    [
        ({}, ("attention.timesteps",)),
        ({"timesteps": 0}, ("attention.timesteps", 1, 7, 0)),
        ({"timesteps": {"vision": 4, "txet": 4}}, ("attention.timesteps", "txet", "text")),
        ({"timesteps": 4, "steps": 4}, ("attention.steps",)),
        (
            {"timesteps": 4, "coding": "binary_unsigned"},
            ("attention.coding", "binary_unsigned", "tc_lif", "csd"),
        ),
        ({"timesteps": 4, "threshold_ratio": 2.5}, ("attention.threshold_ratio", "(0, 2]", 2.5)),
        ({"timesteps": 4, "threshold_statistic": "rms"}, ("attention.threshold_statistic", "threshold_ratio")),
        ({"timesteps": 4, "kv_cache": "int8"}, ("attention.kv_cache",)),
    ],
)
def test_bad_settings_are_refused_by_name(attention: dict[str, Any], names: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match=naming("TCLIFModifier", *names)):
        TCLIFModifier(attention=attention)


@pytest.mark.parametrize(
    ("attention", "names"),
    [
        ("{timesteps: 5, targets: [nowhere]}", ("targets", "nowhere")),
        ("{timesteps: {vision: 4}}", ("attention.timesteps", "text")),
        ("{timesteps: 5, targets: [LlamaMLP]}", ("targets", "layers.0.mlp", "LlamaMLP")),
    ],
)
def test_targets_without_products_are_refused_before_anything_runs(
    attention: str, names: tuple[object, ...], workshop: Workshop
) -> None:
    model = workshop.model("llava")
    with pytest.raises(InputError, match=naming("TCLIFModifier.attention", *names)):
        workshop.oneshot("llava", recipe(RTN, f"attention: {attention}"), model)
    assert not hasattr(model, "_spiking_state")


def test_attention_that_the_recipe_quantizes_already_is_refused(workshop: Workshop) -> None:
    quantized = RTN.replace(
        "config_groups: {w4",
        "kv_cache_scheme: {num_bits: 8, type: int, symmetric: true, strategy: tensor, "
        "dynamic: false}, config_groups: {w4",
    )
    with pytest.raises(
        InputError, match=naming("TCLIFModifier.attention.targets", "layers.0.self_attn", "KV cache", "scheme")
    ):
        workshop.oneshot("llama", recipe(quantized, "attention: {timesteps: 5}"))


def test_the_round_trip(workshop: Workshop) -> None:
    model, path = workshop.made("llava", ON)
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    config = read_config(path)
    assert config.attention is not None
    assert list(config.attention) == DECODER
    entry = config.attention[DECODER[0]]
    assert entry.model_dump() == {
        "timesteps": {"text": 5, "vision": 4},
        "coding": "tc_lif",
        "threshold_ratio": 0.9,
        "kv_cache": True,
    }
    for backend in ("fused", "unrolled"):
        loaded = spike_compressor.load(path, backend)
        assert list(spiking_attention(loaded)) == DECODER
        assert torch.equal(tiny_models.logits(loaded, batch), expected)
    again = spike_compressor.save(loaded, path.with_name("again"))
    assert read_config(again).attention == config.attention
    stage = yaml.safe_load((path / "recipe.yaml").read_text(encoding="utf-8"))["spike_stage"]
    assert stage["spike_modifiers"]["TCLIFModifier"]["attention"]["timesteps"] == {"text": 5, "vision": 4}
    repeated = workshop.oneshot("llava", str(path / "recipe.yaml"))
    assert torch.equal(tiny_models.logits(repeated, batch), expected)


def test_plain_transformers_computes_attention_as_ever(workshop: Workshop) -> None:
    _, off = workshop.made("llava", recipe(RTN))
    _, on = workshop.made("llava", ON)
    batch = workshop.batch("llava")
    plain = [tiny_models.logits(AutoModelForImageTextToText.from_pretrained(path), batch) for path in (off, on)]
    assert torch.equal(*plain)
    assert (off / "config.json").read_bytes() == (on / "config.json").read_bytes()


def test_a_damaged_section_is_named(workshop: Workshop, tmp_path: Any) -> None:
    import shutil

    _, path = workshop.made("llava", ON)
    for change, names in (
        ({"timesteps": {"text": 9, "vision": 4}}, ("timesteps", "text", 1, 7, 9)),
        ({"coding": "binary_unsigned"}, ("'binary_unsigned'", "tc_lif")),
        ({"surplus": 1}, (f"attention.{DECODER[0]}.surplus",)),
    ):
        copied = tmp_path / "copy"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(path, copied)
        content = json.loads((copied / "spike_config.json").read_text(encoding="utf-8"))
        content["attention"][DECODER[0]].update(change)
        (copied / "spike_config.json").write_text(json.dumps(sealed(content)), encoding="utf-8")
        with pytest.raises(InputError, match=naming(copied / "spike_config.json", DECODER[0], *names)):
            spike_compressor.load(copied)


def test_inspect_shows_it(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(workshop.made("llava", recipe(RTN))[1])]) == 0
    assert "attention products" not in capsys.readouterr().out
    assert run(["inspect", str(workshop.made("llava", ON)[1]), "--layers"]) == 0
    shown = capsys.readouterr().out
    line = "2 modules (self_attn): text T=5, vision T=4, ratio 0.9, tc_lif; the KV cache holds integer codes"
    assert f"attention products spike in {line}" in shown
    assert f"\n  {DECODER[1]}\n" in shown
