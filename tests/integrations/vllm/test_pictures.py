"""The embedded vision-language model: rows of pictures are known as such, whatever the batch is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

import torch
from safetensors.torch import load_file
from spike_compressor.demo.data import items
from spike_compressor.integrations.vllm import rows
from spike_compressor.modality import VISION
from vllm import SamplingParams
from vllm.config import set_current_vllm_config
from vllm.forward_context import get_forward_context, set_forward_context

PER_KIND = 34  # as in checkpoints.py


def _prompts(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    asked = items("test", PER_KIND)
    return [
        {"prompt": case["text"]}
        | ({"multi_modal_data": {"image": asked[case["number"]].image}} if case["seen"] else {})
        for case in cases
    ]


def _generate(engine: Any, cases: list[dict[str, Any]]) -> list[list[int]]:
    settings = SamplingParams(temperature=0, max_tokens=6)
    return [list(made.outputs[0].token_ids) for made in engine.generate(_prompts(cases), settings, use_tqdm=False)]


def _differing(found: list[list[int]], cases: list[dict[str, Any]]) -> list[Any]:
    return [
        (case["number"], one, case["tokens"]) for one, case in zip(found, cases, strict=True) if one != case["tokens"]
    ]


def test_greedy_tokens_are_those_of_load(engine: Any, cases: Any) -> None:
    """204 questions, pictures in four of five, prompts of mixed lengths in batches of eight."""
    expected = cases("embedded")
    assert len(expected) >= 200
    assert sum(case["seen"] for case in expected) > 150
    assert _differing(_generate(engine("embedded"), expected), expected) == []


def test_every_layer_gives_the_bits_of_load(engine: Any, checkpoint: Callable[[str], Path]) -> None:
    """The same inputs, with the modality of their rows in the forward context."""
    kept = load_file(checkpoint("embedded").parent / "embedded.layers.safetensors")
    mask = kept["modality"] == VISION
    assert 0 < int(mask.sum()) < mask.numel()
    llm = engine("embedded")
    config = llm.llm_engine.vllm_config

    def compare(model: torch.nn.Module) -> list[str]:
        seen = []
        for module in model.modules():
            for part in getattr(module, "spike_parts", ()):
                first = 0
                for shard in part.shards:
                    x, expected = kept[f"{shard.name}.input"], kept[f"{shard.name}.output"]
                    with set_current_vllm_config(config), set_forward_context({}, config):
                        get_forward_context().additional_kwargs[rows.KEY] = rows.rows_of_mask(mask, mask.numel())
                        out = module.quant_method.apply(module, x, module.bias)[:, part.rows]
                    assert torch.equal(out[:, first : first + expected.shape[1]], expected), shard.name
                    first += expected.shape[1]
                    seen.append(shard.name)
        return seen

    seen = llm.apply_model(compare)[0]
    assert {f"{one}.input" for one in seen} == {key for key in kept if key.endswith(".input")}


def test_prompts_in_chunks_and_mixed_steps_give_the_same(engine: Any, cases: Any) -> None:
    """Chunks of 24 tokens: pictures lie across two of them, and beside tokens that are generated."""
    expected = cases("embedded")[:30]
    llm = engine("embedded", max_num_batched_tokens=24, enable_chunked_prefill=True, disable_chunked_mm_input=False)
    steps: list[tuple[int, int]] = []
    make = rows.rows_of_mask

    def spied(mask: Any, tokens: int) -> Any:
        made = make(mask, tokens)
        steps.append((tokens, int((made.modality == VISION).sum())))
        return made

    rows.rows_of_mask = spied
    try:
        found = _generate(llm, expected)
    finally:
        rows.rows_of_mask = make
    assert _differing(found, expected) == []
    assert any(0 < seen < 16 for _, seen in steps)  # a part of a picture
    assert any(0 < seen < tokens for tokens, seen in steps)  # pictures beside text


def test_without_the_mask_other_tokens_come_out(engine: Any, cases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail: with every row taken for text answers differ."""
    expected = cases("embedded")[:60]
    make = rows.rows_of_mask
    monkeypatch.setattr(rows, "rows_of_mask", lambda mask, tokens: make(None, tokens))
    llm = engine("embedded")
    llm.reset_prefix_cache()
    assert _differing(_generate(llm, expected), expected) != []
    llm.reset_prefix_cache()
