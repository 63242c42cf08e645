"""Means of a row's magnitudes or of their squares, of which no order of summation shows."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from spike_compressor.coding.blocks import as_table, row_blocks
from spike_compressor.coding.statistics.base import Statistic, geometric_ratios, register_statistic

#: Bits of a magnitude in units of its row: the sum of 2^17 squares of so many is exact in float64.
_BITS = 18


class _Mean(Statistic):
    """A mean over integer magnitudes, which are exact whatever the order.

    With E such that `2^(E-1) <= absmax < 2^E`, magnitudes are counted in units of `2^(E-18)` of the row:

        m_k = floor(|x_k| * 2^(18-E))       0 <= m_k < 2^18

    Their sum, or that of their squares, is an integer S; the mean is one float64 quotient `S / K`. What is lost
    below a unit is 2^-18 of the largest input.
    """

    power: ClassVar[int]

    def of_rows(self, x: Tensor) -> Tensor:
        table = as_table(x)
        rows, width = table.shape
        result = torch.zeros(rows, dtype=torch.float32, device=x.device)
        for block in row_blocks(rows, 2 * width, x.device) if width else ():
            part = table[block].to(torch.float32).to(torch.float64).abs_()
            absmax = part.amax(dim=1)
            _, exponent = torch.frexp(absmax)
            units = part.mul_(_power_of_two(_BITS - exponent).unsqueeze(1)).trunc_()
            total = self._total(units)
            mean = (self._root(total / width) * _power_of_two(exponent - _BITS)).to(torch.float32)
            result[block] = torch.where(absmax.isfinite(), mean, absmax.to(torch.float32))
        return result.view(x.shape[:-1])

    def _total(self, units: Tensor) -> Tensor:
        powers = units if self.power == 1 else units.square()
        if units.shape[1] > 1 << (53 - 2 * _BITS):  # float64 would round their sum
            return powers.nan_to_num_(0, 0, 0).to(torch.int64).sum(dim=1).to(torch.float64)
        return powers.sum(dim=1)

    def _root(self, mean: Tensor) -> Tensor:
        return mean if self.power == 1 else mean.sqrt()


def _power_of_two(exponent: Tensor) -> Tensor:
    """float64 2^exponent of int32 exponents in -1022 … 1023, exactly: `pow` of a vector library may be off by a bit."""
    return (exponent.to(torch.int64) + 1023 << 52).view(torch.float64)


@register_statistic("rms")
class RootMeanSquare(_Mean):
    """The root mean square: `s = ratio * rms`, T being range alone."""

    native = 1
    ratios = geometric_ratios(0.03, 1.1, 16)  # errors of coarser steps are not the sum of their parts: docs/msts.md
    power = 2


@register_statistic("mean_abs")
class MeanAbs(_Mean):
    """The mean magnitude: `s = ratio * mean |x|`, T being range alone."""

    native = 2
    ratios = geometric_ratios(0.04, 1.4, 16)
    power = 1
