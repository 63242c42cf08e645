"""What a statistic of rows is, and the registry that knows all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from spike_compressor.coding.base import Coding, get_coding
from spike_compressor.registry import Registry

__all__ = [
    "STATISTICS",
    "Statistic",
    "available_statistics",
    "candidate_scales",
    "geometric_ratios",
    "get_statistic",
    "register_statistic",
]

_LARGEST = torch.finfo(torch.float32).max


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
