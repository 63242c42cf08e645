"""What fires is counted by request, as `record_spikes` counts it for `load`, and not at all unless asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

from spike_compressor.demo.data import items
from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm import spike_counts
from vllm import SamplingParams

PER_KIND = 34  # as in checkpoints.py
COUNTING = {"additional_config": {"spike_counts": True}, "enable_prefix_caching": False}


def _prompt(case: dict[str, Any]) -> dict[str, Any]:
    if "ids" in case:
        return {"prompt_token_ids": case["ids"]}
    image = items("test", PER_KIND)[case["number"]].image
    return {"prompt": case["text"]} | ({"multi_modal_data": {"image": image}} if case["seen"] else {})


def _run(llm: Any, cases: list[dict[str, Any]], tokens: int) -> list[dict[str, Any]]:
    """Counts of each request, all asked at once; and their answers are still those of `load`."""
    settings = SamplingParams(temperature=0, max_tokens=tokens, detokenize=False)
    made = llm.generate([_prompt(case) for case in cases], settings, use_tqdm=False)
    assert [list(one.outputs[0].token_ids) for one in made] == [case["tokens"] for case in cases]
    return [spike_counts(llm, one.request_id) for one in made]


def _plain(counts: dict[str, Any]) -> dict[str, Any]:
    """As checkpoints.py has them: inputs, spikes and synaptic operations by kind of layer and modality."""
    layers = {
        f"{entry['kind']}, {entry['modality']}": [entry["inputs"], entry["spikes"], entry["sops"]]
        for entry in counts["layers"]
    }
    for index, name in enumerate(("inputs", "spikes", "sops")):
        assert counts[name] == sum(numbers[index] for numbers in layers.values())
    return {"tokens": counts["tokens"], "layers": layers}


def _counted(cases: Any, name: str) -> list[dict[str, Any]]:
    return [case for case in cases(name) if "counts" in case]


def test_without_being_asked_nothing_is_installed(engine: Any) -> None:
    """First in this file, before anything in this process was asked to count."""
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner
    from vllm.v1.worker.worker_base import WorkerBase

    llm = engine("llama")
    assert not hasattr(WorkerBase, "spike_counts")
    assert GPUModelRunner._model_forward.__module__ == GPUModelRunner.__module__
    assert GPUModelRunner._execute_mm_encoder.__module__ == GPUModelRunner.__module__
    assert not hasattr(GPUModelRunner._model_forward, "__wrapped__")
    watched = llm.apply_model(
        lambda model: [part.neurons.observers for m in model.modules() for part in getattr(m, "spike_parts", ())]
    )[0]
    assert watched
    assert not any(watched)
    with pytest.raises(InputError, match="additional_config"):
        spike_counts(llm)


@pytest.mark.parametrize("name", ["llama", "llama_groups"])
def test_requests_of_one_batch_have_the_counts_of_load(name: str, engine: Any, cases: Any) -> None:
    """Twelve prompts of mixed lengths, eight at a time."""
    llm, expected = engine(name, **COUNTING), _counted(cases, name)
    assert len(expected) == 12
    found = _run(llm, expected, 12)
    assert [_plain(one) for one in found] == [case["counts"] for case in expected]
    total = spike_counts(llm)
    assert total["spikes"] == sum(one["spikes"] for one in found)
    assert total["tokens"]["text"] == sum(one["tokens"]["text"] for one in found)
    with pytest.raises(InputError, match="'of nobody'"):
        spike_counts(llm, "of nobody")


def test_prompts_in_chunks_have_the_same_counts(engine: Any, cases: Any) -> None:
    llm = engine("llama_groups", **COUNTING, max_num_batched_tokens=16, enable_chunked_prefill=True)
    expected = _counted(cases, "llama_groups")
    assert max(len(case["ids"]) for case in expected) > 16
    assert [_plain(one) for one in _run(llm, expected, 12)] == [case["counts"] for case in expected]


@pytest.mark.parametrize("chunk", [None, 24])
def test_towers_and_rows_of_pictures_have_the_counts_of_load(chunk: int | None, engine: Any, cases: Any) -> None:
    more = {} if chunk is None else {"max_num_batched_tokens": chunk, "disable_chunked_mm_input": False}
    llm, expected = engine("embedded", **COUNTING, mm_processor_cache_gb=0, **more), _counted(cases, "embedded")
    assert any(case["seen"] for case in expected)
    assert not all(case["seen"] for case in expected)
    found = [_plain(one) for one in _run(llm, expected, 6)]
    assert any("vision tower, vision" in one["layers"] for one in found)
    # vLLM's attention and norms round otherwise: a code next to a threshold may be another, and those after it
    others = [(one, case["counts"]) for one, case in zip(found, expected, strict=True) if one != case["counts"]]
    assert len(others) <= len(expected) // 4
    for one, told in others:
        assert one["tokens"] == told["tokens"]
        assert one["layers"].keys() == told["layers"].keys()
        for key, (inputs, spikes, sops) in one["layers"].items():
            assert inputs == told["layers"][key][0]
            assert [spikes, sops] == pytest.approx(told["layers"][key][1:], rel=0.01)


def test_what_was_found_in_the_prefix_cache_fired_nothing(engine: Any, cases: Any) -> None:
    llm = engine("llama", **{**COUNTING, "enable_prefix_caching": True, "block_size": 32})
    ids = [token for case in _counted(cases, "llama") for token in case["ids"]][:40]
    settings = SamplingParams(temperature=0, max_tokens=4, detokenize=False)
    first, again = (
        spike_counts(llm, llm.generate([{"prompt_token_ids": ids}], settings, use_tqdm=False)[0].request_id)["tokens"]
        for _ in range(2)
    )
    assert (first, again) == ({"text": 43}, {"text": 43 - 32})


def test_an_engine_does_not_start_on_words_that_it_does_not_understand(engine: Any, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="spike_counts is true or false, not 'yes'"):  # vLLM wraps it
        engine("llama", additional_config={"spike_counts": "yes"})
