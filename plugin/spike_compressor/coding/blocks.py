"""Rows in blocks that stay in a core's cache while several passes go over them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["as_table", "row_blocks", "row_extremes"]

_ELEMENTS_PER_THREAD = 1 << 18
"""1 MiB of float32: near the second-level cache, and large enough that a call's overhead does not count."""


def row_blocks(rows: int, width: int, device: torch.device) -> Iterator[slice]:
    """Slices that cover `rows` rows of `width` elements; a single one on anything but a CPU.

    On a CPU, several passes over a large tensor cost memory traffic and, more than that, page faults of fresh
    temporaries. A block's temporaries are small enough for the allocator to hand out again.
    """
    if device.type != "cpu":
        yield slice(0, rows)
        return
    height = max(1, _ELEMENTS_PER_THREAD * torch.get_num_threads() // max(1, width))
    for first in range(0, rows, height):
        yield slice(first, min(first + height, rows))


def as_table(x: Tensor) -> Tensor:
    """`x` [*rows, K] as [rows, K], also where either is 0; a number is one row of one feature."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) if x.ndim else x.reshape(1, 1)


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
