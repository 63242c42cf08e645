"""Rows in blocks that stay in a core's cache while several passes go over them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["as_table", "row_blocks"]

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
