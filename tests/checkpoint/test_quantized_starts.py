"""Models that are quantized already when a recipe starts: the same bits after saving and loading, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import RTN, W4, Processor, Workshop, recipe
from spike_compressor.cli.program import run
from spike_compressor.errors import InputError
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, CompressedTensorsConfig, PreTrainedTokenizerFast

DYNAMIC = "{num_bits: 8, type: int, symmetric: true, strategy: token, dynamic: true}"
STATIC = "{num_bits: 8, type: int, symmetric: true, strategy: tensor, dynamic: false}"
INT8 = "num_bits: 8, type: int, symmetric: true, strategy: channel"

#: weights, activations, dtype
STARTS: dict[str, tuple[str, str | None, torch.dtype]] = {
    "packed": ("num_bits: 4, type: int, symmetric: true, strategy: channel", None, torch.float32),
    "packed asymmetric groups": (
        "num_bits: 4, type: int, symmetric: false, strategy: group, group_size: 32",
        None,
        torch.float32,
    ),
    "packed 8 bits, bfloat16": (INT8, None, torch.bfloat16),
    "int8": (INT8, DYNAMIC, torch.float32),
    "int8, static activations": (INT8, STATIC, torch.float32),
}
QUIP = "QuIPModifier: {rotations: [v], transform_type: random-hadamard, precision: torch.float32, ignore: [lm_head]}"


def stage(*modifiers: str) -> str:
    return "q_stage:\n  q_modifiers:\n" + "".join(f"    {line}\n" for m in modifiers for line in m.splitlines())


def quantizer(weights: str, activations: str | None) -> str:
    acts = f", input_activations: {activations}" if activations else ""
    groups = f"{{w: {{targets: [Linear], weights: {{{weights}}}{acts}}}}}"
    return f"QuantizationModifier: {{ignore: [lm_head], config_groups: {groups}}}"


def hub(workshop: Workshop, name: str) -> Path:
    """A quantized checkpoint as hubs offer them."""
    weights, activations, dtype = STARTS[name]
    path = workshop.root / f"start {name}"
    if not path.exists():
        model = workshop.model("llama", dtype)
        workshop.oneshot("llama", stage(quantizer(weights, activations)), model=model, output_dir=str(path))
    return path


#: TCLIFModifier's fields, with and without a pass over data
SPIKES = ["{timesteps: 4}", "{timesteps: 4, threshold: static}"]


@pytest.mark.parametrize("spikes", SPIKES)
@pytest.mark.parametrize("name", STARTS)
def test_saved_is_what_was_in_memory(name: str, spikes: str, workshop: Workshop, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(hub(workshop, name))
    workshop.oneshot("llama", stage(f"TCLIFModifier: {spikes}"), model=model, pipeline="sequential")
    batch = workshop.batch("llama")
    expected = tiny_models.logits(model, batch)  # a forward pass before saving, and one after
    spike_compressor.save(model, tmp_path / "out")
    assert torch.equal(tiny_models.logits(model, batch), expected)
    assert torch.equal(tiny_models.logits(spike_compressor.load(tmp_path / "out"), batch), expected)


@pytest.mark.parametrize("opening", ["run once", "decompressed"])
def test_the_bits_do_not_depend_on_how_it_was_opened(opening: str, workshop: Workshop) -> None:
    path = hub(workshop, "packed 8 bits, bfloat16")
    batch = workshop.batch("llama")
    only = stage("TCLIFModifier: {timesteps: 4}")
    compressed = workshop.oneshot("llama", only, model=AutoModelForCausalLM.from_pretrained(path))
    given: dict[str, Any] = {}
    if opening == "decompressed":
        given["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    other = AutoModelForCausalLM.from_pretrained(path, **given)
    if opening == "run once":
        tiny_models.logits(other, batch)
    workshop.oneshot("llama", only, model=other)
    assert torch.equal(tiny_models.logits(other, batch), tiny_models.logits(compressed, batch))


@pytest.mark.parametrize("dequantize", [False, True])
def test_packed_layers_that_do_not_spike_are_saved_with_the_others(
    dequantize: bool, workshop: Workshop, tmp_path: Path
) -> None:
    given = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if dequantize else {}
    model = AutoModelForCausalLM.from_pretrained(hub(workshop, "packed asymmetric groups"), **given)
    workshop.oneshot("llama", stage("TCLIFModifier: {timesteps: 4, targets: ['re:.*up_proj']}"), model=model)
    batch = workshop.batch("llama")
    expected = tiny_models.logits(model, batch)
    spike_compressor.save(model, tmp_path / "out", verify="all")
    assert torch.equal(tiny_models.logits(model, batch), expected)
    assert torch.equal(tiny_models.logits(spike_compressor.load(tmp_path / "out"), batch), expected)


def test_activations_of_the_checkpoint_are_reinterpreted(workshop: Workshop, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(hub(workshop, "int8, static activations"))
    workshop.oneshot("llama", stage("TCLIFModifier: {}"), model=model)
    spike_compressor.save(model, tmp_path / "out")
    batch = workshop.batch("llama")
    loaded = spike_compressor.load(tmp_path / "out")
    assert {layer.spec.threshold for layer in spike_compressor.runtime.spiking_layers(loaded).values()} == {"static"}
    assert torch.equal(tiny_models.logits(loaded, batch), tiny_models.logits(model, batch))


def refused(workshop: Workshop, model: Any, text: str, *names: object) -> None:
    """Before the first batch."""
    data = workshop.data("llama")
    collate, reads = data.collate_fn, []

    def counted(rows: Any) -> Any:
        reads.append(1)
        return collate(rows)

    data.collate_fn = counted
    with pytest.raises(InputError, match=naming(*names)):
        workshop.oneshot("llama", text, model=model, dataset=data)
    assert not reads


def test_integers_are_not_quantized_again(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = stage(quantizer(INT8, None), "TCLIFModifier: {timesteps: 4, threshold: static}")
    refused(
        workshop, AutoModelForCausalLM.from_pretrained(hub(workshop, "int8")), again, "model.layers.0", "torch.int8"
    )
    (tmp_path / "r.yaml").write_text(again.replace(", threshold: static", ""))
    start = hub(workshop, "packed")
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="a").save_pretrained(start)
    command = ["oneshot", "--model", str(start), "--recipe", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]
    assert run(command) == 2
    message = capsys.readouterr().err
    assert "QuantizationModifier" in message
    assert "model.layers.0" in message


def test_modifiers_that_would_change_integers_are_refused(workshop: Workshop) -> None:
    smooth = "SmoothQuantModifier: {smoothing_strength: 0.5, mappings: [[['re:.*q_proj','re:.*k_proj','re:.*v_proj'],"
    smooth += "'re:.*input_layernorm']]}"
    text = stage(smooth, "TCLIFModifier: {timesteps: 4, threshold: static}")
    for name in ("packed", "int8"):
        model = AutoModelForCausalLM.from_pretrained(hub(workshop, name))
        refused(workshop, model, text, "SmoothQuantModifier", "model.layers.0.self_attn.q_proj")


@pytest.mark.parametrize("kind", ["spike-ready", "quantized"])
@pytest.mark.parametrize("dequantize", [False, True])
def test_rotations_that_plain_transformers_dropped(kind: str, dequantize: bool, workshop: Workshop) -> None:
    path = workshop.root / f"rotated {kind}"
    if not path.exists():
        quant = f"{QUIP}\nQuantizationModifier: {{ignore: [lm_head], config_groups: {{w: {W4}}}}}"
        text = recipe(quant) if kind == "spike-ready" else stage(quant)
        workshop.oneshot("llama", text, output_dir=str(path))
    given = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if dequantize else {}
    model = AutoModelForCausalLM.from_pretrained(path, **given)
    refused(workshop, model, stage("TCLIFModifier: {timesteps: 4, threshold: static}"), path, "v", "float")


def test_a_spike_ready_directory_without_rotations_is_taken_exactly(workshop: Workshop, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(workshop.made("llama", recipe(RTN))[1])
    workshop.oneshot("llama", stage("TCLIFModifier: {timesteps: 4}"), model=model)
    batch = workshop.batch("llama")
    expected = tiny_models.logits(model, batch)
    spike_compressor.save(model, tmp_path / "out", Processor())
    assert torch.equal(tiny_models.logits(spike_compressor.load(tmp_path / "out"), batch), expected)
