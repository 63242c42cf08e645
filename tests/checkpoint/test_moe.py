"""Mixtures of experts through saving and loading, plain transformers and other loads in the same process."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers.messages import naming
from helpers.tiny_moe import EXPERTS, TINY_MOE, MoE
from safetensors import safe_open
from spike_compressor.checkpoint import read_config
from spike_compressor.checkpoint.patterns import name_patterns
from spike_compressor.runtime import spiking_layers

#: What a modality adapter and rows of experts with pictures need is tested with those.
TEXT = [name for name, moe in TINY_MOE.items() if moe.pictures is None and name != "llama4"]
MERGED = [name for name in TEXT if TINY_MOE[name].merged]
OTHERS = [name for name in TEXT if not TINY_MOE[name].merged]

#: Halves, turns, transposed; renamed modules around them.
STACKED = ["qwen3_moe", "mixtral", "granitemoe", "gpt_oss"]

RECIPE = """
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      ignore: [IGNORE]
      config_groups: {w: {targets: [Linear], weights: WEIGHTS}}
  spike_modifiers:
    TCLIFModifier: {ignore: [IGNORE], timesteps: {text: 4, vision: 3}}
"""
W4 = "{num_bits: 4, type: int, symmetric: true, strategy: channel}"
FLOAT_EXPERTS = 'lm_head, "re:.*experts.*"'


def recipe(ignore: str = "lm_head", weights: str = W4) -> str:
    return RECIPE.replace("IGNORE", ignore).replace("WEIGHTS", weights)


class Made:
    """A mixture that a recipe made spike, and its checkpoint."""

    def __init__(self, moe: MoE, text: str, root: Path, dtype: torch.dtype = torch.float32) -> None:
        from llmcompressor import oneshot

        moe.model().save_pretrained(root / "float")
        self.moe = moe
        self.model = moe.model_class.from_pretrained(root / "float", dtype=dtype).eval()
        oneshot(model=self.model, recipe=text)
        self.logits = self.run(self.model)
        self.path = root / "spiking"
        spike_compressor.save(self.model, self.path)
        self.keys = set()
        with safe_open(self.path / "model.safetensors", framework="pt") as file:
            self.keys = set(file.keys())

    def run(self, model: Any) -> torch.Tensor:
        with torch.no_grad():
            return model(**self.moe.batch(7)).logits

    def plain(self) -> tuple[Any, dict[str, Any]]:
        return self.moe.model_class.from_pretrained(self.path, output_loading_info=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    known: dict[tuple[str, str], Made] = {}

    def make(name: str, text: str) -> Made:
        if (name, text) not in known:
            # a Linear, but its weight is only read
            router = 'lm_head, "re:.*mlp.gate$"' if name == "deepseek_v2" else "lm_head"
            root = tmp_path_factory.mktemp(name)
            known[name, text] = Made(TINY_MOE[name], text.replace("lm_head", router), root)
        return known[name, text]

    return make


def experts_of(model: Any) -> dict[str, Any]:
    return {name: layer for name, layer in spiking_layers(model).items() if ".experts." in name}


@pytest.mark.parametrize("name", TEXT)
def test_experts_spike_and_open_again_to_the_bit(name: str, made: Any, tmp_path: Path) -> None:
    one = made(name, recipe())
    assert len(experts_of(one.model)) == TINY_MOE[name].sparse_layers * EXPERTS * 3
    loaded = spike_compressor.load(one.path)
    assert torch.equal(one.run(loaded), one.logits)
    for layer_name, layer in experts_of(loaded).items():
        assert layer.integer.codes.dtype == torch.int8
        assert torch.equal(layer.integer.codes, one.model.get_submodule(layer_name).integer.codes)
    # saving changed nothing in memory, and what was loaded is saved again to the same files
    assert torch.equal(one.run(one.model), one.logits)
    spike_compressor.save(loaded, tmp_path / "again")
    ours, theirs = ((path / "model.safetensors").read_bytes() for path in (one.path, tmp_path / "again"))
    assert ours == theirs


@pytest.mark.parametrize("name", STACKED)
def test_experts_that_are_ignored_stay_floats_and_open_everywhere(name: str, made: Any, tmp_path: Path) -> None:
    one = made(name, recipe(FLOAT_EXPERTS))
    assert not experts_of(one.model)
    assert torch.equal(one.run(spike_compressor.load(one.path)), one.logits)
    config = read_config(one.path)
    assert (config.experts, config.opens_in_plain_transformers, config.why_not_plain) == ("stacked", True, None)
    assert ".0.up_proj" in " ".join(config.not_spiking)
    plain, report = one.plain()
    assert not any(report.values())
    before = one.moe.model_class.from_pretrained(one.path.parent / "float").state_dict()
    for key, value in plain.state_dict().items():
        if ".experts." in key:
            assert torch.equal(value, before[key]), key


def floats_of_experts(model: Any, plain: Any) -> None:
    """Plain transformers' stacked weights are the integers times scales of each expert."""
    layers = experts_of(model)
    checked = 0
    for name, module in plain.named_modules():
        if f"{name}.0.up_proj" not in layers:
            continue
        for index in range(EXPERTS):
            gate, up, down = (
                layers[f"{name}.{index}.{key}"].integer.floats() for key in ("gate_proj", "up_proj", "down_proj")
            )
            assert torch.equal(module.gate_up_proj[index].float(), torch.cat([gate, up]))
            assert torch.equal(module.down_proj[index].float(), down)
            checked += 1
    assert checked == EXPERTS * len(layers) // (3 * EXPERTS)


