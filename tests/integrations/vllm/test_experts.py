"""Mixtures of experts in vLLM's own classes: what `spike_compressor.load` computes, to the bit and to the token."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("vllm")

import torch
from helpers import served
from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm import experts, spike_counts
from spike_compressor.integrations.vllm.scheme import WeightScheme
from vllm import SamplingParams
from vllm.model_executor.layers.fused_moe.activation import MoEActivation

MIXTURES = ["mixtral", "qwen2_moe", "qwen3_moe"]
NUMBERS = ("inputs", "spikes", "sops")
#: From the start, since an engine is one a checkpoint: outputs are the same, and each code is read once more.
COUNTING = {"additional_config": {"spike_counts": True}, "enable_prefix_caching": False}
every_mixture = pytest.mark.parametrize("name", MIXTURES)


def _generate(llm: Any, cases: list[dict[str, Any]], **more: Any) -> Any:
    settings = SamplingParams(temperature=0, max_tokens=12, detokenize=False, **more)
    return llm.generate(served.prompts(cases), settings, use_tqdm=False)


@every_mixture
def test_greedy_tokens_and_logits_are_those_of_load(name: str, engine: Any, cases: Any, checkpoint: Any) -> None:
    """Twelve prompts of mixed lengths in batches of eight."""
    expected = cases(name)
    made = _generate(engine(name), expected, logprobs=-1)
    assert served.tokens(made) == [case["tokens"] for case in expected]
    path = checkpoint(name).parent / f"{name}.logits.safetensors"
    assert served.compare_logits(made, expected, path).max() <= served.ROUNDINGS


@every_mixture
def test_every_layer_and_every_sum_of_experts_has_the_bits_of_load(name: str, engine: Any, checkpoint: Any) -> None:
    seen = served.compare_layers(engine(name), checkpoint(name).parent / f"{name}.layers.safetensors")
    assert any(".experts." in one for one in seen)


@every_mixture
def test_requests_have_the_counts_of_load(name: str, engine: Any, cases: Any) -> None:
    """A row counts where it was sent, and as whose it is: eight prompts at a time, in chunks of 16 tokens."""
    llm, expected = engine(name, **COUNTING, max_num_batched_tokens=16, enable_chunked_prefill=True), cases(name)
    assert max(len(case["ids"]) for case in expected) > 16
    made = _generate(llm, expected)
    assert served.tokens(made) == [case["tokens"] for case in expected]
    for one, case in zip(made, expected, strict=True):
        counts = spike_counts(llm, one.request_id)
        layers = {
            f"{entry['kind']}, {entry['modality']}": [entry[key] for key in NUMBERS] for entry in counts["layers"]
        }
        assert {"tokens": counts["tokens"], "layers": layers} == case["counts"]


def test_gate_and_up_share_their_encoding_where_they_code_alike(engine: Any) -> None:
    def parts(model: torch.nn.Module) -> list[int]:
        return [len(one.ups) for module in model.modules() for one in getattr(module, "spike_experts", ())]

    assert set(engine("mixtral").apply_model(parts)[0]) == {1}
    assert max(engine("qwen2_moe").apply_model(parts)[0]) == 2


def test_files_have_experts_in_both_forms(checkpoint: Any) -> None:
    forms = {}
    for name in MIXTURES:
        groups = json.loads((checkpoint(name) / "config.json").read_text())["quantization_config"]["config_groups"]
        forms[name] = {group["format"] for group in groups.values()}
    assert forms["mixtral"] == forms["qwen2_moe"] == {"pack-quantized", "int-quantized"}
    assert forms["qwen3_moe"] == {"int-quantized"}


@every_mixture
def test_with_rows_sent_elsewhere_other_logits_come_out(
    name: str, engine: Any, cases: Any, checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above can fail: rows go to the experts after those that they chose."""
    outputs, llm, expected = experts.SpikeExpertsMethod.outputs, engine(name), cases(name)

    def elsewhere(self: Any, layer: Any, x: torch.Tensor, weights: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        return outputs(self, layer, x, weights, (chosen + 1) % len(self.experts))

    monkeypatch.setattr(experts.SpikeExpertsMethod, "outputs", elsewhere)
    llm.reset_prefix_cache()
    made = _generate(llm, expected, logprobs=-1)
    llm.reset_prefix_cache()
    path = checkpoint(name).parent / f"{name}.logits.safetensors"
    assert served.compare_logits(made, expected, path, least=len(expected) - 1).max() > 100 * served.ROUNDINGS


def _layer(activation: str = "silu", **settings: Any) -> Any:
    """What a method is told of the layer that vLLM builds."""
    alone = {"use_ep": False, "dp_size": 1, "pcp_size": 1, "is_sequence_parallel": False}
    config = SimpleNamespace(moe_parallel_config=SimpleNamespace(**alone | settings))
    return SimpleNamespace(moe_config=config, activation=MoEActivation.from_str(activation), layer_name="mlp.experts")


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (_layer(use_ep=True), "leave out enable_expert_parallel"),
        (_layer(dp_size=2), "data_parallel_size"),
        (_layer("gelu"), "the activation 'gelu'"),
    ],
)
def test_what_experts_do_not_go_with(layer: Any, named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        experts.SpikeExpertsMethod(layer, [])
    assert "\n" not in str(caught.value)


def test_experts_whose_weights_are_quantized_differently() -> None:
    def expert(number: int, bits: int) -> Any:
        scheme = WeightScheme(bits)
        return {one: SimpleNamespace(name=f"{number}.{own}", scheme=scheme) for one, own in experts.LAYERS.items()}

    experts.SpikeExpertsMethod(_layer(), [expert(0, 4), expert(1, 4)])
    with pytest.raises(InputError, match=r"1\.gate_proj and 0\.gate_proj as one layer.*one config group"):
        experts.SpikeExpertsMethod(_layer(), [expert(0, 4), expert(1, 8)])


def test_an_engine_does_not_start_in_the_transformers_backend(engine: Any) -> None:
    with pytest.raises(
        Exception, match=r"vLLM's own classes only; leave out model_impl='transformers'"
    ):  # vLLM wraps it
        engine("mixtral", model_impl="transformers")
