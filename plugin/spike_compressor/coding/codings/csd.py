"""CSD: canonical signed digits, the fewest spikes of any signed binary code."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import MAX_TIMESTEPS, PerRow
from spike_compressor.coding.base import Coding, register_coding
from spike_compressor.coding.bits import pack_bits


@register_coding("csd")
class CSD(Coding):
    """T + 1 steps of {-1, 0, 1} with weights `2^(T-t)`; no two spikes of a code are neighbours in time.

    On the integer code as membrane V, the neuron fires the sign of V when `3|V| > 2 theta`. Two thirds of
    theta is what the later steps can reach without neighbouring spikes (theta/2 + theta/8 + …), so V may turn
    over: 7 is fired as 8 - 1. The result is the canonical signed digit (non-adjacent) form, which has the
    fewest nonzero digits (G. W. Reitwiesner, "Binary Arithmetic", Advances in Computers 1, 1960).
    """

    signed = True

    def weights(self, timesteps: int) -> tuple[int, ...]:
        return tuple(1 << (timesteps - t) for t in range(timesteps + 1))

    def write(self, levels: Tensor, timesteps: PerRow, fired: Tensor, negative: Tensor | None) -> None:
        # All steps at once. 3|q|/2 and |q|/2 differ in the bits where the canonical form of |q| has a digit, and there
        # the greater of them has the positive ones.
        codes = levels.to(torch.int8)
        magnitude = codes.abs().view(torch.uint8)
        half = magnitude >> 1
        digits = (magnitude + half) ^ half
        minus = half & digits  # of |q|; for a negative code the others
        minus ^= digits & (codes >> 7).view(torch.uint8)
        align = 1 << (MAX_TIMESTEPS - timesteps)  # to the highest bit of a byte, as in tc_lif
        assert negative is not None
        for bits, packed in ((digits, fired), (minus, negative)):
            pack_bits((bits * align).to(torch.uint8), packed)
