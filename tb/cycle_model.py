"""What the array does with a layer's spikes, word by word, in NumPy: exact, so that counters can be held against it.

It follows from the description in `docs/rtl.md`, not from the RTL; the rule itself is the package's, which estimates
with it (`estimate/words.py`).
"""

from __future__ import annotations

import numpy as np
from images import Plan, Shape, plan
from spike_compressor.estimate import words
from spike_compressor.estimate.words import words_of
from spike_compressor.trace import Layer, steps_of

__all__ = ["block_words", "expected_counters", "lane_counts", "words_of"]


def lane_counts(layer: Layer, shape: Shape) -> np.ndarray:
    """Spikes of every row, block, plane and lane: int32 [M, row_blocks, planes, lanes], highest exponent first."""
    own = layer.timesteps.astype(np.int64) + steps_of(0, layer.info.coding)  # steps of each row
    return words.lane_counts(layer.spikes, own, plan(layer, shape).group_inputs, shape.lanes, shape.slots)[0]


def block_words(layer: Layer, shape: Shape) -> np.ndarray:
    """Words of every row and block for one column tile: int [M, row_blocks]."""
    return words.block_words(lane_counts(layer, shape), plan(layer, shape).group_blocks, shape.rows)


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


def group_words(layer: Layer, shape: Shape) -> int:
    """Cycles that the array of a group core works: a chunk takes as many as its row tile has steps, whatever fires."""
    cut = plan(layer, shape)
    steps = np.maximum.reduceat(layer.timesteps.astype(np.int64), np.arange(0, layer.info.tokens, shape.rows))
    return int(steps.sum()) * cut.row_chunks * cut.column_tiles


def group_counters(layer: Layer, shape: Shape) -> dict[str, int]:
    """As `expected_counters`, for a group core."""
    want = {
        "rows": layer.info.tokens,
        "spikes": int(np.count_nonzero(layer.spikes)),
        "words": group_words(layer, shape),
    }
    return want | {f"rows_t{t}": int(np.count_nonzero(layer.timesteps == t)) for t in range(1, 8)}
