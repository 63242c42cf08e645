"""From real numbers to integer codes: the fused form of the neuron, and the scales of rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spike_compressor.coding.arguments import (
    PerRow,
    along_features,
    as_float32,
    check_integer_rows,
    check_timesteps,
    per_row_scale,
)
from spike_compressor.coding.errors import raise_if_non_finite

__all__ = [
    "absmax_scale",
    "check_zero_point",
    "minmax_scale",
    "quantize_asymmetric",
    "quantize_rows",
    "quantize_to_range",
]

_BELOW_HALF = 0.49999997
"""The largest float32 below 1/2, ``1/2 - 2^-25``."""


@torch.no_grad()
def quantize_rows(
    x: Tensor, scale: float | Tensor, timesteps: PerRow, *, validate: bool = True
) -> tuple[Tensor, int]:
    """Codes of the neuron, without the spikes: ``sgn(y) * min(floor(|y| + 1/2), 2^T - 1)`` with ``y = x / scale``.

    They are the codes of every signed coding, and of an unsigned one with its default zero point.

    Args:
        x: floating point [*rows, K]; computed in float32.
        scale: float32 threshold > 0, one number or [*rows] or [*rows, 1].
        timesteps: nominal T in 1 … 7, an int or an integer tensor [*rows].
        validate: check ``scale`` and refuse NaN and infinity. Without it, such input gives undefined codes.

    Returns:
        codes int8 [*rows, K], and the number of them that saturated.

    Raises:
        NonFiniteInputError: ``x`` holds NaN or infinity.
        ValueError: ``scale`` or ``timesteps`` out of range, or of a wrong shape.
        TypeError: ``x`` is not floating point, or ``timesteps`` not integer.
    """
    x = as_float32(x)
    timesteps = check_timesteps(timesteps, x.shape[:-1], x.device)
    limit = (1 << timesteps) - 1
    return quantize_to_range(x, scale, -limit, limit, torch.int8, validate=validate)


@torch.no_grad()
def quantize_asymmetric(
    x: Tensor, scale: float | Tensor, zero_point: PerRow, timesteps: PerRow, *, validate: bool = True
) -> tuple[Tensor, int]:
    """Codes of an asymmetric quantizer with L = 2^(T+1) levels: ``clamp(round(x / scale), -z, L-1-z)``.

    An asymmetric quantizer stores the level ``u = clamp(round(x / scale) + z, 0, L-1)`` and means
    ``scale * (u - z)``. The code here is ``u - z``: what the accumulation needs, with 0.0 always at code 0. The
    quotient is rounded *before* the integer z is added, half away from zero; so a tie does not depend on z.
    (compressed-tensors adds first and rounds half to even; the two differ on exact ties, and where float32
    cannot hold the sum exactly.)

    Args:
        x: floating point [*rows, K]; computed in float32.
        scale: float32 step > 0, one number or [*rows] or [*rows, 1].
        zero_point: z in 0 … L-1, an int or an integer tensor [*rows]. A signed b-bit quantizer's zero point plus
            ``2^(b-1) = 2^T`` is this z.
        timesteps: nominal T = b - 1 in 1 … 7, an int or an integer tensor [*rows].
        validate: as in :func:`quantize_rows`.

    Returns:
        codes int16 [*rows, K] (up to ±255, they do not fit int8), and the number of them that saturated.

    Raises:
        As :func:`quantize_rows`; ValueError and TypeError for ``zero_point`` too.
    """
    x = as_float32(x)
    timesteps = check_timesteps(timesteps, x.shape[:-1], x.device)
    z = check_zero_point(zero_point, timesteps, x.shape[:-1], x.device)
    return quantize_to_range(x, scale, -z, (2 << timesteps) - 1 - z, torch.int16, validate=validate)


def check_zero_point(value: PerRow, timesteps: PerRow, rows: torch.Size, device: torch.device) -> PerRow:
    """``value`` as an int or an int32 tensor [*rows], every one in 0 … L-1, for checked ``timesteps``.

    Raises:
        TypeError, ValueError: not integers; out of range or of a wrong shape.
    """
    z = check_integer_rows(value, "zero_point", rows, device)
    last = (2 << timesteps) - 1
    fits = (z >= 0) & (z <= last) if isinstance(z, Tensor) or isinstance(last, Tensor) else 0 <= z <= last
    if not (bool(fits.all()) if isinstance(fits, Tensor) else fits):
        raise ValueError(
            "zero_point must be in 0 … 2^(T+1) - 1; to that of a signed b-bit quantizer add 2^(b-1) = 2^T"
        )
    return z


def quantize_to_range(
    x: Tensor, scale: float | Tensor, low: PerRow, high: PerRow, dtype: torch.dtype, *, validate: bool
) -> tuple[Tensor, int]:
    """``clamp(round_half_away(x / scale), low, high)`` in as few passes over memory as PyTorch allows.

    Args:
        x: float32 [*rows, K].
        scale: as :func:`per_row_scale` takes it.
        low, high: limits with ``low <= 0 <= high``, each an int or an int32 tensor [*rows].
        dtype: of the codes.

    Returns:
        codes [*rows, K], and how many were clamped.

    Raises:
        As :func:`quantize_rows`.
    """
    y = x / per_row_scale(scale, x, validate=validate)
    if y.numel() == 0:
        return y.to(dtype), 0

    # Extremes of each row (of everything where the limits are everyone's) say whether anything is NaN, infinite or
    # beyond its limit; in the usual case nothing is, and three passes are saved.
    one_range = isinstance(low, int) and isinstance(high, int)
    top = y.amax() if one_range else y.amax(dim=-1, keepdim=True)
    bottom = y.amin() if one_range else y.amin(dim=-1, keepdim=True)
    low, high = along_features(low), along_features(high)
    inside = bool(((top < high + 0.5) & (bottom > low - 0.5)).all())  # False for NaN
    if not inside and validate:
        raise_if_non_finite(x)  # y may be infinite where x is not: that saturates

    # Round half away from zero by truncation. Adding 1/2 in float32 would round 0.49999997 + 0.5 up to 1; its lower
    # neighbour does not, and still carries every k + 1/2 to k + 1: the sum is short of it by 2^-25, at most half
    # the distance to the float32 below k + 1, and a tie goes to the even one, k + 1.
    y.add_(y.sign(), alpha=_BELOW_HALF)
    saturated = 0
    if not inside:
        # Comparisons into float32 and row sums of it are vectorised, those into bool are not; a row sum is exact.
        beyond = torch.ge(y, high + 1, out=torch.empty_like(y)).add_(y <= low - 1)
        saturated = int(beyond.sum(dim=-1).sum(dtype=torch.float64))
        y = torch.minimum(torch.maximum(y, _like(low, y)), _like(high, y))
    return y.to(dtype), saturated


def _like(limit: PerRow, y: Tensor) -> Tensor:
    return torch.as_tensor(limit, dtype=y.dtype, device=y.device)


@torch.no_grad()
def absmax_scale(
    x: Tensor, timesteps: PerRow, ratio: float | Tensor = 1.0, *, validate: bool = True
) -> Tensor:
    """Dynamic threshold of every row: ``(ratio * absmax) / (2^T - 1)``.

    Exactly: ``ratio`` in float32, times ``absmax`` in float32 (an overflow becomes the largest finite float32),
    divided by ``2^T - 1`` in float32; one IEEE rounding each. A row of zeros has scale 1, and so has a row so
    small that the quotient is 0.

    Args:
        x: floating point [*rows, K]; converted to float32.
        timesteps: nominal T in 1 … 7, an int or an integer tensor [*rows].
        ratio: 0 < ratio <= 2, one number or a tensor [*rows]. Below 1 the largest inputs saturate, above 1 fewer
            spikes fire.
        validate: refuse NaN and infinity, and check a ``ratio`` that is a tensor.

    Returns:
        float32 [*rows].

    Raises:
        NonFiniteInputError: ``x`` holds NaN or infinity.
        ValueError: ``ratio`` or ``timesteps`` out of range.
    """
    x = as_float32(x)
    rows = x.shape[:-1]
    timesteps = check_timesteps(timesteps, rows, x.device)
    factor = _check_ratio(ratio, rows, x.device, validate=validate)
    if x.numel() == 0:
        return torch.ones(rows, dtype=torch.float32, device=x.device)
    # two reductions are faster than one aminmax with a dim, and need no buffer as abs would
    absmax = torch.maximum(x.amax(dim=-1), x.amin(dim=-1).neg_())
    if validate and not bool(torch.isfinite(absmax).all()):
        raise_if_non_finite(x)
    levels = torch.as_tensor((1 << timesteps) - 1, dtype=torch.float32, device=x.device).reshape(
        (1,) * len(rows) if isinstance(timesteps, int) else rows
    )
    scale = absmax.mul_(factor).clamp_(max=torch.finfo(torch.float32).max).div_(levels)
    return scale.masked_fill_(scale == 0, 1.0)


def _check_ratio(ratio: float | Tensor, rows: torch.Size, device: torch.device, *, validate: bool) -> Tensor:
    if isinstance(ratio, Tensor) and ratio.numel() > 1:
        if ratio.shape != rows:
            raise ValueError(f"ratio has shape {list(ratio.shape)}, but there is one row for each of {list(rows)}")
        factor = ratio.detach().to(device=device, dtype=torch.float32)
        if validate and not bool(((factor > 0) & (factor <= 2)).all()):
            raise ValueError("ratio must be above 0 and at most 2 in every row")
        return factor
    value = float(ratio)
    if not (math.isfinite(value) and 0 < value <= 2):
        raise ValueError(f"ratio must be above 0 and at most 2, not {value:g}")
    return torch.full((1,) * len(rows), value, dtype=torch.float32, device=device)


@torch.no_grad()
def minmax_scale(x: Tensor, timesteps: PerRow, *, validate: bool = True) -> tuple[Tensor, Tensor]:
    """Dynamic step and zero point of every row, for asymmetric quantization with L = 2^(T+1) levels.

    With ``low = min(row, 0)`` and ``high = max(row, 0)``, each operation rounded once in float32::

        scale = high / (L-1) - low / (L-1)        z = round_half_away(-low / scale), at most L-1

    (divided before the subtraction, so that the range of a row never overflows). Zero is always a level. A row
    of zeros has scale 1 and z = 0, and so has a row whose scale underflows to 0.

    Args:
        x: floating point [*rows, K]; converted to float32.
        timesteps: nominal T in 1 … 7, an int or an integer tensor [*rows].
        validate: refuse NaN and infinity.

    Returns:
        scale float32 [*rows] and zero point int32 [*rows], as :func:`quantize_asymmetric` takes them.

    Raises:
        NonFiniteInputError: ``x`` holds NaN or infinity.
        ValueError: ``timesteps`` out of range.
    """
    x = as_float32(x)
    rows = x.shape[:-1]
    timesteps = check_timesteps(timesteps, rows, x.device)
    if x.numel() == 0:
        scale = torch.ones(rows, dtype=torch.float32, device=x.device)
        return scale, torch.zeros(rows, dtype=torch.int32, device=x.device)
    low, high = x.amin(dim=-1).clamp_(max=0), x.amax(dim=-1).clamp_(min=0)
    if validate and not bool(torch.isfinite(low - low + (high - high)).all()):
        raise_if_non_finite(x)
    last = torch.as_tensor((2 << timesteps) - 1, dtype=torch.float32, device=x.device)
    last = last.reshape((1,) * len(rows) if isinstance(timesteps, int) else rows).expand(rows)
    scale = high / last - low / last
    scale = scale.masked_fill_(scale == 0, 1.0)
    z = low.neg_().div_(scale).add_(_BELOW_HALF).minimum(last).floor_()
    return scale, z.to(torch.int32)
