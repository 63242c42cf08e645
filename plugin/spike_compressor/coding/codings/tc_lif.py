"""TC-LIF: temporally compressed signed binary spikes, the default."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import MAX_TIMESTEPS, PerRow
from spike_compressor.coding.base import Coding, register_coding
from spike_compressor.coding.bits import pack_bits, pack_signs
from spike_compressor.coding.rounding import RATE_DISTORTION


@register_coding("tc_lif")
class TCLIF(Coding):
    """T steps of {-1, 0, 1} with weights `2^(T-1-t)`: the sign, and the bits of `|q|`, highest first.

    What the neuron of `TCLIFNode` fires, computed for all steps at once.
    """

    signed = True

    def weights(self, timesteps: int) -> tuple[int, ...]:
        return tuple(1 << (timesteps - 1 - t) for t in range(timesteps))

    def write(self, levels: Tensor, timesteps: PerRow, fired: Tensor, negative: Tensor | None) -> None:
        codes = levels.to(torch.int8)
        # Aligned to the highest bit of a byte, step t reads the same bit in every row, whatever its T; below a row's
        # last bit there are zeros.
        aligned = (levels.abs() * (1 << (MAX_TIMESTEPS + 1 - timesteps))).to(torch.uint8)
        pack_bits(aligned, fired)
        torch.bitwise_and(fired, pack_signs(codes), out=negative)


@register_coding("tc_lif_rdoq")
class TCLIFRDOQ(TCLIF):
    """The spikes of `tc_lif` for codes that were chosen with these in mind: fewer for the same error.

    Of the two integers beside a drive, the code is the one of least squared error plus half the number of its spikes.
    """

    rounding = RATE_DISTORTION
