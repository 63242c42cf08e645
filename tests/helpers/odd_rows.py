"""Rows whose numbers lie (zeros, subnormal numbers, outliers, the ends of float32), and what a layer makes of them.

Everything is computed by the golden model, in NumPy, so that benches of the RTL and tests of the package meet the same
numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from spike_compressor.trace import accumulate, codes_from_membranes, dequantize, fire, membranes

F32 = np.float32
MOST, LEAST = F32(np.finfo(F32).max), F32(np.finfo(F32).smallest_subnormal)
NORMAL = F32(np.finfo(F32).smallest_normal)
#: Fraction bits of membranes.
FRAC_BITS = 8


def odd_rows(K: int) -> dict[str, NDArray[np.float32]]:
    """Rows float32 [K] by what is odd about them."""
    k, ramp = np.arange(K), np.linspace(1, -1, K, dtype=F32)
    outlier = ramp * F32(1e-3)
    outlier[K // 2] = 1e30
    rows = {
        "zeros": np.zeros(K),
        "negative zeros": np.full(K, -0.0),
        "one number": np.full(K, 0.1),
        "one giant outlier": outlier,
        "all zeros but one": np.where(k == K - 1, -3, 0),
        "halves": k % 15 / 2 - 3.5,
        "subnormal": ramp * NORMAL,
        "the least": np.where(k % 3, LEAST, -LEAST),
        "about the least normal number": np.where(k % 2, NORMAL, -NORMAL / 2),
        "the largest": np.sign(ramp) * MOST,
        "the largest and the least": np.where(k % 2, MOST, -LEAST),
    }
    return {name: row.astype(F32) for name, row in rows.items()}


def golden_layer(
    timesteps: int, K: int = 45, coding: str = "tc_lif", groups: int = 1, N: int = 7
) -> dict[str, NDArray[Any]]:
    """The rows, and what a layer with weights of 8 bits computes of them, thresholds dynamic by absmax.

    Returns:
        `x` float32 [M, K], and the arrays of a trace bundle. Outputs beyond float32 are infinite.
    """
    rng = np.random.default_rng(5)
    x = np.stack(list(odd_rows(K).values()))
    T = np.full(len(x), timesteps, np.uint8)
    scale = np.abs(x).max(axis=1) / F32(2**timesteps - 1)
    scale = np.where(scale == 0, F32(1), scale)
    weight = rng.integers(-128, 128, (N, K)).astype(np.int8)
    weight[0] = -128
    weight_scale = rng.uniform(0.01, 0.1, (N, groups)).astype(F32)
    membrane = membranes(x, scale, T, FRAC_BITS)
    codes = codes_from_membranes(membrane, T, FRAC_BITS, coding)
    acc = accumulate(codes, weight, groups).astype(np.int32)
    if groups == 1:
        acc, weight_scale = acc[:, :, 0], weight_scale[:, 0]
    bias = rng.normal(size=N).astype(F32)
    return {
        "x": x,
        "membrane": membrane,
        "timesteps": T,
        "modality": np.zeros(len(x), np.uint8),
        "codes": codes,
        "spikes": fire(membrane, T, FRAC_BITS, coding),
        "weight": weight,
        "acc": acc,
        "act_scale": scale,
        "weight_scale": weight_scale,
        "bias": bias,
        "output": dequantize(acc, scale, weight_scale, bias),
    }
