"""Drives to the nearest codes, in as few passes over memory as PyTorch allows."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["BELOW_HALF", "Limit", "beyond", "round_to_codes"]

BELOW_HALF = 0.49999997
"""The largest float32 below 1/2, `1/2 - 2^-25`."""

Limit = int | Tensor
"""A limit of codes: one for all rows, or float32 [rows, 1]."""


def round_to_codes(y: Tensor, low: Limit, high: Limit, codes: Tensor, *, inside: bool) -> int:
    """`clamp(round_half_away(y), low, high)`.

    Args:
        y: float32 [rows, K]; overwritten.
        low: limits, whole numbers with `low <= 0 <= high`.
        high: likewise.
        codes: integer [rows, K], where to write.
        inside: nothing is rounded beyond the limits, which saves the passes that deal with it.

    Returns:
        How many lay beyond the limits when they were rounded.
    """
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


def beyond(y: Tensor, low: Limit, high: Limit) -> int:
    """How many of `y` [rows, K] are rounded beyond their limits; `y` stays as it is."""
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
