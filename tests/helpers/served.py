"""A checkpoint in vLLM held against what `spike_compressor.load` made of it (`integrations/vllm/checkpoints.py`)."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor


def prompts(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What vLLM is asked: ids, and pictures where the case has some."""
    asked: list[dict[str, Any]] = []
    for case in cases:
        asked.append({"prompt_token_ids": case["ids"]})
        if case.get("pictures"):
            asked[-1]["multi_modal_data"] = {"image": [Image.open(one) for one in case["pictures"]]}
    return asked


#: A logit is the end of about a hundred float32 operations, each of which rounds to 2^-24 of numbers of its size.
ROUNDINGS = 100


def tokens(made: list[Any]) -> list[list[int]]:
    """The tokens of vLLM's outputs."""
    return [list(one.outputs[0].token_ids) for one in made]


def compare_logits(made: list[Any], cases: list[dict[str, Any]], path: Path, least: int = 100) -> Tensor:
    """Hold every logit of each step of each prompt against `load`'s, and print a line about it.

    Once a token differs the two go on with different texts, so steps after that one are left out.

    Args:
        made: vLLM's outputs, with `logprobs_mode="raw_logits"` and `logprobs=-1`.
        cases: prompts and tokens of `load`.
        path: of its logits.
        least: more steps than these have to be compared; fewer are where texts are to part.

    Returns:
        Of each step the largest difference, in float32 roundings of the largest logit of all.
    """
    expected = load_file(path)
    pairs = []
    for number, (one, case) in enumerate(zip(made, cases, strict=True)):
        same = itertools.takewhile(
            lambda pair: pair[0] == pair[1], zip(one.outputs[0].token_ids, case["tokens"], strict=False)
        )
        kept = expected[str(number)][: len(list(same)) + 1]
        steps = one.outputs[0].logprobs[: len(kept)]
        found = [[step[token].logprob for token in range(kept.shape[1])] for step in steps]
        pairs.append((torch.tensor(found), kept))
    return _roundings(pairs, path.stem, least)


def compare_in_one_pass(folder: Path, name: str, least: int = 100) -> Tensor:
    """The same of two ways in which `load` computes one model: what rounding of floats alone does to it."""
    found, expected = load_file(folder / f"{name}.again.safetensors"), load_file(folder / f"{name}.logits.safetensors")
    return _roundings([(found[number], kept) for number, kept in expected.items()], f"{name}, load in one pass", least)


def _roundings(pairs: list[tuple[Tensor, Tensor]], what: str, least: int) -> Tensor:
    differences = torch.cat([(found - kept).abs().amax(-1) for found, kept in pairs])
    largest = max(float(kept.abs().max()) for _, kept in pairs)
    roundings = differences / (largest * 2**-24)
    assert len(roundings) > least
    print(
        f"\nLOGITS {what}: {len(roundings)} steps of {pairs[0][1].shape[1]}, up to {largest:.3g}; "
        f"largest difference of a step: {differences.median():.2g} in the median, {differences.max():.2g} at most; "
        f"within {ROUNDINGS} roundings: {int((roundings <= ROUNDINGS).sum())} steps"
    )
    return roundings


def _of_part(module: Any, part: Any, x: Tensor) -> Tensor:
    """What one part of a layer of vLLM's gives, by the layer's own method."""
    whole: Tensor = module.quant_method.apply(module, x, module.bias)
    return whole[:, part.rows]


def compare_layers(llm: Any, path: Path) -> list[str]:
    """Give each layer of an engine the inputs that `load`'s had, with the modality of their rows.

    Args:
        llm: the engine, in this process.
        path: of what the layers were given and gave.

    Returns:
        Names of the layers that were compared.

    Raises:
        AssertionError: other outputs; names the layer.
    """
    from spike_compressor.integrations.vllm import rows
    from spike_compressor.modality import VISION
    from vllm.config import set_current_vllm_config
    from vllm.forward_context import get_forward_context, set_forward_context

    kept, config = load_file(path), llm.llm_engine.vllm_config
    mask: Tensor | None = kept["modality"] == VISION if "modality" in kept else None

    @contextlib.contextmanager
    def step() -> Iterator[None]:
        with set_current_vllm_config(config), set_forward_context({}, config):
            if mask is not None:
                get_forward_context().additional_kwargs[rows.KEY] = rows.rows_of_mask(mask, mask.numel())
            yield

    def same(part: Any, outputs: Callable[[Tensor], Tensor]) -> list[str]:
        first = 0
        for shard in part.shards:
            x, expected = kept[f"{shard.name}.input"], kept[f"{shard.name}.output"]
            with step():
                out = outputs(x)
            assert torch.equal(out[:, first : first + expected.shape[1]], expected), shard.name
            first += expected.shape[1]
        return [shard.name for shard in part.shards]

    def compare(model: torch.nn.Module) -> list[str]:
        seen: list[str] = []
        for module in model.modules():
            for part in getattr(module, "spike_parts", ()):
                seen += same(part, functools.partial(_of_part, module, part))
            for expert in getattr(module, "spike_experts", ()):
                for part in expert.parts:
                    seen += same(part, functools.partial(part.outputs, bias=None))
            if hasattr(module, "spike_experts"):
                (name,) = {one.rpartition(".experts.")[0] for one in seen[-3:]}
                x, weights, chosen, expected = (
                    kept[f"{name}.experts.{what}"] for what in ("rows", "weights", "chosen", "sums")
                )
                with step():
                    assert torch.equal(module.quant_method.apply(module, x, weights, chosen), expected), name
        return seen

    seen = llm.apply_model(compare)[0]
    assert {f"{one}.input" for one in seen} == {key for key in kept if key.endswith(".input")}
    return seen
