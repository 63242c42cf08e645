"""Models that vLLM compiles, where spiking layers are operations that stay as they are: the answers of `load`."""

from __future__ import annotations

import sys
from typing import Any

import pytest

pytest.importorskip("vllm")

import torch
from spike_compressor.demo.data import items
from spike_compressor.integrations.vllm import experts, linear, opaque, rows, spike_counts
from vllm import SamplingParams
from vllm.config import CompilationMode

PER_KIND = 34  # as in checkpoints.py
COMPILED = {"enforce_eager": False, "additional_config": {"spike_counts": True}}


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_kept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """vLLM and inductor keep what they compiled; here it is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CACHE_ROOT", str(tmp_path_factory.mktemp("vllm")))
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


def _tokens(llm: Any, prompts: list[Any], count: int) -> list[list[int]]:
    settings = SamplingParams(temperature=0, max_tokens=count, detokenize=False)
    return [list(made.outputs[0].token_ids) for made in llm.generate(prompts, settings, use_tqdm=False)]


def _is_compiled(llm: Any) -> bool:
    return llm.llm_engine.vllm_config.compilation_config.mode not in (None, CompilationMode.NONE)


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the layers whose operation runs in a compiled graph, one after the other."""
    ran: list[str] = []

    def spy(method: Any, name: str, operation: Any) -> None:
        outputs = method.outputs

        def spied(self: Any, layer: Any, *args: Any) -> torch.Tensor:
            if sys._getframe(1).f_code is operation.__code__:
                ran.append(getattr(layer, name))
            made: torch.Tensor = outputs(self, layer, *args)
            return made

        monkeypatch.setattr(method, "outputs", spied)

    spy(linear.SpikeLinearMethod, "prefix", opaque._outputs)
    spy(experts.SpikeExpertsMethod, "layer_name", opaque._of_experts)
    return ran


#: Of two layers: q/k/v, o, gate/up and down; or the experts in place of the latter, and a shared one with its own gate.
#: Mixtral comes first: vLLM makes a process's groups for its first engine, and Mixtral asks for one that others lack.
OPERATIONS = {"mixtral": 6, "qwen2_moe": 12, "llama_groups": 8, "llama": 8}


@pytest.mark.parametrize("name", OPERATIONS)
def test_greedy_tokens_of_a_compiled_model_are_those_of_load(
    name: str, engine: Any, cases: Any, operations: list[str]
) -> None:
    llm, expected = engine(name, **COMPILED), cases(name)
    assert _is_compiled(llm)
    prompts = [{"prompt_token_ids": case["ids"]} for case in expected]
    operations.clear()
    assert _tokens(llm, prompts, 12) == [case["tokens"] for case in expected]
    assert len(set(operations)) == OPERATIONS[name]


def test_rows_of_pictures_are_known_in_a_compiled_model(engine: Any, cases: Any, operations: list[str]) -> None:
    """The mask is looked for when a graph runs: prompts of all lengths, pictures in four of five."""
    llm, expected = engine("embedded", **COMPILED), cases("embedded")[:100]
    assert _is_compiled(llm)
    asked = items("test", PER_KIND)
    prompts = [
        {"prompt": case["text"]}
        | ({"multi_modal_data": {"image": asked[case["number"]].image}} if case["seen"] else {})
        for case in expected
    ]
    operations.clear()
    assert _tokens(llm, prompts, 6) == [case["tokens"] for case in expected]
    assert {name.split(".")[-1] for name in operations} == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}
    assert spike_counts(llm)["tokens"]["vision"] > 0


def test_a_compiled_model_can_fail_these_tests(engine: Any, cases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    llm, expected = engine("embedded", **COMPILED), cases("embedded")[:60]
    make = rows.rows_of_mask
    monkeypatch.setattr(rows, "rows_of_mask", lambda mask, tokens: make(None, tokens))
    llm.reset_prefix_cache()
    asked = items("test", PER_KIND)
    prompts = [
        {"prompt": case["text"], "multi_modal_data": {"image": asked[case["number"]].image}}
        for case in expected
        if case["seen"]
    ]
    assert _tokens(llm, prompts, 6) != [case["tokens"] for case in expected if case["seen"]]
    llm.reset_prefix_cache()
