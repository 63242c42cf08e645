"""Schemes on modules that are no Linears (KV caches, attention, embeddings) are saved and loaded to equal logits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import W4, Workshop
from spike_compressor.errors import InputError

FP8 = "{num_bits: 8, type: float, strategy: tensor, dynamic: false, symmetric: true}"
INT8 = "{num_bits: 8, type: int, strategy: tensor, dynamic: false, symmetric: true}"
TABLE = "{targets: [Embedding], weights: {num_bits: 8, type: int, symmetric: true, strategy: channel}}"

TOKEN = "{num_bits: 8, type: float, strategy: token, dynamic: true, symmetric: true}"
#: fields of the QuantizationModifier
SCHEMES = {
    "kv cache, fp8": f"config_groups: {{w: {W4}}}, kv_cache_scheme: {FP8}",
    "kv cache, int8": f"config_groups: {{w: {W4}}}, kv_cache_scheme: {INT8}",
    "attention": f"config_groups: {{w: {W4}, a: {{targets: [LlamaAttention], input_activations: {TOKEN}}}}}",
    "embeddings": f"config_groups: {{w: {W4}, e: {TABLE}}}",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_they_pass_through(scheme: str, workshop: Workshop, tmp_path: Path) -> None:
    text = f"""
spike_stage:
  quant_modifiers:
    QuantizationModifier: {{ignore: [lm_head], {SCHEMES[scheme]}}}
  spike_modifiers:
    TCLIFModifier: {{timesteps: 4}}
"""
    model = workshop.oneshot("llama", text)
    batch = workshop.batch("llama")
    expected = tiny_models.logits(model, batch)
    without = tiny_models.logits(
        workshop.made("llama", text.replace(SCHEMES[scheme], f"config_groups: {{w: {W4}}}"))[0], batch
    )
    assert not torch.equal(without, expected)  # it does something
    spike_compressor.save(model, tmp_path / "first", verify="all")
    assert torch.equal(tiny_models.logits(model, batch), expected)
    loaded = spike_compressor.load(tmp_path / "first")
    assert torch.equal(tiny_models.logits(loaded, batch), expected)
    spike_compressor.save(loaded, tmp_path / "second")
    assert torch.equal(tiny_models.logits(spike_compressor.load(tmp_path / "second"), batch), expected)
    first, second = (
        json.loads((tmp_path / name / "config.json").read_text())["quantization_config"] for name in ("first", "second")
    )
    assert (first["kv_cache_scheme"] is not None) is (scheme not in ("embeddings",))
    for field in ("config_groups", "kv_cache_scheme", "ignore"):
        assert first[field] == second[field], field


def test_scales_of_queries_that_nobody_finds_are_refused_before_anything_runs(workshop: Workshop) -> None:
    """LLM Compressor never observes queries: a static scale of theirs is what the memory held."""
    text = f"""
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      ignore: [lm_head]
      config_groups: {{w: {W4}, a: {{targets: [LlamaAttention], input_activations: {FP8}}}}}
  spike_modifiers:
    TCLIFModifier: {{timesteps: 4}}
"""
    with pytest.raises(InputError, match=naming("model.layers.0.self_attn", "dynamic", "kv_cache_scheme")):
        workshop.oneshot("llama", text)
