"""A small, correct layer for every test of the bundle format."""

import numpy as np
from spike_compressor.trace import accumulate, codes_from_membranes, dequantize, fire, membranes


def make_arrays(coding="tc_lif", groups=None, bias=True, M=6, K=12, N=5, F=10, dtype="float32"):
    """Arrays of a layer with 4-bit weights; `groups` None means no group scales."""
    rng = np.random.default_rng(7)
    timesteps = np.array([3, 4, 3, 4, 1, 4], np.uint8)[:M]
    x = rng.normal(size=(M, K)).astype(np.float32)
    x[2] = 0
    peak = np.abs(x).max(axis=1)
    act_scale = np.where(peak > 0, peak / (2.0 ** timesteps.astype(int) - 1), 1).astype(np.float32)
    membrane = membranes(x, act_scale, timesteps, F)
    codes = codes_from_membranes(membrane, timesteps, F)
    weight = rng.integers(-8, 8, (N, K)).astype(np.int8)
    acc = accumulate(codes, weight, groups or 1).astype(np.int32)
    weight_scale = rng.uniform(0.01, 0.1, (N, groups or 1)).astype(np.float32)
    weight_scale[1::2] *= -1  # as AutoRound makes them
    if groups is None:
        acc, weight_scale = acc[:, :, 0], weight_scale[:, 0]
    offset = rng.normal(size=N).astype(np.float32) if bias else None
    return {
        "membrane": membrane,
        "timesteps": timesteps,
        "modality": np.array([1, 0, 1, 0, 1, 0], np.uint8)[:M],
        "codes": codes,
        "spikes": fire(membrane, timesteps, F, coding),
        "weight": weight,
        "acc": acc,
        "act_scale": act_scale,
        "weight_scale": weight_scale,
        "bias": offset,
        "output": dequantize(acc, act_scale, weight_scale, offset, dtype),
    }
