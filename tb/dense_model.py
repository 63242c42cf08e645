"""A dense array that never waits: its shape, and the cycles that layers take on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from images import Shape, dense_words, plan
from spike_compressor.trace import Layer

#: Bits that no magnitude is larger than.
EVERY = 31


@dataclass(frozen=True)
class DenseShape:
    """A dense array: `rows` x `columns` accumulators, `lanes` products each and cycle.

    Args:
        planes: bits of a magnitude that a product takes in a pass; None: as many as the bundle's largest T.
    """

    rows: int = 8
    columns: int = 16
    lanes: int = 8
    planes: int | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates a cycle."""
        return self.rows * self.columns * self.lanes

    def parameters(self, tmax: int) -> dict[str, int]:
        """What results of synthesis have to have."""
        size = {"Rows": self.rows, "Columns": self.columns, "Lanes": self.lanes}
        return {**size, "Tmax": tmax, "Multiply": 0, "Planes": self.planes or 0}

    @property
    def tile(self) -> Shape:
        """The baseline's shape as a core's, as far as it cuts layers into tiles."""
        return Shape(self.rows, self.columns, self.lanes, 1, self.lanes)

    def fitting(self, spike: Shape) -> Shape:
        """The same with the limits of a spike core."""
        blocks = max(2, spike.capacity // self.lanes)
        return replace(self.tile, weight_bits=spike.weight_bits, tmax=spike.tmax, blocks=blocks, csd=False)


def dense_cycles(layer: Layer, shape: DenseShape) -> np.ndarray:
    """Cycles of a dense array that never waits for its inputs, per row: float [M].

    A tile takes a cycle for each pass over a chunk; a group's sums leave a row a cycle, as the spike core's do, so it
    never takes fewer cycles than the tile has rows. A tile's cycles are shared out evenly among its rows.
    """
    words = dense_words(layer, shape.tile, shape.planes or EVERY)
    tiles = plan(layer, shape.tile).column_tiles
    rows = np.minimum(shape.rows, layer.info.tokens - np.arange(len(words)) * shape.rows)  # of each tile
    cycles = np.maximum(words, rows[:, None]).sum(axis=1) / rows
    return tiles * np.repeat(cycles, rows)
