"""CSD: canonical signed digits, the fewest spikes of any signed binary code."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import MAX_TIMESTEPS, PerRow
from spike_compressor.coding.base import Coding, register_coding


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

    def fire(self, levels: Tensor, timesteps: PerRow, spikes: Tensor) -> None:
        # aligned to a first threshold of 2^7 in every row: the rule is the same when V and theta scale alike
        membrane = levels * (1 << (MAX_TIMESTEPS - timesteps))
        buffer = torch.empty_like(membrane)
        for t, plane in enumerate(spikes):
            theta = 1 << (MAX_TIMESTEPS - t)
            # V is an integer, so a whole number may stand for 2 theta / 3
            step = torch.gt(membrane.abs(), 2 * theta // 3, out=buffer).mul_(membrane.sign())
            membrane.sub_(step, alpha=theta)
            plane.copy_(step)
