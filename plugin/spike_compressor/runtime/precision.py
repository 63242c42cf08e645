"""Arithmetic that mixed precision around a model does not reach."""

from __future__ import annotations

import contextlib
from typing import Any

import torch


def is_autocast(device: torch.device) -> bool:
    """Whether autocast is on for tensors of this device."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Within the block `torch.autocast` is off on this device.

    Autocast hands the operands of matrix products to bfloat16 or float16 kernels: their products of integers stay
    exact, but the sums are returned with 8 or 11 bits. The switches of `torch.backends` and
    `torch.set_float32_matmul_precision` do no such harm: they shorten the operands of float32 products (TF32, bfloat16)
    and sum in float32, and codes and weights of 8 bits fit.
    """
    if is_autocast(device):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()
