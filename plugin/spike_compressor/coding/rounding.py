"""How drives become codes, each by itself: rules on leading bits, in as few passes as PyTorch allows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

__all__ = ["BELOW_HALF", "NEAREST", "RATE_DISTORTION", "Limit", "Nearest", "RateDistortion", "Rounding", "beyond"]

BELOW_HALF = 0.49999997
"""The largest float32 below 1/2, `1/2 - 2^-25`."""

Limit = int | Tensor
"""A limit of codes: one for all rows, or float32 [rows, 1]."""

_BEYOND_ALL = 256
"""A magnitude above every code that a limit allows."""


class Rounding(ABC):
    """A rule from the magnitude of a drive to that of its code.

    It is an initial potential of the neuron, a function of `floor(|y|)`: q is the whole part of |y| and it together,
    and what lies beyond the limit is set to the limit. Only `frac_bits` fraction bits of |y| count, so integers decide,
    the same in every arithmetic.
    """

    frac_bits: ClassVar[int]
    """Fraction bits of |y| that the rule reads, 1 … 6."""

    spike_cost: ClassVar[float | None] = None
    """Lambda: of floor and ceiling of |y|, the code q is the one of least `(|y| - q)^2 + lambda * popcount(q)`, the
    larger one of equal ones. None where the rule is none of these."""

    native: ClassVar[int | None] = None
    """Number by which the native kernels know it (`spike_rounding`); None: they do not."""

    @abstractmethod
    def potential(self, whole: Tensor) -> Tensor | int:
        """What the neuron's membrane starts with beside |y|, in units of `2^-frac_bits`: it fires the whole part.

        Args:
            whole: integer, not negative; `floor(|y|)`.

        Returns:
            Of the same type and shape, or one for all; 0 … `2^frac_bits`.
        """

    def of_units(self, units: Tensor) -> Tensor:
        """Magnitudes of codes, before the limit.

        Args:
            units: integer, not negative; `floor(|y| * 2^frac_bits)`.

        Returns:
            Of the same type and shape.
        """
        return (units + self.potential(units >> self.frac_bits)) >> self.frac_bits

    def to_codes(self, y: Tensor, low: Limit, high: Limit, codes: Tensor, *, inside: bool) -> int:
        """Write the codes of drives.

        Args:
            y: float32 [rows, K]; overwritten.
            low: limits, whole numbers with `low <= 0 <= high`, magnitudes of 255 at most.
            high: likewise.
            codes: integer [rows, K], where to write.
            inside: no drive lies beyond the limits (`beyond`), which saves the passes that deal with it.

        Returns:
            How many drives lay beyond the limits.
        """
        count = 0 if inside else beyond(y, low, high)
        negative = y < 0
        units = y.abs_().clamp_(max=_BEYOND_ALL).mul_(1 << self.frac_bits).to(torch.int16)  # truncates
        found = self.of_units(units)
        found = torch.where(negative, -found, found)
        for bound, limit in ((torch.minimum, high), (torch.maximum, low)):
            bound(found, torch.as_tensor(limit, dtype=found.dtype, device=found.device), out=found)
        codes.copy_(found)
        return count

    def to_magnitudes(self, magnitude: Tensor, limit: int) -> Tensor:
        """Magnitudes of codes, for whoever tries many scales on the same rows.

        Args:
            magnitude: float, |y|, finite or infinite; overwritten.
            limit: the largest code.

        Returns:
            Numbers whose whole part is the code, of any type.
        """
        units = magnitude.clamp_(max=limit).mul_(1 << self.frac_bits).to(torch.int16)
        return self.of_units(units).clamp_(max=limit)

    def of_membrane(self, magnitude: Tensor, frac_bits: int) -> Tensor:
        """Magnitudes of codes of fixed-point membranes, before the limit.

        Args:
            magnitude: int64, not negative.
            frac_bits: F, `self.frac_bits` at least.

        Raises:
            ValueError: fewer.
        """
        self.require_frac_bits(frac_bits)
        return self.of_units(magnitude >> (frac_bits - self.frac_bits))

    def require_frac_bits(self, frac_bits: int) -> None:
        """Refuse membranes that lack bits which the rule reads.

        Raises:
            ValueError: too few.
        """
        if frac_bits < self.frac_bits:
            raise ValueError(f"frac_bits must be at least {self.frac_bits}, which this rounding reads, not {frac_bits}")


class Nearest(Rounding):
    """To the nearest integer, half away from zero: `floor(|y| + 1/2)`."""

    frac_bits = 1
    spike_cost = 0.0
    native = 0

    def potential(self, whole: Tensor) -> Tensor | int:
        return 1

    def to_codes(self, y: Tensor, low: Limit, high: Limit, codes: Tensor, *, inside: bool) -> int:
        # Round half away from zero by truncation. Adding 1/2 is wrong: 0.49999997 + 0.5 is 1 in float32. The
        # float below 1/2 is right for every float32. A tie k + 1/2 then misses k + 1 by 2^-25, at most half
        # the gap to the float below k + 1, and rounds to k + 1, the even one; less than a tie stays below.
        y.add_(y.sign(), alpha=BELOW_HALF)
        count = 0
        if not inside:
            count = _count_beyond(y, low, high)
            torch.minimum(y, torch.as_tensor(high, dtype=y.dtype, device=y.device), out=y)
            torch.maximum(y, torch.as_tensor(low, dtype=y.dtype, device=y.device), out=y)
        codes.copy_(y)  # truncates
        return count

    def to_magnitudes(self, magnitude: Tensor, limit: int) -> Tensor:
        half = BELOW_HALF if magnitude.dtype == torch.float32 else 0.5
        return magnitude.add_(half).clamp_(max=limit)


class RateDistortion(Rounding):
    """Rounding that counts what a code's spikes cost, half a squared unit each.

    With `f = floor(|y|)`, n the number of ones that f ends in, in binary, and r the fraction: up where
    `r >= (3 - n) / 4`, else down. For f + 1 has n ones less than f and one more, so up costs `(1 - r)^2 - r^2 +
    (1 - n) / 2` more than down. In video coding this choice of levels is rate-distortion optimized quantization (RDOQ).
    """

    frac_bits = 2
    spike_cost = 0.5
    native = 1

    def potential(self, whole: Tensor) -> Tensor | int:
        one = whole & 1
        two = one & (whole >> 1)
        three = two & (whole >> 2)  # a fourth would change nothing: with three, every fraction goes up
        return one + two + three + 1


NEAREST = Nearest()
RATE_DISTORTION = RateDistortion()


def beyond(y: Tensor, low: Limit, high: Limit) -> int:
    """How many of `y` [rows, K] are nearest to integers beyond their limits; `y` stays as it is."""
    return _count_beyond(y.add(y.sign(), alpha=BELOW_HALF), low, high)


def _count_beyond(y: Tensor, low: Limit, high: Limit) -> int:
    """How many of `y` lie at least 1 beyond whole numbers."""
    # comparisons into float32 are vectorised, into bool they are not; the sum of a row is exact
    flags = torch.empty_like(y)
    count = 0
    for compare, limit in ((torch.ge, high + 1), (torch.le, low - 1)):
        compare(y, limit, out=flags)
        count += int(flags.sum(dim=-1).sum(dtype=torch.float64))
    return count
