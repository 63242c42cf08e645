"""Unary rate code of a plain IF neuron with unsigned spikes: the T = L - 1 baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import PerRow
from spike_compressor.coding.base import Coding, register_coding
from spike_compressor.coding.bits import pack_spikes


@register_coding("unary_unsigned")
class UnaryUnsigned(Coding):
    """`L - 1 = 2^(T+1) - 1` steps of {0, 1}, each of weight 1; the first `q + z` of them fire."""

    signed = False

    def weights(self, timesteps: int) -> tuple[int, ...]:
        return (1,) * ((2 << timesteps) - 1)

    def write(self, levels: Tensor, timesteps: PerRow, fired: Tensor, negative: Tensor | None) -> None:
        step = torch.arange(fired.shape[0], dtype=torch.uint8, device=levels.device).view(-1, 1, 1)
        spikes = torch.empty((fired.shape[0], *levels.shape), dtype=torch.uint8, device=levels.device)
        torch.gt(levels.to(torch.uint8), step, out=spikes)  # into bool, it is not vectorised
        pack_spikes(spikes.view(torch.int8), fired, None)
