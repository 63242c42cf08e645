"""The embedded vision-language model: rows of pictures are known as such, whatever the batch is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

from helpers import served
from safetensors.torch import load_file
from spike_compressor.demo.data import items
from spike_compressor.integrations.vllm import rows
from spike_compressor.modality import VISION
from vllm import SamplingParams

PER_KIND = 34  # as in checkpoints.py


def _prompts(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    asked = items("test", PER_KIND)
    return [
        {"prompt": case["text"]}
        | ({"multi_modal_data": {"image": asked[case["number"]].image}} if case["seen"] else {})
        for case in cases
    ]


def _made(engine: Any, cases: list[dict[str, Any]], **more: Any) -> Any:
    settings = SamplingParams(temperature=0, max_tokens=6, **more)
    return engine.generate(_prompts(cases), settings, use_tqdm=False)


def _generate(engine: Any, cases: list[dict[str, Any]]) -> list[list[int]]:
    return served.tokens(_made(engine, cases))


def _differing(found: list[list[int]], cases: list[dict[str, Any]]) -> list[Any]:
    return [
        (case["number"], one, case["tokens"]) for one, case in zip(found, cases, strict=True) if one != case["tokens"]
    ]


def test_greedy_tokens_and_logits_are_those_of_load(engine: Any, cases: Any, checkpoint: Any) -> None:
    """Pictures in four of five questions, prompts of mixed lengths in batches of eight.

    In this model codes lie next to thresholds, and one that turns out a step off moves logits by much more than it was
    rounded. So the differences are held against those of two ways in which `load` computes the same.
    """
    expected = cases("embedded")
    assert len(expected) >= 200
    assert sum(case["seen"] for case in expected) > 150
    made = _made(engine("embedded"), expected, logprobs=-1)
    assert _differing(served.tokens(made), expected) == []
    folder = checkpoint("embedded").parent
    served_by_vllm = served.compare_logits(made, expected, folder / "embedded.logits.safetensors")
    loaded = served.compare_in_one_pass(folder, "embedded")
    # vLLM rounds otherwise in more places than those two: norms, activation functions, heads, pictures
    assert (served_by_vllm > served.ROUNDINGS).sum() <= 4 * (loaded > served.ROUNDINGS).sum()
    assert served_by_vllm.max() <= 2 * loaded.max()


def test_every_layer_gives_the_bits_of_load(engine: Any, checkpoint: Callable[[str], Path]) -> None:
    """The same inputs, with the modality of their rows in the forward context."""
    path = checkpoint("embedded").parent / "embedded.layers.safetensors"
    assert 0 < load_file(path)["modality"].float().mean() < 1  # rows of both kinds in one pass
    served.compare_layers(engine("embedded"), path)


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
