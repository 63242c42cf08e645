"""Layers in capped spikes that are as good as their own: what capped firing saves, in `equal_accuracy.py`.

The fullest lanes of a block drop spikes of the last step (`tc_lif_capped` and `tc_lif_capped16`). That costs accuracy,
which finer thresholds give back: for each layer the threshold is sought at which codes that are capped have the
signal-to-noise ratio of the bundle's own. Equal SNR of a layer's inputs is taken for equal accuracy
(`benchmarks/capped_embedded.py` measures that on a model), and T is 7 everywhere.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from spike_compressor.trace import Layer, fire
from spike_compressor.trace.golden_capped import QUARTERS, capped_codes
from spike_compressor.trace.schema import MAX_TIMESTEPS

#: Finest threshold that is tried, over the bundle's, and how near it is sought.
FINEST, STEPS = 0.4, 12


def capped(layer: Layer, threshold: float, lanes: int) -> np.ndarray:
    """Codes int16 [M, K] of a layer's inputs, lanes capped, with thresholds of so many times its own."""
    M, K = layer.membrane.shape
    quarters = np.floor(np.abs(layer.membrane) * 2.0 ** (QUARTERS - layer.info.frac_bits) / threshold)
    limit = (1 << (MAX_TIMESTEPS + QUARTERS)) - 1
    membrane = (np.sign(layer.membrane) * np.minimum(quarters, limit)).astype(np.int32)
    rows = membrane.reshape(-1, K // layer.groups)  # the blocks of a core begin with each group
    return capped_codes(rows, np.full(len(rows), MAX_TIMESTEPS), QUARTERS, lanes).reshape(M, K)


def noise(layer: Layer, codes: np.ndarray, threshold: float) -> float:
    """Squared error of a layer's inputs over their squares."""
    drive = layer.membrane / 2.0**layer.info.frac_bits
    return float(np.square(drive - threshold * codes).sum() / np.square(drive).sum())


def as_good(layer: Layer, lanes: int) -> tuple[Layer, float]:
    """The layer in capped spikes that are as good as its own, and their threshold over its own."""
    target = noise(layer, layer.codes, 1.0)
    low, high = FINEST, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if noise(layer, capped(layer, middle, lanes), middle) > target:
            high = middle
        else:
            low = middle
    T = np.full(layer.info.tokens, MAX_TIMESTEPS, np.uint8)
    spikes = fire(capped(layer, low, lanes).astype(np.int64) << 1, T, 1, "tc_lif")
    arrays = {"timesteps": T, "spikes": spikes, "acc": layer.acc}
    return Layer(replace(layer.info, max_timesteps=MAX_TIMESTEPS), arrays=arrays), low
