"""Experts as Linears and as one parameter for all of a layer, from one to the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from llmcompressor.modeling.moe.linear_experts import LinearExperts2D
from llmcompressor.modeling.moe.linearize import get_linearized_moes, get_non_linearized_moes
from llmcompressor.modeling.moe.llama4 import Llama4LinearExperts
from llmcompressor.utils.dev import skip_weights_initialize
from torch import nn


@torch.no_grad()
def split(model: Any) -> None:
    """Make Linears of stacked experts: `linearize_moe`, on the meta device, too, and without offloading.

    Args:
        model: changed in place; one without stacked experts stays as it is.
    """
    for name, module in get_non_linearized_moes(model):
        kind = LinearExperts2D.get_linear_experts_cls(type(module))
        config = getattr(module, "config", model.config)
        stacked = dict(module.named_parameters(recurse=False))
        like = stacked["down_proj"]
        with skip_weights_initialize(), like.device:
            if issubclass(kind, Llama4LinearExperts):
                made = kind(module.num_experts, module.hidden_size, module.expert_dim, config.get_text_config())
            else:
                made = kind(config)
        made = made.to(like.dtype).train(module.training)
        if like.device.type != "meta":
            source = SimpleNamespace(is_transposed=kind.is_transposed, has_bias=kind.has_bias, **stacked)
            for index in range(made.num_experts):
                made[index].copy_from_experts_module(source, index)
        made._source_experts_cls, made._source_config = type(module), config  # for LLM Compressor's `repack_moe`
        model.set_submodule(name, made)


@contextlib.contextmanager
def stacked(model: Any) -> Iterator[None]:
    """Within the block the experts of each layer are one module of parameters, as transformers has them."""
    experts = dict(get_linearized_moes(model))
    try:
        for name, module in experts.items():
            model.set_submodule(name, _stack(module))
        yield
    finally:
        for name, module in experts.items():
            model.set_submodule(name, module)


@torch.no_grad()
def _stack(experts: LinearExperts2D) -> nn.Module:
    """The parameters of the module that `experts` were split from.

    Where each weight goes is found by splitting a module whose weights are numbered: it is the inverse of splitting,
    whatever that does in an architecture (halves, turns, transposed).
    """
    first: Any = experts[0]
    inner, outer = first.up_proj.weight.shape
    up = "gate_up_proj" if experts.has_gate else "up_proj"
    width = 2 * inner if experts.has_gate else inner
    shapes: dict[str, tuple[int, ...]] = {
        up: (outer, width) if experts.is_transposed else (width, outer),
        "down_proj": (inner, outer) if experts.is_transposed else (outer, inner),
    }
    if experts.has_bias:
        shapes |= {f"{up}_bias": (width,), "down_proj_bias": (outer,)}
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    numbers = torch.arange(sum(sizes), dtype=torch.float64).split(sizes)
    numbered = {key: part.reshape(1, *shape) for (key, shape), part in zip(shapes.items(), numbers, strict=True)}
    scratch = type(first)(outer, inner, experts.has_bias, None, torch.float64)
    scratch.copy_from_experts_module(
        SimpleNamespace(is_transposed=experts.is_transposed, has_bias=experts.has_bias, **numbered), 0
    )
    places = {name: parameter.long().flatten() for name, parameter in scratch.named_parameters()}
    stacked = nn.Module()
    count = sum(isinstance(child, type(first)) for child in experts)
    for key, shape in shapes.items():
        empty = torch.empty(count, *shape, dtype=first.up_proj.weight.dtype, device=first.up_proj.weight.device)
        stacked.register_parameter(key, nn.Parameter(empty, requires_grad=False))
    for index in range(count):
        flat = first.up_proj.weight.new_empty(sum(sizes))
        own = dict(experts[index].named_parameters())
        for name, place in places.items():
            flat[place.to(flat.device)] = own[name].flatten()
        for (key, shape), part in zip(shapes.items(), flat.split(sizes), strict=True):
            getattr(stacked, key)[index] = part.reshape(shape)
    return stacked
