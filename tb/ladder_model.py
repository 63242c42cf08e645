"""What the columns of the ladder of baselines compute, in NumPy: FP16, BF16 and integers, to the bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALLEST = np.float32(2.0**-126)
QUIET_NAN = 0x7FC00000

Bits = NDArray[np.uint32]


def flush(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subnormal numbers as zeros of the same sign; float32 of any shape."""
    return np.where(np.abs(values) < SMALLEST, np.copysign(np.float32(0), values), values).astype(np.float32)


def operands(bits: NDArray[np.uint16], *, bf16: bool) -> NDArray[np.float32]:
    """Values of FP16 numbers, or of BF16 numbers whose subnormals are zero; uint16 of any shape to float32."""
    if bf16:
        return flush((bits.astype(np.uint32) << 16).view(np.float32))
    return bits.view(np.float16).astype(np.float32)


def pattern(values: NDArray[np.float32]) -> Bits:
    """Bits of float32 numbers; any NaN as the quiet one."""
    return np.where(np.isnan(values), np.uint32(QUIET_NAN), values.view(np.uint32)).astype(np.uint32)


def multiply(a: NDArray[np.uint16], b: NDArray[np.uint16], *, bf16: bool) -> NDArray[np.float32]:
    """Products as float32; below 2^-126 they are zero."""
    with np.errstate(all="ignore"):
        return flush(operands(a, bf16=bf16) * operands(b, bf16=bf16))


def add(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums as float32, nearest even; subnormals are zero."""
    with np.errstate(all="ignore"):
        return flush(flush(a) + flush(b))


def column(a: NDArray[np.uint16], b: NDArray[np.uint16], *, bf16: bool) -> NDArray[np.float32]:
    """The accumulator after each chunk of a group.

    Args:
        a: activations, uint16 [chunks, lanes].
        b: weights, uint16 [chunks, lanes].

    Returns:
        float32 [chunks].
    """
    level = multiply(a, b, bf16=bf16)
    while level.shape[1] > 1:
        level = add(level[:, 0::2], level[:, 1::2])
    acc = [level[0, 0]]
    for value in level[1:, 0]:
        acc.append(add(np.array(acc[-1]), np.array(value))[()])
    return np.array(acc, np.float32)


def int_column(a: NDArray[np.int64], w: NDArray[np.int64], weight_bits: int, act_bits: int) -> NDArray[np.int64]:
    """`int_column`'s accumulator after each chunk of a group, from activations and weights [chunks, lanes]."""
    constant = a.shape[1] * ((1 << weight_bits) - 1) * ((1 << (act_bits - 1)) - 1)
    return np.cumsum(constant - ((w + (1 << (weight_bits - 1))) * a).sum(1))


def row_offset(
    a: NDArray[np.int64], weight_bits: int, act_bits: int, *, sign_magnitude: bool, pass_bits: int = 0
) -> NDArray[np.int64]:
    """`row_offset`'s output after each chunk of a group, from activations [chunks, lanes]."""
    bits = np.full(len(a), pass_bits or act_bits - 1)
    if pass_bits:
        bits[np.abs(a).max(1) >= 1 << pass_bits] *= 2
    constant = a.shape[1] * ((1 << weight_bits) - 1) * ((1 << bits) - 1)
    half = 1 << (weight_bits - 1)
    factor = np.where(a < 0, half - 1, half)
    extra = (np.abs(a) * factor).sum(1) if sign_magnitude else (half * a).sum(1)
    return np.cumsum(constant - extra)
