"""Decoder layers are found whatever an architecture calls them, and asked for only where a plan follows them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import Processor, Workshop
from llmcompressor import oneshot
from spike_compressor.errors import InputError
from spike_compressor.modality import adapter_for
from spike_compressor.modality.decoder import find_decoder_layers
from spike_compressor.runtime import spiking_layers, spiking_state

IDS = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GPT = {**IDS, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
PLAIN = {**IDS, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
SEQ = {**IDS, "d_model": 64, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4}

#: config, its model's class, and where its decoder layers lie
KNOWN: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "Falcon": ("FalconForCausalLM", PLAIN, "transformer.h"),
    "GPTJ": ("GPTJForCausalLM", {**GPT, "rotary_dim": 8}, "transformer.h"),
    "Bloom": ("BloomForCausalLM", {**IDS, "hidden_size": 64, "n_layer": 2, "n_head": 4}, "transformer.h"),
    "GPT2": ("GPT2LMHeadModel", GPT, "transformer.h"),
    "Mpt": ("MptForCausalLM", {"vocab_size": 64, "d_model": 64, "n_heads": 4, "n_layers": 2}, "transformer.blocks"),
    "GPTNeoX": ("GPTNeoXForCausalLM", PLAIN, "gpt_neox.layers"),
    "XLNet": (
        "XLNetLMHeadModel",
        {**IDS, "d_model": 64, "n_layer": 2, "n_head": 4, "d_inner": 64},
        "transformer.layer",
    ),
    "Bert": ("BertLMHeadModel", PLAIN, "bert.encoder.layer"),
    # `decoder` is the head here
    "ModernBertDecoder": ("ModernBertDecoderForCausalLM", PLAIN, "model.layers"),
    "Mamba": ("MambaForCausalLM", {**IDS, "hidden_size": 64, "num_hidden_layers": 2}, "backbone.layers"),
    # two sequences: the decoder's layers, not as many as the encoder's
    "T5": (
        "T5ForConditionalGeneration",
        {"vocab_size": 64, "d_model": 64, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4, "d_ff": 64},
        "decoder.block",
    ),
    "Bart": ("BartForConditionalGeneration", SEQ, "model.decoder.layers"),
    # a layer is spread over five lists here, and none of them is the layers
    "XLM": ("XLMWithLMHeadModel", {"vocab_size": 64, "emb_dim": 64, "n_layers": 2, "n_heads": 4}, None),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_decoder_layers_of_architectures(kind: str) -> None:
    name, fields, path = KNOWN[kind]
    config = getattr(transformers, f"{kind}Config")(**fields)
    with torch.device("meta"):
        model = getattr(transformers, name)(config)
    assert find_decoder_layers(model) == path
    if path is None:
        with pytest.raises(InputError, match=naming(name, "decoder_path", f"register_adapter('{config.model_type}')")):
            adapter_for(model).decoder_layers(model)
    else:
        assert list(adapter_for(model).decoder_layers(model)) == [f"{path}.0", f"{path}.1"]


def test_a_vision_tower_has_no_decoder_layers() -> None:
    model = tiny_models.llava()
    del model.model.language_model.layers
    assert find_decoder_layers(model, ["model.vision_tower"]) is None


RECIPE = """
spike_stage:
  quant_modifiers:
    GPTQModifier:
      ignore: [lm_head]
      config_groups: {g: {targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: channel}}}
  spike_modifiers:
    MSTSModifier: PLAN
    TCLIFModifier: {ignore: [lm_head]}
"""


def _open(kind: str, path: Path) -> Any:
    name, fields, _ = KNOWN[kind]
    torch.manual_seed(0)
    return tiny_models.saved(getattr(transformers, name)(getattr(transformers, f"{kind}Config")(**fields)), path)


@pytest.mark.parametrize(
    ("kind", "plan"),
    [
        ("GPTJ", "{allocation: fixed, timesteps: 4}"),
        # one modality: there is no discrepancy of modalities, wherever the layers are
        ("XLM", "{allocation: med, budget: {mean_timesteps: 3.5}}"),
        ("XLM", "{allocation: uniform, budget: {mean_timesteps: 3}}"),
    ],
)
def test_curves_that_no_plan_needs_refuse_nothing(kind: str, plan: str, tmp_path: Path) -> None:
    model = _open(kind, tmp_path)
    data = tiny_models.loader(2, images=0)
    recipe = RECIPE.replace("PLAN", plan)
    if kind == "XLM":  # its head is called otherwise
        recipe = recipe.replace("[lm_head]", "[pred_layer.proj]")
    oneshot(model=model, recipe=recipe, dataset=data, processor=Processor())
    assert spiking_layers(model)
    assert ("evolution" in spiking_state(model).facts) is (kind == "GPTJ")


def test_curves_of_rows_that_are_not_the_tokens_are_left_out_or_refused(tmp_path: Path) -> None:
    """The decoder layers of this model see the first three tokens alone."""

    class Shorter(torch.nn.Module):
        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = layer
            self.attention_type = getattr(layer, "attention_type", "full_attention")

        def forward(self, hidden_states: Any, **kwargs: Any) -> Any:
            out = self.layer(hidden_states, **kwargs)
            return out[:, :3] if torch.is_tensor(out) else (out[0][:, :3], *out[1:])

    workshop = Workshop(tmp_path)
    for plan, pipeline, names in (
        ("fixed, timesteps: 4", "basic", ()),
        ("med, budget: {mean_timesteps: 3}", "basic", ("language_model.layers.1", "med")),
        # this pipeline takes apart what is no decoder layer of transformers
        ("med, budget: {mean_timesteps: 3}", "independent", ("language_model.layers.1", "med", "pipeline='basic'")),
    ):
        model = workshop.model("llava")
        layers = model.model.language_model.layers
        layers[-1] = Shorter(layers[-1])
        recipe = RECIPE.replace("PLAN", f"{{allocation: {plan}}}").replace("[lm_head]", "[lm_head, 're:.*layers.1.*']")
        options = {"dataset": tiny_models.loader(2), "processor": Processor(), "pipeline": pipeline}
        with pytest.raises(InputError, match=naming(*names)) if names else contextlib.nullcontext():
            oneshot(model=model, recipe=recipe, **options)
        if not names:
            assert "evolution" not in spiking_state(model).facts
