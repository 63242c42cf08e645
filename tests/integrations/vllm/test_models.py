"""Models with pictures in vLLM's own classes and in its Transformers backend: what `spike_compressor.load` computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

from helpers import served
from safetensors.torch import load_file
from spike_compressor.integrations.vllm import rows
from spike_compressor.modality import VISION
from vllm import SamplingParams

MODELS = ["qwen2_vl", "qwen2_5_vl", "llava"]
every_model = pytest.mark.parametrize("name", MODELS)
both_classes = pytest.mark.parametrize("model_impl", ["vllm", "transformers"])


def _generate(llm: Any, cases: list[dict[str, Any]], **more: Any) -> Any:
    settings = SamplingParams(temperature=0, max_tokens=12, detokenize=False, **more)
    return llm.generate(served.prompts(cases), settings, use_tqdm=False)


def _folder(checkpoint: Callable[[str], Path], name: str, what: str) -> Path:
    return checkpoint(name).parent / f"{name}.{what}.safetensors"


@every_model
@both_classes
def test_greedy_tokens_and_logits_are_those_of_load(
    name: str, model_impl: str, engine: Any, cases: Any, checkpoint: Any
) -> None:
    """24 prompts with none to two pictures in batches of eight."""
    expected = cases(name)
    made = _generate(engine(name, model_impl=model_impl), expected, logprobs=-1)
    assert served.tokens(made) == [case["tokens"] for case in expected]
    assert served.compare_logits(made, expected, _folder(checkpoint, name, "logits")).max() <= served.ROUNDINGS


@every_model
@both_classes
def test_every_layer_gives_the_bits_of_load(name: str, model_impl: str, engine: Any, checkpoint: Any) -> None:
    path = _folder(checkpoint, name, "layers")
    assert 0 < load_file(path)["modality"].float().mean() < 1  # rows of both kinds in one pass
    seen = served.compare_layers(engine(name, model_impl=model_impl), path)
    assert any("language_model" in one for one in seen)
    assert any("visual" in one or "vision_tower" in one for one in seen)


@every_model
def test_text_and_pictures_have_timesteps_and_thresholds_of_their_own(name: str, checkpoint: Any) -> None:
    plan = json.loads((checkpoint(name) / "spike_config.json").read_text())["plan"].values()
    both = [entry for entry in plan if len(entry["timesteps"]) == 2]
    assert any(entry["timesteps"]["text"] != entry["timesteps"]["vision"] for entry in both)
    assert any(entry["threshold_ratio"]["text"] != entry["threshold_ratio"]["vision"] for entry in both)


@every_model
@both_classes
def test_prompts_in_chunks_and_from_the_cache_give_the_same(
    name: str, model_impl: str, engine: Any, cases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of 12 tokens: pictures lie across two of them; then all again, begun from the prefix cache."""
    expected = cases(name)
    llm = engine(
        name,
        model_impl=model_impl,
        max_num_batched_tokens=12,
        max_num_seqs=4,
        block_size=32,
        enable_chunked_prefill=True,
        disable_chunked_mm_input=False,
    )
    steps: list[tuple[int, int]] = []
    make = rows.rows_of_mask

    def spied(mask: Any, tokens: int) -> Any:
        made = make(mask, tokens)
        steps.append((tokens, int((made.modality == VISION).sum())))
        return made

    monkeypatch.setattr(rows, "rows_of_mask", spied)
    assert served.tokens(_generate(llm, expected)) == [case["tokens"] for case in expected]
    assert any(0 < seen < tokens for tokens, seen in steps)  # pictures beside text
    again = _generate(llm, expected)
    assert served.tokens(again) == [case["tokens"] for case in expected]
    assert sum(one.num_cached_tokens for one in again) > 0


@every_model
def test_without_the_mask_other_logits_come_out(
    name: str, engine: Any, cases: Any, checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above can fail: with every row taken for text logits differ by more than rounding."""
    expected = cases(name)
    make = rows.rows_of_mask
    monkeypatch.setattr(rows, "rows_of_mask", lambda mask, tokens: make(None, tokens))
    llm = engine(name, model_impl="vllm")
    llm.reset_prefix_cache()
    made = _generate(llm, expected, logprobs=-1)
    llm.reset_prefix_cache()
    found = served.compare_logits(made, expected, _folder(checkpoint, name, "logits"), least=len(expected) - 1)
    assert found.max() > 100 * served.ROUNDINGS
