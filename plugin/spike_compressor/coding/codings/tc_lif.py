"""TC-LIF: temporally compressed signed binary spikes, the default."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import MAX_TIMESTEPS, PerRow, along_features
from spike_compressor.coding.base import Coding, register_coding


@register_coding("tc_lif")
class TCLIF(Coding):
    """T steps of {-1, 0, 1} with weights ``2^(T-1-t)``: the sign, and the bits of ``|q|``, highest first.

    This is what the neuron of :class:`~spike_compressor.coding.TCLIFNode` fires, computed for all steps at once.
    """

    signed = True

    def weights(self, timesteps: int) -> tuple[int, ...]:
        return tuple(1 << (timesteps - 1 - t) for t in range(timesteps))

    def fire(self, levels: Tensor, timesteps: PerRow, steps: int) -> Tensor:
        codes = levels.to(torch.int8)
        sign = codes.sign()
        # Left-aligned, the step t of every row reads the same bit, whatever its T, and zeros follow a row's own.
        aligned = codes.abs() << along_features(MAX_TIMESTEPS - timesteps)
        aligned = aligned.to(torch.int8)
        spikes = torch.empty((steps, *codes.shape), dtype=torch.int8, device=codes.device)
        for t, plane in enumerate(spikes):
            torch.bitwise_right_shift(aligned, MAX_TIMESTEPS - 1 - t, out=plane)
            plane.bitwise_and_(1).mul_(sign)
        return spikes
