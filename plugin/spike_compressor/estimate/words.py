"""Words of additions that the event-driven array makes of spikes: the rule of `docs/rtl.md`, in NumPy.

A word gives each lane one addition: a spike of the present plane, or, if the lane has none left, of the next plane of
the same row. When no lane has a spike of the present plane left, the next one takes its place. The benches of the core
hold its counters against this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def lane_counts(
    spikes: Array, steps: Array, group_inputs: int, lanes: int, slots: int
) -> tuple[NDArray[np.int32], int]:
    """Spikes of every row, block, plane and lane.

    Args:
        spikes: int8 [steps, M, K], most significant step first.
        steps: of each row, int [M]; rows of different T are lined up by the weight of their spikes.
        group_inputs: inputs of a group; blocks end with a group.
        lanes: of the array.
        slots: of a lane's bank.

    Returns:
        int32 [M, blocks, planes, lanes], highest plane first, and the blocks of a group.
    """
    M, K = spikes.shape[1:]
    group_blocks = -(-group_inputs // (lanes * slots))
    blocks = K // group_inputs * group_blocks
    top = int(steps.max())
    k = np.arange(K)
    inside = k % group_inputs
    place = (k // group_inputs * group_blocks + inside // (lanes * slots)) * lanes + inside % lanes
    counts = np.zeros((M, top, blocks * lanes), np.int32)
    t, m, k = np.nonzero(spikes)
    np.add.at(counts, (m, top - steps[m] + t, place[k]), 1)
    return counts.reshape(M, top, blocks, lanes).transpose(0, 2, 1, 3), group_blocks


def words_of(counts: Array) -> NDArray[np.int64]:
    """Words that the planes of rows take; a row without a spike takes one.

    Args:
        counts: spikes, int [..., planes, lanes], highest plane first.

    Returns:
        int64 [...].
    """
    lead, (planes, lanes) = counts.shape[:-2], counts.shape[-2:]
    left: Array = np.concatenate(
        [counts.reshape(-1, planes, lanes), np.zeros((int(np.prod(lead)), 1, lanes), int)], axis=1
    )
    busy: Array = np.any(left, axis=2)
    present = np.where(busy.any(axis=1), busy.argmax(axis=1), planes - 1)
    words = np.zeros(len(left), np.int64)
    live = np.arange(len(left))
    while len(live):
        at = present[live]
        now, after = left[live, at], left[live, at + 1]
        left[live, at] = now - (now > 0)
        left[live, at + 1] = after - ((now == 0) & (after > 0))
        words[live] += 1
        present[live] += ~np.any(now > 1, axis=1)
        live = live[present[live] < planes]
    return words.reshape(lead)


def block_words(counts: Array, group_blocks: int, tile_rows: int) -> NDArray[np.int64]:
    """Words of every row and block for one column tile.

    A row without a spike in a block is passed over, unless its sum is started or handed over there, or it is the last
    row of its tile, which gives the weights free.

    Args:
        counts: spikes, int [M, blocks, planes, lanes].
        group_blocks: blocks of a group.
        tile_rows: rows of a tile.

    Returns:
        int64 [M, blocks].
    """
    M, blocks = counts.shape[:2]
    block, row = np.arange(blocks) % group_blocks, np.arange(M)
    needed = np.zeros((M, blocks), bool)
    needed[:, (block == 0) | (block == group_blocks - 1)] = True
    needed[(row % tile_rows == tile_rows - 1) | (row == M - 1)] = True
    return np.where(needed | counts.any(axis=(2, 3)), words_of(counts), 0)
