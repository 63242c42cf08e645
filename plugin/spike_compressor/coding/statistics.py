"""Statistics of rows that dynamic thresholds are tied to, and the registry that knows all of them.

A threshold that follows a row's largest input leaves the row's bulk few spikes wherever an outlier stretches it. One
that follows the row's root mean square, with T as range alone, lets the outliers spend some spikes more and keeps the
bulk's step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from spike_compressor.coding.base import Coding, get_coding
from spike_compressor.coding.blocks import as_table, row_blocks
from spike_compressor.registry import Registry

__all__ = [
    "STATISTICS",
    "Statistic",
    "available_statistics",
    "candidate_scales",
    "geometric_ratios",
    "get_statistic",
    "register_statistic",
    "row_extremes",
]

_LARGEST = torch.finfo(torch.float32).max
#: Bits of a magnitude in units of its row: the sum of 2^17 squares of so many is exact in float64.
_BITS = 18


def geometric_ratios(low: float, high: float, count: int) -> tuple[float, ...]:
    """`count` threshold ratios from `low` to `high`, each greater than the one before by the same factor.

    They are rounded to three decimals, so that a plan reads well.
    """
    return tuple(round(low * (high / low) ** (index / (count - 1)), 3) for index in range(count))


class Statistic(ABC):
    """One number of a row that its threshold is proportional to.

    The numbers must not depend on the order in which a row is summed up: every backend has to get the same bits.
    """

    name: ClassVar[str]
    """Set by `register_statistic`."""

    native: ClassVar[int | None] = None
    """By which number the native kernels know it; None: rows are measured here, and the kernels are told the scales."""

    ratios: ClassVar[tuple[float, ...]] = geometric_ratios(0.02, 2.0, 20)
    """Threshold ratios that calibration chooses from, rising."""

    bounds_rows: ClassVar[bool] = False
    """True if no input of a row is larger than its statistic."""

    @abstractmethod
    def of_rows(self, x: Tensor) -> Tensor:
        """float32 [*rows] of `x` floating point [*rows, K]: not negative, 0 of a row of zeros, not finite of one that
        holds NaN or infinity."""

    def divisor(self, codec: Coding, timesteps: int) -> int:
        """What a threshold is divided by at T timesteps: codes of the weakest spike, where T is range alone."""
        return codec.unit(timesteps)

    def scales(self, value: Tensor, factor: Tensor, divisor: Tensor) -> Tensor:
        """`(factor * value) / divisor`, each operation rounded once in float32; 1 where that is 0.

        Args:
            value: float32, of rows as `of_rows` gives them.
            factor: float32 threshold ratios, as they broadcast against `value`.
            divisor: float32, of `divisor`, likewise.
        """
        scale = (value * factor).clamp_(max=_LARGEST) / divisor
        return scale.masked_fill_(scale == 0, 1.0)

    def divisors(self, codec: Coding, timesteps: int | Tensor, device: torch.device) -> Tensor:
        """`divisor` of one T or of those of rows, float32, of the same shape."""
        every = range(1, codec.max_timesteps + 1)
        table = torch.tensor([1, *(self.divisor(codec, T) for T in every)], dtype=torch.float32)
        if isinstance(timesteps, int):
            return table[timesteps].to(device)
        return table.to(device)[timesteps.long()]


STATISTICS: Registry[Statistic] = Registry(
    "threshold statistic", "spike_compressor.statistics", named=True, convert=lambda statistic: statistic()
)
StatisticT = TypeVar("StatisticT", bound=type[Statistic])


def register_statistic(name: str) -> Callable[[StatisticT], StatisticT]:
    """Class decorator that makes a `Statistic` known under `name`.

    Raises:
        InputError: the name belongs to another class already.
    """
    return STATISTICS.register(name)


def get_statistic(name: str) -> Statistic:
    """The statistic of that name.

    Raises:
        InputError: there is none.
    """
    return STATISTICS.get(name)


def available_statistics() -> tuple[str, ...]:
    """Names of all registered statistics, sorted."""
    return STATISTICS.names()


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
    ratios = geometric_ratios(0.03, 1.8, 18)
    power = 2


@register_statistic("mean_abs")
class MeanAbs(_Mean):
    """The mean magnitude: `s = ratio * mean |x|`, T being range alone."""

    native = 2
    ratios = geometric_ratios(0.04, 2.0, 18)
    power = 1


@torch.no_grad()
def candidate_scales(
    value: Tensor,
    timesteps: Sequence[int],
    ratios: Sequence[float],
    statistic: str = "absmax",
    coding: str = "tc_lif",
) -> Tensor:
    """The scales that rows have at every T and ratio.

    Args:
        value: float32 [R], the statistic of each row, finite.
        timesteps: T, each from 1 to what the coding has.
        ratios: each above 0 and at most 2.
        statistic: a name of `available_statistics`.
        coding: a name of `available_codings`.

    Returns:
        float32 [len(timesteps), len(ratios), R].
    """
    kind = get_statistic(statistic)
    divisors = kind.divisors(get_coding(coding), torch.tensor(list(timesteps)), value.device)
    factors = torch.tensor(list(ratios), dtype=torch.float32, device=value.device)
    return kind.scales(value, factors[:, None], divisors[:, None, None])


def row_extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and maximum of each row of `x` [*rows, K], float32 [*rows]; NaN of NaN, 0 where K = 0."""
    table = as_table(x)
    if table.numel() == 0:
        none = torch.zeros(x.shape[:-1], dtype=torch.float32, device=x.device)
        return none, none.clone()
    low, high = [], []
    for block in row_blocks(table.shape[0], table.shape[1], x.device):
        part = table[block].to(torch.float32)
        low.append(part.amin(dim=-1))
        high.append(part.amax(dim=-1))
    if len(low) == 1:
        return low[0].view(x.shape[:-1]), high[0].view(x.shape[:-1])
    return torch.cat(low).view(x.shape[:-1]), torch.cat(high).view(x.shape[:-1])
