"""TC-LIF: temporally compressed signed binary spikes, the default."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import MAX_TIMESTEPS, PerRow
from spike_compressor.coding.base import Coding, register_coding


@register_coding("tc_lif")
class TCLIF(Coding):
    """T steps of {-1, 0, 1} with weights `2^(T-1-t)`: the sign, and the bits of `|q|`, highest first.

    What the neuron of `TCLIFNode` fires, computed for all steps at once.
    """

    signed = True

    def weights(self, timesteps: int) -> tuple[int, ...]:
        return tuple(1 << (timesteps - 1 - t) for t in range(timesteps))

    def fire(self, levels: Tensor, timesteps: PerRow, spikes: Tensor) -> None:
        codes = levels.to(torch.int8)
        sign = codes.sign()
        # Aligned to a first threshold of 2^6, step t reads the same bit in every row, whatever its T; below a
        # row's last bit there are zeros.
        aligned = (codes.abs() * (1 << (MAX_TIMESTEPS - timesteps))).to(torch.int8)
        for t, plane in enumerate(spikes):
            torch.bitwise_right_shift(aligned, MAX_TIMESTEPS - 1 - t, out=plane)
            plane.bitwise_and_(1).mul_(sign)
