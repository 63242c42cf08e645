"""Triton kernels of spiking layers for CUDA: rows to codes, accumulators to outputs, codes to outputs by groups.

Their results have the bits of the CPU's kernels. Quotients are `div_rn`, since `/` on float32 is an approximation on
CUDA; products and sums are rounded one by one, which whoever launches a kernel asks for with `enable_fp_fusion=False`;
and nothing flushes denormals.

Importing this needs the `triton` package, which CUDA builds of PyTorch bring along.
"""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-def"
import triton
import triton.language as tl

#: Keyword arguments of every launch: no fused multiply-add.
EXACT = {"enable_fp_fusion": False}

_BELOW_HALF = tl.constexpr(0.49999997)  # as in coding/quantize.py
_LARGEST = tl.constexpr(3.4028234663852886e38)
_SMALL = tl.constexpr(2.0**-100)  # rows below it are scaled up, so that no number's exponent is out of reach
_UP = tl.constexpr(64)
_UNIT_BITS = tl.constexpr(18)  # as in coding/statistics, whose numbers these are
_RMS = tl.constexpr(1)
_RATE_DISTORTION = tl.constexpr(1)  # as in kernels/spike_kernels.h


@triton.jit
def _power_of_two(exponent):
    """float32 2^exponent, exponents int32 in -126 … 127."""
    return (exponent + 127 << 23).to(tl.float32, bitcast=True)


