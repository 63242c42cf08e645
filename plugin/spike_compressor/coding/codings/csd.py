"""CSD: canonical signed digits, the fewest spikes of any signed binary code."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import MAX_TIMESTEPS, PerRow, along_features
from spike_compressor.coding.base import Coding, register_coding


@register_coding("csd")
class CSD(Coding):
    """T + 1 steps of {-1, 0, 1} with weights ``2^(T-t)``; no two spikes of a code are adjacent in time.

    The neuron fires the sign of its membrane when ``3|V| > 2 theta``, that is when ``|V|`` is nearer to ``theta``
    than what the lower steps can reach without adjacent spikes, so V may turn over: 7 is fired as 8 - 1. That is
    the canonical signed digit (non-adjacent) form, the representation with the fewest nonzero digits
    (G. W. Reitwiesner, "Binary Arithmetic", Advances in Computers 1, 1960).
    """

    signed = True

    def weights(self, timesteps: int) -> tuple[int, ...]:
        return tuple(1 << (timesteps - t) for t in range(timesteps + 1))

    def fire(self, levels: Tensor, timesteps: PerRow, steps: int) -> Tensor:
        # Left-aligned to a first theta of 2^7 in every row; the rule does not change when V and theta scale alike.
        membrane = (levels << along_features(MAX_TIMESTEPS - timesteps)).to(torch.int16)
        spikes = torch.empty((steps, *levels.shape), dtype=torch.int8, device=levels.device)
        for t, plane in enumerate(spikes):
            theta = 1 << (MAX_TIMESTEPS - t)
            # |V| <= theta here, and V is an integer, so 3|V| > 2 theta is |V| >= floor(2 theta / 3) + 1
            step = membrane.sign().mul_(membrane.abs() > 2 * theta // 3)
            plane.copy_(step)
            membrane.sub_(step, alpha=theta)
        return spikes
