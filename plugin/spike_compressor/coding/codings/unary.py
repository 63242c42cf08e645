"""Unary rate code of a plain IF neuron, signed: the uncompressed baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import PerRow
from spike_compressor.coding.base import Coding, register_coding
from spike_compressor.coding.bits import pack_signs, pack_spikes


@register_coding("unary")
class Unary(Coding):
    """`2^T - 1` steps of {-1, 0, 1}, each of weight 1; the first `|q|` of them fire.

    That is an integrate-and-fire neuron with threshold 1, soft reset and no leak, that gets its whole drive
    before the first step (`V = |y| + 1/2`): it fires until less than a threshold is left.
    """

    signed = True

    def weights(self, timesteps: int) -> tuple[int, ...]:
        return (1,) * ((1 << timesteps) - 1)

    def write(self, levels: Tensor, timesteps: PerRow, fired: Tensor, negative: Tensor | None) -> None:
        codes = levels.to(torch.int8)
        step = torch.arange(fired.shape[0], dtype=torch.int8, device=codes.device).view(-1, 1, 1)
        spikes = torch.empty((fired.shape[0], *codes.shape), dtype=torch.int8, device=codes.device)
        pack_spikes(torch.gt(codes.abs(), step, out=spikes), fired, None)  # into bool, it is not vectorised
        torch.bitwise_and(fired, pack_signs(codes), out=negative)
