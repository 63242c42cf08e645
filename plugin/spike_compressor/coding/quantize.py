"""From real numbers to integer codes: the fused form of the neuron, and the scales of rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spike_compressor.coding.arguments import (
    PerRow,
    along_features,
    check_floating,
    check_integer_rows,
    check_timesteps,
    per_row_scale,
)
from spike_compressor.coding.base import Coding, get_coding, rows_of
from spike_compressor.coding.blocks import as_table, row_blocks, row_extremes
from spike_compressor.coding.errors import raise_if_non_finite
from spike_compressor.coding.rounding import BELOW_HALF, NEAREST, Rounding
from spike_compressor.coding.statistics import get_statistic

__all__ = [
    "absmax_scale",
    "asymmetric_scale",
    "check_zero_point",
    "clipped",
    "codes_of",
    "magnitude_codes",
    "quantize_rows",
    "row_scale",
]


@torch.no_grad()
def quantize_rows(
    x: Tensor,
    scale: float | Tensor,
    timesteps: PerRow,
    coding: str = "tc_lif",
    *,
    zero_point: PerRow | None = None,
    silenced: Tensor | None = None,
    validate: bool = True,
) -> tuple[Tensor, int]:
    """The codes of `encode`, without spikes: the fast path of fused execution.

    `sgn(y) * min(floor(|y| + 1/2), 2^T - 1)` with `y = x / scale` in float32 for every coding that rounds to nearest
    integers; others have a `Coding.rounding` of their own, and those that see groups of inputs choose codes in their
    own way (`Coding.quantize`).

    Only an asymmetric quantizer's zero point z, for an unsigned coding, changes that. Such a quantizer has
    L = 2^(T+1) levels `u = clamp(round(y) + z, 0, L-1)` that stand for `scale * (u - z)`. The code is
    `u - z`, which is what the accumulation needs, and 0.0 is always code 0. `y` is rounded, half away
    from zero, *before* the integer z is added, so that a tie does not depend on z. (compressed-tensors adds
    first and rounds half to even: its levels differ at exact ties, and where float32 has to round the sum.)

    Args:
        x: floating point [*rows, K]; converted to float32.
        scale: float32 threshold > 0, one number or [*rows] or [*rows, 1].
        timesteps: nominal T in 1 … 7, an int or an integer tensor [*rows].
        coding: a name of `available_codings`.
        zero_point: as in `encode`.
        silenced: as in `encode`.
        validate: check `scale`, and refuse NaN and infinity. Without it, such input gives undefined codes.

    Returns:
        codes [*rows, K], int8, or int16 where they need it (with a zero point, or in a coding of larger codes); and how
        many of them saturated.

    Raises:
        NonFiniteInputError: `x` holds NaN or infinity.
        ValueError: as `encode`.
        TypeError: as `encode`.
    """
    codec = get_coding(coding)
    x = check_floating(x)
    timesteps = check_timesteps(timesteps, x.shape[:-1], x.device, codec.max_timesteps)
    zero_point = check_zero_point(codec, zero_point, timesteps, x)
    return codes_of(codec, x, scale, timesteps, zero_point, silenced, validate=validate)


@torch.no_grad()
def clipped(
    x: Tensor,
    scale: float | Tensor,
    timesteps: PerRow,
    coding: str = "tc_lif",
    *,
    zero_point: PerRow | None = None,
) -> Tensor:
    """Where the nearest integers lie beyond the range of the codes of `quantize_rows`: what it counts as saturated.

    Args:
        x: as `quantize_rows` took it, which has checked it and the others.
        scale: likewise.
        timesteps: likewise.
        coding: likewise.
        zero_point: likewise.

    Returns:
        bool [*rows, K].
    """
    codec = get_coding(coding)
    checked = check_timesteps(timesteps, x.shape[:-1], x.device, codec.max_timesteps)
    low, high = (along_features(limit) for limit in codec.code_range(checked, zero_point))
    y = x.detach().to(torch.float32) / per_row_scale(scale, x, validate=False)
    y.add_(y.sign(), alpha=BELOW_HALF)
    return (y >= high + 1) | (y <= low - 1)


def check_zero_point(codec: Coding, value: PerRow | None, timesteps: PerRow, like: Tensor) -> PerRow | None:
    """`value` as None, an int, or an int32 tensor [*rows], every one in 0 … L-1.

    Args:
        codec: the coding it is for.
        value: what the caller gave.
        timesteps: checked T.
        like: a tensor [*rows, K], for the shape and the device.

    Raises:
        TypeError: not integers.
        ValueError: out of range, of a wrong shape, or given for a signed coding.
    """
    if value is None:
        return None
    if codec.signed:
        raise ValueError(f"coding {codec.name!r} has signed spikes and takes no zero_point")
    z = check_integer_rows(value, "zero_point", like.shape[:-1], like.device)
    last = (2 << timesteps) - 1
    if isinstance(z, int) and isinstance(last, int):
        fits = 0 <= z <= last
    else:
        fits = bool(torch.as_tensor((z >= 0) & (z <= last)).all())
    if not fits:
        raise ValueError("zero_point must be in 0 … 2^(T+1) - 1; to that of a signed b-bit quantizer add 2^(b-1) = 2^T")
    return z


def codes_of(
    codec: Coding,
    x: Tensor,
    scale: float | Tensor,
    timesteps: PerRow,
    zero_point: PerRow | None,
    silenced: Tensor | None,
    *,
    validate: bool,
) -> tuple[Tensor, int]:
    """`quantize_rows` of arguments that have been checked.

    Args:
        codec: whose codes they are.
        x: floating point [*rows, K].
        scale: as `per_row_scale` takes it.
        timesteps: checked T.
        zero_point: checked z, or None.
        silenced: bool [K], or None.
        validate: see `quantize_rows`.

    Returns:
        codes [*rows, K], and how many were beyond their range.

    Raises:
        As `quantize_rows`.
    """
    divisor = per_row_scale(scale, x, validate=validate)
    table = as_table(x)
    rows, width = table.shape
    codes = torch.empty((rows, width), dtype=codec.code_type(zero_point), device=x.device)
    if codes.numel() == 0:
        return codes.view(x.shape), 0
    low, high = codec.code_range(timesteps, zero_point)
    limits = None  # per row, or the two numbers
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        limits = [
            torch.as_tensor(limit, dtype=torch.float32, device=x.device).expand(x.shape[:-1]).reshape(-1, 1)
            for limit in (low, high)
        ]
    divisor = divisor.reshape(-1, 1)  # [1, 1] or [rows, 1]

    saturated = 0
    for block in row_blocks(rows, width, x.device):
        part = table[block].to(torch.float32)
        y = part / (divisor if divisor.shape[0] == 1 else divisor[block])
        # The extremes tell whether anything is NaN, infinite or beyond its limit. In the usual case nothing
        # is, and the passes that deal with it are saved.
        if limits is None:
            floor, ceiling = low, high
            bottom, top = torch.aminmax(y)
        else:
            floor, ceiling = (limit[block] for limit in limits)
            # along a dimension, two reductions are faster than one aminmax
            bottom, top = y.amin(dim=-1, keepdim=True), y.amax(dim=-1, keepdim=True)
        inside = bool(((bottom > floor - 0.5) & (top < ceiling + 0.5)).all())  # False for NaN
        extreme = validate and not inside and not bool(torch.isfinite(top - bottom).all())
        if extreme and not bool(torch.isfinite(part).all()):  # an infinite y of a finite x only clips
            raise_if_non_finite(x)
        T = rows_of(timesteps, block)
        saturated += codec.quantize(y, T, floor, ceiling, codes[block], inside=inside, silenced=silenced)
    return codes.view(x.shape), saturated


@torch.no_grad()
def row_scale(
    x: Tensor,
    timesteps: PerRow,
    ratio: float | Tensor = 1.0,
    statistic: str = "absmax",
    coding: str = "tc_lif",
    *,
    validate: bool = True,
) -> Tensor:
    """Dynamic threshold of every row, what a code of 1 stands for: `(ratio * statistic) / divisor`.

    The divisor of `absmax` is the largest code, `2^T - 1`; that of others is what the weakest spike is worth in codes:
    1, but in a coding whose temporal weights are no powers of two.

    Exactly: `ratio` in float32, times the row's statistic in float32 (an overflow becomes the largest finite
    float32), divided by the divisor in float32; one IEEE rounding each. A row of zeros has scale 1, and so
    has a row so small that the quotient is 0. How each statistic is summed up is in `statistics`.

    Args:
        x: floating point [*rows, K]; converted to float32.
        timesteps: nominal T in 1 … 7, an int or an integer tensor [*rows].
        ratio: 0 < ratio <= 2, one number or a tensor [*rows]. Less of it clips more and fires more spikes.
        statistic: a name of `available_statistics`: `absmax`, `rms`, `mean_abs`.
        coding: a name of `available_codings`.
        validate: refuse NaN and infinity, and check a `ratio` that is a tensor.

    Returns:
        float32 [*rows].

    Raises:
        NonFiniteInputError: `x` holds NaN or infinity.
        ValueError: `ratio` or `timesteps` out of range, or an unknown statistic.
    """
    kind, codec = get_statistic(statistic), get_coding(coding)
    x = check_floating(x)
    rows = x.shape[:-1]
    timesteps = check_timesteps(timesteps, rows, x.device, codec.max_timesteps)
    factor = _check_ratio(ratio, rows, x.device, validate=validate)
    value = kind.of_rows(x)
    if validate and value.numel() and not float(value.amax()) < math.inf:  # amax hands NaN on
        raise_if_non_finite(x)
    return kind.scales(value, factor, kind.divisors(codec, timesteps, x.device).expand(rows))


def absmax_scale(x: Tensor, timesteps: PerRow, ratio: float | Tensor = 1.0, *, validate: bool = True) -> Tensor:
    """`row_scale` by the largest magnitude: `(ratio * absmax) / (2^T - 1)`.

    Args:
        x: as there.
        timesteps: likewise.
        ratio: likewise. Below 1 the largest inputs clip, above 1 fewer spikes fire.
        validate: likewise.

    Returns:
        float32 [*rows].

    Raises:
        NonFiniteInputError: `x` holds NaN or infinity.
        ValueError: `ratio` or `timesteps` out of range.
    """
    return row_scale(x, timesteps, ratio, validate=validate)


@torch.no_grad()
def magnitude_codes(
    magnitude: Tensor, scale: Tensor, timesteps: int, units: Tensor, out: Tensor, rounding: Rounding = NEAREST
) -> None:
    """The magnitudes of the codes of `quantize_rows`, for whoever tries many scales on the same rows.

    Args:
        magnitude: float32 [R, K], |x|, finite.
        scale: float32 [R, 1], thresholds > 0.
        timesteps: nominal T in 1 … 7.
        units: float32 [R, K], scratch memory, overwritten.
        out: int8 [R, K], overwritten with what `|x| / scale` is rounded to, `2^T - 1` at most.
        rounding: of the coding.
    """
    torch.div(magnitude, scale, out=units)
    out.copy_(rounding.to_magnitudes(units, (1 << timesteps) - 1))  # truncates


def _check_ratio(ratio: float | Tensor, rows: torch.Size, device: torch.device, *, validate: bool) -> Tensor:
    if isinstance(ratio, Tensor) and ratio.numel() > 1:
        if ratio.shape != rows:
            raise ValueError(f"ratio has shape {list(ratio.shape)}, but there are {list(rows)} rows")
        factor = ratio.detach().to(device=device, dtype=torch.float32)
        if validate and not bool(((factor > 0) & (factor <= 2)).all()):
            raise ValueError("ratio must be above 0 and at most 2 in every row")
        return factor
    factor = torch.tensor(float(ratio), dtype=torch.float32)
    if not 0 < float(factor) <= 2:
        raise ValueError(f"ratio must be above 0 and at most 2, not {float(ratio):g}")
    return factor.to(device)


@torch.no_grad()
def asymmetric_scale(x: Tensor, timesteps: PerRow, *, validate: bool = True) -> tuple[Tensor, Tensor]:
    """Dynamic step and zero point of every row, for asymmetric quantization with L = 2^(T+1) levels.

    With `low = min(row, 0)` and `high = max(row, 0)`, every operation rounded once in float32:

        scale = (high - low) / (L-1)
        z     = min(round_half_away(-low / scale), L-1)

    A difference that overflows becomes the largest finite float32. 0.0 is always a level. A row of zeros has
    scale 1 and z = 0, and so has a row whose scale would be 0.

    Args:
        x: floating point [*rows, K]; converted to float32.
        timesteps: nominal T in 1 … 7, an int or an integer tensor [*rows].
        validate: refuse NaN and infinity.

    Returns:
        scale float32 [*rows] and zero point int32 [*rows], as `quantize_rows` takes them for unsigned
        codings.

    Raises:
        NonFiniteInputError: `x` holds NaN or infinity.
        ValueError: `timesteps` out of range.
    """
    x = check_floating(x)
    rows = x.shape[:-1]
    timesteps = check_timesteps(timesteps, rows, x.device)
    low, high = row_extremes(x)
    low.clamp_(max=0)
    high.clamp_(min=0)
    last = torch.as_tensor((2 << timesteps) - 1, dtype=torch.float32, device=x.device).expand(rows)
    if validate and low.numel() and not (float(low.amin()) > -math.inf and float(high.amax()) < math.inf):
        raise_if_non_finite(x)  # amin and amax hand NaN on
    scale = (high - low).clamp_(max=torch.finfo(torch.float32).max).div_(last)
    scale = scale.masked_fill_(scale == 0, 1.0)
    z = low.neg_().div_(scale).add_(BELOW_HALF).minimum(last)
    return scale, z.to(torch.int32)
