"""Unary rate code of a plain IF neuron with unsigned spikes: the T = L - 1 baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import PerRow
from spike_compressor.coding.base import Coding, register_coding


@register_coding("unary_unsigned")
class UnaryUnsigned(Coding):
    """`L - 1 = 2^(T+1) - 1` steps of {0, 1}, each of weight 1; the first `q + z` of them fire."""

    signed = False

    def weights(self, timesteps: int) -> tuple[int, ...]:
        return (1,) * ((2 << timesteps) - 1)

    def fire(self, levels: Tensor, timesteps: PerRow, spikes: Tensor) -> None:
        small = levels.to(torch.uint8)
        for t, plane in enumerate(spikes.view(torch.uint8)):
            torch.gt(small, t, out=plane)