@triton.jit  # type: ignore[untyped-decorator]
def _mean(x, absmax, K, STATISTIC: tl.constexpr, BLOCK: tl.constexpr):
    """The root mean square of a row, or its mean magnitude: integers of 18 bits, whose sum needs no order."""
    small = absmax < _SMALL
    scaled = tl.where(small, absmax * 2.0**_UP, absmax)
    exponent = (scaled.to(tl.int32, bitcast=True) >> 23) - 126 - tl.where(small, _UP, 0)
    shift = tl.where(absmax > 0.0, _UNIT_BITS - exponent, 0)
    first = _power_of_two(tl.minimum(shift, 100))  # 2^shift alone may be infinite
    second = _power_of_two(shift - tl.minimum(shift, 100))
    lane = tl.arange(0, BLOCK)
    sums = tl.zeros([BLOCK], tl.int64)
    for start in range(0, K, BLOCK):
        magnitude = tl.abs(tl.load(x + start + lane, mask=start + lane < K, other=0.0).to(tl.float32))
        units = (magnitude * first * second).to(tl.int32).to(tl.int64)  # truncates
        sums += units * units if STATISTIC == _RMS else units
    mean = tl.sum(sums, axis=0).to(tl.float64) / K
    if STATISTIC == _RMS:
        mean = tl.sqrt(mean)
    unit = (1023 - shift).to(tl.int64) << 52  # of a float64
    return (mean * unit.to(tl.float64, bitcast=True)).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def encode(
    x,
    x_stride,
    timesteps,
    timesteps_step,
    ratio,
    ratio_step,
    given_scale,
    given_scale_step,
    silenced,
    codes,
    codes_stride,
    scales,
    state,
    K,
    STATIC: tl.constexpr,
    STATISTIC: tl.constexpr,
    ROUNDING: tl.constexpr,
    SILENCED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row: its scale, its codes, how many of them clip.

    x [M, K] with `x_stride` elements from row to row; timesteps int32, ratio and given_scale float32, of a row each
    (step 1) or of all (step 0); STATISTIC: what a dynamic scale is tied to, 0 the largest magnitude, 1 the root mean
    square, 2 the mean magnitude; ROUNDING: 0 to the nearest integer, 1 by rate and distortion; silenced int8 [K];
    codes int8 [M, codes_stride], zero beyond K; scales float32 [M]; state int64 [2], to which the number of clipped
    codes and that of inputs which are not finite are added.
    """
    row = tl.program_id(0).to(tl.int64)
    x += row * x_stride
    codes += row * codes_stride
    limit = ((1 << tl.load(timesteps + row * timesteps_step)) - 1).to(tl.float32)
    lane = tl.arange(0, BLOCK)

    absmax = tl.zeros([BLOCK], tl.float32)
    bad = tl.zeros([BLOCK], tl.int32)
    for start in range(0, K, BLOCK):
        magnitude = tl.abs(tl.load(x + start + lane, mask=start + lane < K, other=0.0).to(tl.float32))
        absmax = tl.maximum(absmax, magnitude)
        bad += (magnitude <= _LARGEST).to(tl.int32) ^ 1  # NaN is not
    not_finite = tl.sum(bad, axis=0).to(tl.int64)
    if not_finite > 0:
        tl.atomic_add(state + 1, not_finite)
    if STATIC:
        scale = tl.load(given_scale + row * given_scale_step)
    else:
        largest, divisor = tl.max(absmax, axis=0), limit
        if STATISTIC > 0:
            largest, divisor = _mean(x, largest, K, STATISTIC, BLOCK), 1.0
        scale = tl.minimum(largest * tl.load(ratio + row * ratio_step), _LARGEST)
        scale = tl.div_rn(scale, divisor)
        scale = tl.where(scale == 0.0, 1.0, scale)
    tl.store(scales + row, scale)

    clipped = tl.zeros([BLOCK], tl.int32)
    for start in range(0, codes_stride, BLOCK):
        column = start + lane
        y = tl.load(x + column, mask=column < K, other=0.0).to(tl.float32)
        drive = tl.abs(tl.div_rn(y, scale))
        magnitude = drive + _BELOW_HALF
        clipped += (magnitude >= limit + 1.0).to(tl.int32)
        if ROUNDING == _RATE_DISTORTION:
            quarters = tl.minimum(drive * 4.0, limit * 4.0 - 1.0).to(tl.int32)  # truncates
            one = quarters >> 2 & 1
            two = one & (quarters >> 3)
            code = (quarters + 1 + one + two + (two & (quarters >> 4))) >> 2
        else:
            code = tl.minimum(magnitude, limit).to(tl.int32)  # truncates
        code = tl.where(y < 0.0, -code, code)
        if SILENCED:
            code = tl.where(tl.load(silenced + column, mask=column < K, other=0) != 0, 0, code)
        tl.store(codes + column, code.to(tl.int8), mask=column < codes_stride)
    over = tl.sum(clipped, axis=0).to(tl.int64)
    if over > 0:
        tl.atomic_add(state, over)


@triton.jit  # type: ignore[untyped-decorator]
def outputs_of_sums(
    sums, sums_stride, scales, weight_scales, bias, out, N, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr
):
    """Outputs of a block of one row: `(float32(sum) * scale) * weight scale + bias`.

    sums int32 [M, sums_stride]; scales float32 [M]; weight_scales float32 [N]; bias [N] of any float type; out float32
    [M, N].
    """
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < N
    value = tl.load(sums + row * sums_stride + column, mask=inside, other=0).to(tl.float32) * tl.load(scales + row)
    value = value * tl.load(weight_scales + column, mask=inside, other=0.0)
    if HAS_BIAS:
        value = value + tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * N + column, value, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def outputs_of_codes(
    codes,
    codes_stride,
    weights,
    scales,
    weight_scales,
    weight_scales_stride,
    bias,
    out,
    M,
    N,
    K,
    size,
    HAS_BIAS: tl.constexpr,
    GROUPED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """A tile of outputs: integer sums of a group of inputs after the other, scaled, added up in that order.

    codes int8 [M, codes_stride]; weights int8 [N, K]; scales float32 [M]; weight_scales float32 [G, its stride];
    bias [N] of any float type; out float32 [M, N]; `size` inputs make a group.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    has_row, has_column = row < M, column < N
    codes += row.to(tl.int64)[:, None] * codes_stride
    weights += column.to(tl.int64)[None, :] * K
    scale = tl.load(scales + row, mask=has_row, other=1.0)
    depth = tl.arange(0, DEPTH)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, K, size):
        sums = tl.zeros([ROWS, COLUMNS], tl.int32)
        for start in range(first, first + size, DEPTH):
            k = start + depth
            within = k < first + size
            a = tl.load(codes + k[None, :], mask=has_row[:, None] & within[None, :], other=0)
            b = tl.load(weights + k[:, None], mask=has_column[None, :] & within[:, None], other=0)
            sums = tl.dot(a, b, sums, out_dtype=tl.int32)
        columns = tl.load(weight_scales + column, mask=has_column, other=0.0)
        term = (sums.to(tl.float32) * scale[:, None]) * columns[None, :]
        total = total + term if GROUPED else term
        weight_scales += weight_scales_stride
    if HAS_BIAS:
        total = total + tl.load(bias + column, mask=has_column, other=0.0).to(tl.float32)[None, :]
    tl.store(out + row.to(tl.int64)[:, None] * N + column[None, :], total, mask=has_row[:, None] & has_column[None, :])


#: Whether the kernels run in Triton's interpreter, on the CPU.
INTERPRETED = not isinstance(encode, triton.JITFunction)
