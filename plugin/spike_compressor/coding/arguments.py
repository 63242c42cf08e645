"""Checks and normal forms of the arguments that all of this folder's functions share."""

from __future__ import annotations

import math
import operator
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = [
    "MAX_TIMESTEPS",
    "MOST_TIMESTEPS",
    "PerRow",
    "along_features",
    "check_floating",
    "check_integer_rows",
    "check_timesteps",
    "per_row_scale",
]

MAX_TIMESTEPS = 7
"""Codes of 7 nominal timesteps, |q| <= 127, are the largest that an int8 holds: the most where inputs are rounded."""
MOST_TIMESTEPS = 8
"""No coding has more."""

PerRow: TypeAlias = int | Tensor
"""An int for all rows, or an int32 tensor [*rows]."""

_INTEGER_TYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_integer_rows(value: PerRow, name: str, rows: torch.Size, device: torch.device) -> PerRow:
    """`value` as an int, or as an int32 tensor [*rows] on `device`.

    Anything that has `__index__` is an int, a 0-dimensional tensor included.

    Raises:
        TypeError: not integers.
        ValueError: a tensor of another shape than `rows`.
    """
    if isinstance(value, bool) or (isinstance(value, Tensor) and value.dtype not in _INTEGER_TYPES):
        kind = value.dtype if isinstance(value, Tensor) else "bool"
        raise TypeError(f"{name} must be an int or an integer tensor, not {kind}")
    if not isinstance(value, Tensor) or value.ndim == 0:
        try:
            return operator.index(value)
        except TypeError:
            kind = type(value).__name__
            raise TypeError(f"{name} must be an int or an integer tensor, not {kind}") from None
    if value.shape != rows:
        raise ValueError(
            f"{name} has shape {list(value.shape)}, but there is one row for each of {list(rows)}: "
            f"give one int, or one per row"
        )
    return value.to(device=device, dtype=torch.int32)


def check_timesteps(timesteps: PerRow, rows: torch.Size, device: torch.device, longest: int = MAX_TIMESTEPS) -> PerRow:
    """Nominal timesteps T as an int, or as an int32 tensor [*rows], every one in 1 … `longest`.

    Raises:
        TypeError: not integers.
        ValueError: out of range, or a tensor of another shape than `rows`.
    """
    checked = check_integer_rows(timesteps, "timesteps", rows, device)
    if isinstance(checked, int):
        low = high = checked
    elif checked.numel() == 0:
        return checked
    else:
        low, high = (int(bound) for bound in torch.aminmax(checked))
    if low < 1 or high > longest:
        wrong = low if low < 1 else high
        raise ValueError(f"timesteps must be 1 to {longest}, not {wrong}")
    return checked


def along_features(value: PerRow) -> PerRow:
    """`value` as it broadcasts against [*rows, K]: a tensor gets its trailing dimension."""
    return value if isinstance(value, int) else value.unsqueeze(-1)


def check_floating(x: Tensor) -> Tensor:
    """`x` detached.

    Raises:
        TypeError: not a floating point tensor.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a floating point tensor, not {kind}; integers go to spikes_from_codes")
    return x.detach()


def per_row_scale(scale: float | Tensor, x: Tensor, *, validate: bool = True) -> Tensor:
    """`scale` in float32, on the device of `x` and shaped to divide `x` [*rows, K].

    It is always a tensor with a dimension: PyTorch divides a CUDA tensor by a Python number (or by a
    0-dimensional CPU tensor) as a multiplication with the reciprocal, whose last bit is not the quotient's.

    Raises:
        ValueError: a shape that is neither one number nor one per row, or (`validate`) a scale that is not a
            positive finite float32.
    """
    if isinstance(scale, Tensor):
        scale = scale.detach().to(device=x.device, dtype=torch.float32)
    else:
        scale = torch.tensor([float(scale)], dtype=torch.float32, device=x.device)
    rows = x.shape[:-1]
    if scale.numel() == 1:
        scale = scale.reshape(1)
    elif scale.shape == rows:
        scale = scale.unsqueeze(-1)
    elif scale.shape != (*rows, 1):
        raise ValueError(
            f"scale has shape {list(scale.shape)}, but x has shape {list(x.shape)}: "
            f"give one number, or one per row ({list(rows)} or {[*rows, 1]})"
        )
    if validate and scale.numel():
        low, high = (float(bound) for bound in torch.aminmax(scale))
        if not (low > 0 and math.isfinite(high)):
            raise ValueError(
                f"scale must be positive and finite in float32, but it goes from {low:g} to {high:g}; "
                "a row of zeros has scale 1"
            )
    return scale
