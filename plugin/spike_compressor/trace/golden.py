"""The golden model in plain NumPy: what a spiking layer computes, in integers, straight from its definition.

It shares no code with the torch implementation and none with the hardware, so each can be checked against it.
Shapes: M token rows, K inputs, N outputs, G groups of K / G consecutive inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .schema import RDOQ_CODING, steps_of

Array = NDArray[Any]


def membranes(x: Array, scale: Array, timesteps: Array, frac_bits: int) -> NDArray[np.int32]:
    """Fixed-point membrane potentials of activations.

    Args:
        x: float32 [M, K], finite.
        scale: float32 [M], positive: the threshold that one unit of code stands for.
        timesteps: [M], T of each row, 1 .. 7.
        frac_bits: F, fractional bits; F + T <= 31.

    Returns:
        int32 [M, K]: sign * floor(|x / s| * 2^F) with the IEEE float32 quotient, within +-(2^(T+F) - 1).

    Raises:
        ValueError: NaN or infinity in x; names the first row.
    """
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise ValueError(f"activations must be finite; those of row {bad[0]} are not")
    y = (x.astype(np.float32) / scale.astype(np.float32)[:, None]).astype(np.float64)
    limit = (1 << (timesteps.astype(np.int64) + frac_bits)) - 1
    magnitude = np.minimum(np.floor(np.abs(y) * 2.0**frac_bits), limit[:, None].astype(np.float64))
    return (np.sign(y) * magnitude).astype(np.int32)


def initial_potential(magnitude: Array, frac_bits: int, coding: str) -> NDArray[np.int64]:
    """What a membrane starts with beside |y|: 1/2; in `tc_lif_rdoq` 1/4, and another for each one that |y| ends in.

    Counted are the ones, three at most, that the whole part of |y| ends in, written in binary.

    Args:
        magnitude: int64 [M, K], |y| with `frac_bits` fractional bits.
        frac_bits: F >= 1, and >= 2 for `tc_lif_rdoq`.
        coding: "tc_lif", "csd" or "tc_lif_rdoq".

    Returns:
        int64 [M, K], in units of 2^-F.
    """
    if coding != RDOQ_CODING:
        return np.full(magnitude.shape, 1 << (frac_bits - 1), np.int64)
    whole = magnitude >> frac_bits
    ones = sum((whole % (2 << n) == (2 << n) - 1).astype(np.int64) for n in range(3))
    return (1 + ones) << (frac_bits - 2)


def codes_from_membranes(
    membrane: Array, timesteps: Array, frac_bits: int, coding: str = "tc_lif"
) -> NDArray[np.int16]:
    """Closed form of the neuron: sign * min(floor(|y| + initial potential), 2^T - 1).

    Args:
        membrane: int32 [M, K] with `frac_bits` fractional bits.
        timesteps: [M].
        frac_bits: F >= 1, and >= 2 for `tc_lif_rdoq`.
        coding: "tc_lif", "csd" or "tc_lif_rdoq".

    Returns:
        int16 [M, K].
    """
    limit = (1 << timesteps.astype(np.int64)) - 1
    wide = membrane.astype(np.int64)
    charged = np.abs(wide) + initial_potential(np.abs(wide), frac_bits, coding)
    magnitude = np.minimum(charged >> frac_bits, limit[:, None])
    codes: NDArray[np.int16] = (np.sign(wide) * magnitude).astype(np.int16)
    return codes


def fire(membrane: Array, timesteps: Array, frac_bits: int, coding: str, steps: int | None = None) -> NDArray[np.int8]:
    """Run the TC-LIF neuron step by step: charge, fire, soft reset.

    `tc_lif`: V = |y| + 1/2, fires when V >= 2^(T-1-t), t = 0 .. T-1.
    `tc_lif_rdoq`: the same with another initial potential.
    `csd`: V = min(floor(|y| + 1/2), 2^T - 1), fires with the sign of V when 3|V| > 2 * 2^(T-t), t = 0 .. T.
    `tc_lif` and `csd` are exact codecs of the same codes.

    Args:
        membrane: int32 [M, K] with `frac_bits` fractional bits.
        timesteps: [M].
        frac_bits: F >= 1, and >= 2 for `tc_lif_rdoq`.
        coding: "tc_lif", "csd" or "tc_lif_rdoq".
        steps: length of the first axis; the longest row's by default. Steps beyond a row's own are zero.

    Returns:
        int8 [steps, M, K] in {-1, 0, 1}, most significant step first.
    """
    T = timesteps.astype(np.int64)[:, None]
    if steps is None:
        steps = steps_of(int(T.max()), coding)
    sign = np.sign(membrane).astype(np.int64)
    magnitude = np.abs(membrane.astype(np.int64))
    v = magnitude + initial_potential(magnitude, frac_bits, coding)
    unit = frac_bits  # V counts 2^-F
    if coding == "csd":
        v, unit = np.minimum(v >> frac_bits, (1 << T) - 1), 0
    spikes = np.zeros((steps, *membrane.shape), np.int8)
    for t in range(steps):
        exponent = T - t if coding == "csd" else T - 1 - t
        alive = exponent >= 0
        theta = np.where(alive, np.int64(1) << np.maximum(exponent + unit, 0), 0)
        if coding == "csd":
            fired = alive & (3 * np.abs(v) > 2 * theta)
            direction = np.sign(v)
        else:
            fired = alive & (v >= theta)
            direction = np.ones_like(v)
        spikes[t] = sign * direction * fired
        v = v - direction * theta * fired
    return spikes


def decode(spikes: Array, timesteps: Array, coding: str) -> NDArray[np.int64]:
    """Sum spikes with their temporal weights: int8 [steps, M, K], [M] -> int64 [M, K]."""
    T = timesteps.astype(np.int64)
    codes = np.zeros(spikes.shape[1:], np.int64)
    for t in range(spikes.shape[0]):
        exponent = T - t if coding == "csd" else T - 1 - t
        weight = np.where(exponent >= 0, np.int64(1) << np.maximum(exponent, 0), 0)
        codes += weight[:, None] * spikes[t]
    return codes


def accumulate(codes: Array, weight: Array, groups: int = 1) -> NDArray[np.int64]:
    """Exact sums of codes times weights.

    Args:
        codes: integers [M, K].
        weight: integers [N, K].
        groups: G, divides K.

    Returns:
        int64 [M, N, G].
    """
    M, K = codes.shape
    size = K // groups
    out = np.empty((M, weight.shape[0], groups), np.int64)
    for g in range(groups):
        part = slice(g * size, (g + 1) * size)
        # float64 holds these sums exactly (below 2^53) and multiplies matrices fast
        out[:, :, g] = codes[:, part].astype(np.float64) @ weight[:, part].astype(np.float64).T
    return out


def dequantize(
    acc: Array, act_scale: Array, weight_scale: Array, bias: Array | None = None, dtype: str = "float32"
) -> NDArray[np.float32]:
    """Accumulators to the model's numbers, each operation rounded to float32 in this order.

    `(float32(acc) * act_scale) * weight_scale`; with group scales that product for group 0, plus that of
    group 1, and so on; then plus bias; then rounded to `dtype`.

    Args:
        acc: int32 [M, N] or [M, N, G].
        act_scale: float32 [M].
        weight_scale: float32 [N] or [N, G].
        bias: float32 [N] or None.
        dtype: "float32", "float16" or "bfloat16": what the model keeps.

    Returns:
        float32 [M, N].
    """
    if acc.ndim == 2:
        acc, weight_scale = acc[:, :, None], weight_scale[:, None]
    out = np.zeros(acc.shape[:2], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for g in range(acc.shape[2]):
            term = (acc[:, :, g].astype(np.float32) * act_scale[:, None]) * weight_scale[None, :, g]
            out = term if g == 0 else out + term
        if bias is not None:
            out = out + bias[None, :]
        return round_to(out, dtype)


def round_to(values: NDArray[np.float32], dtype: str) -> NDArray[np.float32]:
    """Round float32 to a narrower type (nearest even) and back; `dtype` as in `dequantize`."""
    if dtype == "float32":
        return values
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(values), rounded.astype(np.uint32).view(np.float32), values)
