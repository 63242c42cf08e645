"""The neuron's membrane in fixed point, as hardware gets it."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import (
    MAX_TIMESTEPS,
    PerRow,
    along_features,
    check_floating,
    check_timesteps,
    per_row_scale,
)
from spike_compressor.coding.errors import raise_if_non_finite
from spike_compressor.coding.rounding import NEAREST, Rounding

__all__ = ["MAX_FRAC_BITS", "codes_from_membrane", "fixed_membrane"]

MAX_FRAC_BITS = 31 - MAX_TIMESTEPS
"""With more fraction bits, a membrane of 7 timesteps would not fit an int32."""


def _check_frac_bits(frac_bits: int) -> int:
    if isinstance(frac_bits, bool) or not isinstance(frac_bits, int) or not 1 <= frac_bits <= MAX_FRAC_BITS:
        raise ValueError(
            f"frac_bits must be an int from 1 (the half threshold needs one bit) to {MAX_FRAC_BITS}, not {frac_bits!r}"
        )
    return frac_bits


@torch.no_grad()
def fixed_membrane(x: Tensor, scale: float | Tensor, timesteps: PerRow, frac_bits: int) -> Tensor:
    """Membrane drive `sgn(y) * floor(|y| * 2^F)`, `y = x / scale`, clamped to `±(2^(T+F) - 1)`.

    Exact: `y` is the float32 quotient, and a power of two times it is exact in float64. Neither the
    truncated fraction nor the clamp changes the code that follows, if the coding's rounding reads no more than F
    fraction bits: the limits that it has are multiples of `2^-F`, and the largest membrane still has the largest code.

    Args:
        x: floating point [*rows, K]; converted to float32.
        scale: float32 threshold > 0, one number or [*rows] or [*rows, 1].
        timesteps: nominal T in 1 … 7, an int or an integer tensor [*rows].
        frac_bits: F, 1 … 24.

    Returns:
        int32 [*rows, K].

    Raises:
        NonFiniteInputError: `x` holds NaN or infinity.
        ValueError: `frac_bits`, `scale` or `timesteps` out of range, or of a wrong shape.
    """
    frac_bits = _check_frac_bits(frac_bits)
    x = check_floating(x)
    timesteps = check_timesteps(timesteps, x.shape[:-1], x.device)
    y = x.to(torch.float32) / per_row_scale(scale, x)
    if not bool(torch.isfinite(y).all()):
        raise_if_non_finite(x)  # an infinite y of a finite x clips
    # float64 holds every limit, and 2^F times any float32
    limit = torch.as_tensor(along_features(timesteps), dtype=torch.float64, device=x.device)
    limit = torch.ldexp(torch.ones_like(limit), limit.to(torch.int32) + frac_bits) - 1
    membrane = y.to(torch.float64).mul_(2.0**frac_bits).trunc_()
    return membrane.clamp_(-limit, limit).to(torch.int32)


@torch.no_grad()
def codes_from_membrane(membrane: Tensor, timesteps: PerRow, frac_bits: int, rounding: Rounding = NEAREST) -> Tensor:
    """Codes that the neuron fires for a fixed-point membrane, by integers alone.

    The initial potential, `2^(F-1)` where codes are the nearest integers, is added to the magnitude; the bits above the
    fraction are the code, up to `2^T - 1`: `sgn(m) * min((|m| + 2^(F-1)) >> F, 2^T - 1)`.

    Args:
        membrane: integer [*rows, K], of either sign.
        timesteps: nominal T in 1 … 7, an int or an integer tensor [*rows].
        frac_bits: F, 1 … 24; what `rounding` reads at least.
        rounding: of the coding.

    Returns:
        int16 [*rows, K].

    Raises:
        TypeError: `membrane` is not integer.
        ValueError: `frac_bits` or `timesteps` out of range.
    """
    frac_bits = _check_frac_bits(frac_bits)
    if membrane.is_floating_point() or membrane.is_complex() or membrane.dtype == torch.bool:
        raise TypeError(f"membrane must be integers (see fixed_membrane), not {membrane.dtype}")
    timesteps = check_timesteps(timesteps, membrane.shape[:-1], membrane.device)
    wide = membrane.to(torch.int64)  # the magnitude of any int32 fits
    magnitude = rounding.of_membrane(wide.abs(), frac_bits)
    limit = torch.as_tensor(along_features((1 << timesteps) - 1), device=wide.device)
    return (wide.sign() * magnitude.minimum(limit)).to(torch.int16)
