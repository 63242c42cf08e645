"""What the array does with a layer's spikes, word by word, in NumPy: exact, so that counters can be held against it.

It follows from the description in `docs/rtl.md`, not from the RTL. A word gives each lane one addition: a spike of the
present plane, or, if the lane has none left, of the next plane of the same row. When no lane has a spike of the present
plane left, the next one takes its place.
"""

from __future__ import annotations

import numpy as np
from images import Plan, Shape, plan
from spike_compressor.trace import Layer, steps_of


def lane_counts(layer: Layer, shape: Shape) -> np.ndarray:
    """Spikes of every row, block, plane and lane: int32 [M, row_blocks, planes, lanes], highest exponent first."""
    cut = plan(layer, shape)
    M, K = layer.info.tokens, layer.info.in_features
    own = layer.timesteps.astype(np.int64) + steps_of(0, layer.info.coding)  # steps of each row
    top = int(own.max())
    k = np.arange(K)
    inside = k % cut.group_inputs
    block = (k // cut.group_inputs) * cut.group_blocks + inside // (shape.lanes * shape.slots)
    place = block * shape.lanes + inside % shape.lanes
    counts = np.zeros((M, top, cut.row_blocks * shape.lanes), np.int32)
    t, m, k = np.nonzero(layer.spikes)
    np.add.at(counts, (m, top - own[m] + t, place[k]), 1)
    return counts.reshape(M, top, cut.row_blocks, shape.lanes).transpose(0, 2, 1, 3)


def words_of(counts: np.ndarray) -> np.ndarray:
    """Words that the planes of rows take: [..., planes, lanes] -> int [...]; a row without a spike takes one."""
    lead, (planes, lanes) = counts.shape[:-2], counts.shape[-2:]
    left = np.concatenate([counts.reshape(-1, planes, lanes), np.zeros((int(np.prod(lead)), 1, lanes), int)], axis=1)
    busy = left.any(axis=2)
    present = np.where(busy.any(axis=1), busy.argmax(axis=1), planes - 1)
    words = np.zeros(len(left), np.int64)
    live = np.arange(len(left))
    while len(live):
        at = present[live]
        now, after = left[live, at], left[live, at + 1]
        left[live, at] = now - (now > 0)
        left[live, at + 1] = after - ((now == 0) & (after > 0))
        words[live] += 1
        present[live] += ~(now > 1).any(axis=1)
        live = live[present[live] < planes]
    return words.reshape(lead)


def block_words(layer: Layer, shape: Shape) -> np.ndarray:
    """Words of every row and block for one column tile: int [M, row_blocks].

    A row without a spike in a block is passed over, unless its sum is started or handed over there, or it is the last
    row of its tile, which gives the weights free.
    """
    cut = plan(layer, shape)
    counts = lane_counts(layer, shape)
    words = words_of(counts)
    block = np.arange(cut.row_blocks) % cut.group_blocks
    row = np.arange(layer.info.tokens)
    needed = np.zeros(words.shape, bool)
    needed[:, (block == 0) | (block == cut.group_blocks - 1)] = True
    needed[(row % shape.rows == shape.rows - 1) | (row == layer.info.tokens - 1)] = True
    return np.where(needed | counts.any(axis=(2, 3)), words, 0)


def expected_counters(layer: Layer, shape: Shape) -> dict[str, int]:
    """Counters that follow from the layer alone, whatever the streams do."""
    cut: Plan = plan(layer, shape)
    fired = int(np.count_nonzero(layer.spikes))
    whole = (np.abs(layer.membrane.astype(np.int64)) + (1 << layer.info.frac_bits - 1)) >> layer.info.frac_bits
    own = layer.timesteps.astype(np.int64)
    steps = own + steps_of(0, layer.info.coding)
    want = {
        "rows": layer.info.tokens,
        "spikes": fired,
        "saturated": int(np.count_nonzero(whole >= 1 << own[:, None])),
        "additions": fired * cut.column_tiles,  # every spike met every column tile exactly once
        "words": int(block_words(layer, shape).sum()) * cut.column_tiles,
        "skipped": int(steps.sum()) * layer.info.in_features - fired,
    }
    return want | {f"rows_t{t}": int(np.count_nonzero(own == t)) for t in range(1, 8)}
