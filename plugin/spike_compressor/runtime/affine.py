"""Linears of a class of their own: whether they compute what a Linear does, since that is what the neuron computes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def not_affine(linears: Mapping[str, nn.Linear]) -> dict[str, str]:
    """The modules for whose `forward` the neuron, which computes x W^T + b, cannot stand, and why.

    A class that inherits `forward` needs no look. One that has its own (Falcon's Linears, or a router, which also picks
    the largest outputs) is called with random weights, once for all modules of equal settings, and what comes out is
    compared.

    Args:
        linears: modules by name; their parameters are not touched.
    """
    verdicts: dict[Any, str | None] = {}
    reasons: dict[str, str] = {}
    for name, linear in linears.items():
        if type(linear).forward is nn.Linear.forward:
            continue
        settings = {key: value for key, value in vars(linear).items() if isinstance(value, (int, float, str))}
        key = type(linear), linear.bias is None, tuple(sorted(settings.items()))
        if key not in verdicts:
            verdicts[key] = _why_not(linear)
        reason = verdicts[key]
        if reason is not None:
            reasons[name] = reason
    return reasons


def _why_not(linear: nn.Linear) -> str | None:
    kind = type(linear).__name__
    x, weight, bias = _drawn(2, 3, linear.in_features), _drawn(linear.out_features, linear.in_features), None
    if linear.bias is not None:
        bias = _drawn(linear.out_features)
    twin = copy.copy(linear)  # whatever the class keeps beside its parameters is there
    twin.__dict__["_parameters"] = {"weight": weight, "bias": bias}
    try:
        with torch.no_grad():
            output = type(linear).forward(twin, x)
    except Exception as error:  # it wants something else than rows
        return f"a {kind} does not take rows as a Linear does ({type(error).__name__}: {error})"
    expected = functional.linear(x, weight, bias)
    if not isinstance(output, Tensor) or output.shape != expected.shape:
        return f"a {kind} gives something else than a Linear does"
    if not torch.allclose(output.to(torch.float32), expected, rtol=1e-3, atol=1e-3):
        return f"a {kind} computes something else than a Linear does"
    return None


def _drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))
