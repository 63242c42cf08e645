"""The largest magnitude of a row."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.base import Coding
from spike_compressor.coding.blocks import row_extremes
from spike_compressor.coding.statistics.base import Statistic, register_statistic


@register_statistic("absmax")
class AbsMax(Statistic):
    """The largest magnitude. The largest code stands for it, so with T timesteps `s = ratio * absmax / (2^T - 1)`."""

    native = 0
    bounds_rows = True
    ratios = tuple(percent / 100 for percent in range(40, 125, 5))

    def of_rows(self, x: Tensor) -> Tensor:
        low, high = row_extremes(x)
        return torch.maximum(high, low.neg_())

    def divisor(self, codec: Coding, timesteps: int) -> int:
        return codec.largest(timesteps)
