"""Two processes of tensor parallelism compute what one does: the same tokens and bits; and what fires counts once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("vllm")

import torch
from helpers import served
from safetensors.torch import load_file
from spike_compressor.integrations.vllm import spike_counts
from vllm import SamplingParams

NUMBERS = ("inputs", "spikes", "sops")
TWO = {"tensor_parallel_size": 2, "distributed_executor_backend": "mp"}


@pytest.fixture
def two_processes(engine: Any) -> Iterator[Callable[..., Any]]:
    """An engine of two processes, which end with the test."""
    made: list[Any] = []

    def of(name: str, **more: Any) -> Any:
        made.append(engine(name, **TWO, **more))
        return made[-1]

    yield of
    for one in made:
        one.llm_engine.engine_core.shutdown()


@pytest.fixture(autouse=True)
def _functions_reach_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")


def _require_tokens_and_counts(llm: Any, expected: list[dict[str, Any]]) -> None:
    settings = SamplingParams(temperature=0, max_tokens=12, detokenize=False)
    answers = llm.generate(served.prompts(expected), settings, use_tqdm=False)
    assert served.tokens(answers) == [case["tokens"] for case in expected]
    for made, case in zip(answers, expected, strict=True):
        counts = spike_counts(llm, made.request_id)
        layers = {f"{one['kind']}, {one['modality']}": [one[key] for key in NUMBERS] for one in counts["layers"]}
        assert {"tokens": counts["tokens"], "layers": layers} == case["counts"]


@pytest.mark.parametrize("name", ["llama", "llama_groups", "llama_rotated"])
def test_two_processes_give_what_one_gives(name: str, two_processes: Any, cases: Any, checkpoint: Any) -> None:
    llm = two_processes(name, additional_config={"spike_counts": True})
    _require_tokens_and_counts(llm, cases(name))
    path = str(checkpoint(name).parent / f"{name}.layers.safetensors")

    def row_parallel(worker: Any) -> dict[str, torch.Tensor]:
        """What this process adds to the outputs of layers whose inputs are split."""
        from safetensors.torch import load_file  # it runs in a worker, which does not know this file

        kept, made = load_file(path), {}
        for module in worker.get_model().modules():
            if getattr(module, "spike_split", False):
                layer = module.spike_parts[0].shards[0].name
                x = kept[f"{layer}.input"].chunk(module.tp_size, dim=-1)[module.tp_rank].contiguous()
                made[layer] = module.quant_method.apply(module, x, None)
        return made

    kept, (one, other) = load_file(path), llm.collective_rpc(row_parallel)
    assert len(one) == 4  # o_proj and down_proj of two layers
    for layer, part in one.items():
        assert torch.equal(part + other[layer], kept[f"{layer}.output"]), layer


@pytest.mark.parametrize("name", ["mixtral", "qwen2_moe", "qwen3_moe"])
def test_two_processes_share_each_expert(name: str, two_processes: Any, cases: Any, checkpoint: Any) -> None:
    llm = two_processes(name, additional_config={"spike_counts": True})
    _require_tokens_and_counts(llm, cases(name))
    path = str(checkpoint(name).parent / f"{name}.layers.safetensors")

    def sums(worker: Any) -> dict[str, torch.Tensor]:
        """What this process adds to the sums of experts."""
        from safetensors.torch import load_file  # it runs in a worker, which does not know this file

        kept, made = load_file(path), {}
        for module in worker.get_model().modules():
            if hasattr(module, "spike_experts"):
                layer = module.spike_experts[0].down.shards[0].name.removesuffix(".0.down_proj")
                x, weights, chosen = (kept[f"{layer}.{what}"] for what in ("rows", "weights", "chosen"))
                made[layer] = module.quant_method.apply(module, x, weights, chosen)
        return made

    kept, (one, other) = load_file(path), llm.collective_rpc(sums)
    assert len(one) == 2
    for layer, part in one.items():
        assert torch.equal(part + other[layer], kept[f"{layer}.sums"]), layer


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "llava"])
def test_two_processes_know_rows_of_pictures(name: str, two_processes: Any, cases: Any) -> None:
    """The vision tower is split, too; its fused weights are cut between q, k and v."""
    expected = cases(name)[:12]
    settings = SamplingParams(temperature=0, max_tokens=12, detokenize=False)
    made = two_processes(name).generate(served.prompts(expected), settings, use_tqdm=False)
    assert served.tokens(made) == [case["tokens"] for case in expected]
