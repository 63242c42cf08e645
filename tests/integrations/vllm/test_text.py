"""Text-only checkpoints in vLLM's own classes: what `spike_compressor.load` computes, to the bit and to the token."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("vllm")

from helpers import served
from vllm import SamplingParams

LLAMAS = ["llama", "llama_groups", "llama_zero_points", "llama_tensor", "llama_rotated", "llama_spun"]


@pytest.mark.parametrize("name", LLAMAS)
def test_greedy_tokens_and_logits_are_those_of_load(name: str, engine: Any, cases: Any, checkpoint: Any) -> None:
    """Twelve prompts of mixed lengths in batches of eight."""
    expected = cases(name)
    assert len({len(case["ids"]) for case in expected}) > 4
    settings = SamplingParams(temperature=0, max_tokens=12, detokenize=False, logprobs=-1)
    made = engine(name).generate(served.prompts(expected), settings, use_tqdm=False)
    assert served.tokens(made) == [case["tokens"] for case in expected]
    path = checkpoint(name).parent / f"{name}.logits.safetensors"
    assert served.compare_logits(made, expected, path).max() <= served.ROUNDINGS


@pytest.mark.parametrize("name", LLAMAS)
def test_every_layer_gives_the_bits_of_load(name: str, engine: Any, checkpoint: Any) -> None:
    """The same inputs; merged layers are compared shard by shard."""
    served.compare_layers(engine(name), checkpoint(name).parent / f"{name}.layers.safetensors")


def test_shards_that_code_alike_share_their_encoding_and_others_do_not(engine: Any) -> None:
    parts = {
        name: engine(name).apply_model(
            lambda model: [len(m.spike_parts) for m in model.modules() if hasattr(m, "spike_parts")]
        )[0]
        for name in ("llama", "llama_groups")
    }
    assert set(parts["llama"]) == {1}
    assert max(parts["llama_groups"]) > 1
