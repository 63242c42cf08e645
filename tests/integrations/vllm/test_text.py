"""Text-only checkpoints in vLLM's own classes: what `spike_compressor.load` computes, to the bit and to the token."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("vllm")

import torch
from safetensors.torch import load_file
from vllm import SamplingParams

LLAMAS = ["llama", "llama_groups", "llama_zero_points", "llama_tensor"]


def _generate(engine: Any, cases: list[dict[str, Any]]) -> list[list[int]]:
    count = len(cases[0]["tokens"])
    settings = SamplingParams(temperature=0, max_tokens=max(count, 12), detokenize=False)
    prompts = [{"prompt_token_ids": case["ids"]} for case in cases]
    return [list(made.outputs[0].token_ids) for made in engine.generate(prompts, settings, use_tqdm=False)]


@pytest.mark.parametrize("name", LLAMAS)
def test_greedy_tokens_are_those_of_load(name: str, engine: Any, cases: Any) -> None:
    """Twelve prompts of mixed lengths in batches of eight."""
    expected = cases(name)
    found = _generate(engine(name), expected)
    assert len({len(case["ids"]) for case in expected}) > 4
    assert found == [case["tokens"] for case in expected]


@pytest.mark.parametrize("name", LLAMAS)
def test_every_layer_gives_the_bits_of_load(name: str, engine: Any, checkpoint: Any) -> None:
    """The same inputs; merged layers are compared shard by shard."""
    kept = load_file(checkpoint(name).parent / f"{name}.layers.safetensors")

    def compare(model: torch.nn.Module) -> list[str]:
        seen = []
        for module in model.modules():
            for part in getattr(module, "spike_parts", ()):
                first = 0
                for shard in part.shards:
                    x, expected = kept[f"{shard.name}.input"], kept[f"{shard.name}.output"]
                    out = module.quant_method.apply(module, x, module.bias)[:, part.rows]
                    assert torch.equal(out[:, first : first + expected.shape[1]], expected), shard.name
                    first += expected.shape[1]
                    seen.append(shard.name)
        return seen

    seen = engine(name).apply_model(compare)[0]
    assert {f"{one}.input" for one in seen} == {key for key in kept if key.endswith(".input")}


def test_shards_that_code_alike_share_their_encoding_and_others_do_not(engine: Any) -> None:
    parts = {
        name: engine(name).apply_model(
            lambda model: [len(m.spike_parts) for m in model.modules() if hasattr(m, "spike_parts")]
        )[0]
        for name in ("llama", "llama_groups")
    }
    assert set(parts["llama"]) == {1}
    assert max(parts["llama_groups"]) > 1
