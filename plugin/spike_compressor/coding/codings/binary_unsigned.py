"""Unsigned binary spikes with a zero point, for asymmetric activation quantizers."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import MAX_TIMESTEPS, PerRow
from spike_compressor.coding.base import Coding, register_coding
from spike_compressor.coding.bits import pack_bits


@register_coding("binary_unsigned")
class BinaryUnsigned(Coding):
    """`T + 1 = log2(L)` steps of {0, 1} with weights `2^(T-t)`: the bits of `q + z`, highest first."""

    signed = False

    def weights(self, timesteps: int) -> tuple[int, ...]:
        return tuple(1 << (timesteps - t) for t in range(timesteps + 1))

    def write(self, levels: Tensor, timesteps: PerRow, fired: Tensor, negative: Tensor | None) -> None:
        # aligned to the highest bit of a byte, as in tc_lif
        pack_bits((levels * (1 << (MAX_TIMESTEPS - timesteps))).to(torch.uint8), fired)