@pytest.mark.parametrize("name", MERGED)
def test_plain_transformers_merges_packed_experts(name: str, made: Any) -> None:
    one = made(name, recipe())
    config = read_config(one.path)
    assert (config.experts, config.opens_in_plain_transformers, config.why_not_plain) == ("separate", True, None)
    plain, report = one.plain()
    assert not any(report.values())
    floats_of_experts(one.model, plain)


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_says_that_plain_transformers_cannot_merge_its_experts(name: str, made: Any) -> None:
    one = made(name, recipe())
    config = read_config(one.path)
    assert not config.opens_in_plain_transformers
    _, report = one.plain()
    missing = sorted(report["missing_keys"])
    assert missing[0] in config.why_not_plain
    assert "Do not open it in plain transformers" in (one.path / "README.md").read_text(encoding="utf-8")


def test_files_spell_names_as_the_original_checkpoints(made: Any) -> None:
    keys = made("mixtral", recipe()).keys
    assert "model.layers.1.block_sparse_moe.experts.3.w2.weight_packed" in keys
    assert "model.layers.1.block_sparse_moe.experts.3.w1.weight_scale" in keys
    assert "model.layers.0.mlp.experts.0.gate_proj.weight_packed" in made("qwen3_moe", recipe()).keys
    assert "model.layers.0.mlp.experts.0.gate_proj.weight" in made("gpt_oss", recipe()).keys
    assert "model.layers.0.mlp.experts.0.gate_proj.bias" in made("gpt_oss", recipe()).keys
    assert "model.layers.0.mlp.experts.gate_up_proj" in made("qwen3_moe", recipe(FLOAT_EXPERTS)).keys


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("asymmetric", recipe(weights="{num_bits: 4, type: int, symmetric: false, strategy: channel}")),
        ("some experts only", recipe('lm_head, "re:.*experts.[01].*"')),
    ],
)
def test_what_plain_transformers_would_get_wrong_is_not_packed(what: str, text: str, made: Any) -> None:
    one = made("qwen3_moe", text)
    assert not any(key.endswith("weight_packed") for key in one.keys)
    assert torch.equal(one.run(spike_compressor.load(one.path)), one.logits)
    config = read_config(one.path)
    assert not config.opens_in_plain_transformers
    assert config.why_not_plain is not None


@pytest.mark.parametrize("bits", [3, 8])
def test_other_bits_and_groups_of_scales(bits: int, made: Any) -> None:
    weights = f"{{num_bits: {bits}, type: int, symmetric: true, strategy: group, group_size: 32}}"
    one = made("deepseek_v3", recipe(weights=weights))
    assert torch.equal(one.run(spike_compressor.load(one.path)), one.logits)
    assert read_config(one.path).opens_in_plain_transformers
    floats_of_experts(one.model, one.plain()[0])


def test_a_bfloat16_model_keeps_its_integers(tmp_path: Path) -> None:
    one = Made(TINY_MOE["qwen3_moe"], recipe(), tmp_path, torch.bfloat16)
    loaded = spike_compressor.load(one.path)
    assert torch.equal(one.run(loaded), one.logits)
    for name, layer in experts_of(loaded).items():
        assert torch.equal(layer.integer.codes, one.model.get_submodule(name).integer.codes)
    wider = spike_compressor.load(one.path, dtype=torch.float32)
    assert all(
        torch.equal(layer.integer.codes, experts_of(loaded)[name].integer.codes)
        for name, layer in experts_of(wider).items()
    )


