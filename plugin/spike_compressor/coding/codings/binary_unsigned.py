"""Unsigned binary spikes with a zero point, for asymmetric activation quantizers."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import MAX_TIMESTEPS, PerRow
from spike_compressor.coding.base import Coding, register_coding


@register_coding("binary_unsigned")
class BinaryUnsigned(Coding):
    """`T + 1 = log2(L)` steps of {0, 1} with weights `2^(T-t)`: the bits of `q + z`, highest first."""

    signed = False

    def weights(self, timesteps: int) -> tuple[int, ...]:
        return tuple(1 << (timesteps - t) for t in range(timesteps + 1))

    def fire(self, levels: Tensor, timesteps: PerRow, spikes: Tensor) -> None:
        # aligned to a first weight of 2^7, as in tc_lif
        aligned = (levels * (1 << (MAX_TIMESTEPS - timesteps))).to(torch.uint8)
        for t, plane in enumerate(spikes.view(torch.uint8)):
            torch.bitwise_right_shift(aligned, MAX_TIMESTEPS - t, out=plane).bitwise_and_(1)