def test_loads_of_one_process_leave_each_other_alone(made: Any) -> None:
    """Experts separate and stacked, of architectures with different names, and a float model between them."""
    order = [("mixtral", recipe()), ("mixtral", recipe(FLOAT_EXPERTS)), ("gpt_oss", recipe()), ("qwen3_moe", recipe())]
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    quantizer = AUTO_QUANTIZER_MAPPING["compressed-tensors"]
    for name, text in order + order[::-1]:
        one = made(name, text)
        assert torch.equal(one.run(spike_compressor.load(one.path)), one.logits)
        _, report = one.moe.model_class.from_pretrained(one.path.parent / "float", output_loading_info=True)
        assert not any(report.values())
    assert AUTO_QUANTIZER_MAPPING["compressed-tensors"] is quantizer


def test_a_load_that_fails_leaves_transformers_as_it_was(made: Any, tmp_path: Path) -> None:
    one = made("qwen3_moe", recipe())
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    quantizer = AUTO_QUANTIZER_MAPPING["compressed-tensors"]
    with pytest.raises(Exception, match=naming("attn_implementation")):
        spike_compressor.load(one.path, attn_implementation="no such attention")
    assert AUTO_QUANTIZER_MAPPING["compressed-tensors"] is quantizer


def test_rules_that_llm_compressor_leaves_with_transformers_reach_no_checkpoint(tmp_path: Path) -> None:
    """`load_quantizable_moe` registers rules without merging, for good."""
    from llmcompressor.modeling.moe.conversion_mappings import get_linearize_load_mappings
    from transformers import conversion_mapping

    rules = get_linearize_load_mappings("qwen3_moe")[2]
    registered = dict(conversion_mapping._checkpoint_conversion_mapping_cache or {})
    try:
        conversion_mapping.register_checkpoint_conversion_mapping("qwen3_moe", rules, overwrite=True)
        one = Made(TINY_MOE["qwen3_moe"], recipe(), tmp_path)
        assert torch.equal(one.run(spike_compressor.load(one.path)), one.logits)
        assert conversion_mapping.get_checkpoint_conversion_mapping("qwen3_moe") is not None
    finally:
        conversion_mapping._checkpoint_conversion_mapping_cache = registered
        conversion_mapping.USER_REGISTERED_MAPPINGS.discard("qwen3_moe")
    assert read_config(one.path).opens_in_plain_transformers
    plain, report = one.plain()
    assert not any(report.values())
    floats_of_experts(one.model, plain)


@pytest.mark.parametrize("text", [recipe(), recipe(FLOAT_EXPERTS)])
def test_generation_is_the_same_in_memory_and_loaded(text: str, made: Any) -> None:
    one = made("qwen3_moe", text)
    options = {**one.moe.batch(3), "max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    loaded = spike_compressor.load(one.path)
    assert torch.equal(loaded.generate(**options), one.model.generate(**options))


def test_patterns_match_the_names_and_no_other() -> None:
    linears = [
        f"layers.{layer}.mlp.experts.{e}.{p}_proj" for layer in range(3) for e in range(4) for p in ("up", "down")
    ]
    everything = [*linears, "lm_head", "layers.0.mlp", "layers.1.mlp.experts.gate"]
    for chosen, most in (
        (linears, 2),
        ([name for name in linears if "layers.1." in name], 2),
        ([name for name in linears if ".2.up" in name], 3),
        ([name for name in linears if "layers.1." not in name] + ["lm_head"], 5),
        ([linears[0], linears[-1]], 2),
    ):
        patterns = name_patterns(chosen, everything)
        assert len(patterns) <= most
        matched = {name for name in everything if any(re.match(pattern[3:], name) for pattern in patterns)}
        assert matched == set(chosen)


def test_config_names_many_experts_in_few_patterns(made: Any) -> None:
    quantization = json.loads((made("qwen3_moe", recipe()).path / "config.json").read_text())["quantization_config"]
    assert sum(len(group["targets"]) for group in quantization["config_groups"].values()) < 10
    assert len(quantization["ignore"]) < 6
