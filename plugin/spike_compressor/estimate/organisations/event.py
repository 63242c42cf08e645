"""The event-driven core: lanes with weight banks of their own visit spikes alone (`docs/rtl.md`)."""

from __future__ import annotations

from math import erf, exp, pi, sqrt
from typing import ClassVar

import numpy as np

from spike_compressor.estimate.organisations.base import Job, Organisation, register_organisation
from spike_compressor.estimate.statistics import mean_words
from spike_compressor.estimate.words import Array, block_words, lane_counts
from spike_compressor.trace import Layer, steps_of

#: How much words grow with spikes, both in %: fuller words take the rest (docs/rtl.md has how full words are).
GROWTH = 0.65


@register_organisation("event")
class EventCore(Organisation):
    """`spike_core`: one row at a time, a word of additions a cycle, two blocks of weights in the banks."""

    fields = ("rows", "columns", "lanes", "slots", "weight_inputs")
    fitted = ("job", "tile", "block")
    searched: ClassVar = {"start": range(10), "handover": range(10)}

    @property
    def slots(self) -> int:
        return self.array["lanes"] * self.array["columns"]

    def terms(self, job: Job) -> tuple[dict[str, float], dict[str, float]]:
        """Firing, and the blocks: a block is loaded while the one before is used, so the slower of the two counts."""
        a = self.array
        row_tiles, column_tiles = -(-job.rows // a["rows"]), -(-job.outputs // a["columns"])
        blocks = self._blocks(job)
        chunks = sum(count * -(-size // a["lanes"]) for size, count in blocks)
        first = min(job.rows, a["rows"]) * (1.0 + chunks)
        tiles = self._tiles(job.rows)
        spread = sum(rows * spikes.spread for rows, spikes in job.mix) / job.rows
        loading = additions = both = 0.0
        for size, following, count in self._turns(job):
            load, words = self._load(following), self._words(job, size)
            loading += count * load * row_tiles
            additions += count * words * job.rows
            both += count * sum(times * self._turn(rows * words, load, spread) for rows, times in tiles)
        load, words = self._load(blocks[0][0]), tiles[-1][0] * self._words(job, blocks[-1][0])
        hidden = self._turn(words, load, spread) - words  # nothing is loaded while the last block is used
        parts = {
            "firing": job.rows * (1.0 + chunks),
            "loading": loading * column_tiles,
            "additions": additions * column_tiles + first,
            "blocks": both * column_tiles - hidden + max(first, self._load(blocks[0][0]) + self.constants["start"]),
        }
        return parts, {"job": 1, "tile": row_tiles, "block": row_tiles * column_tiles * sum(n for _, n in blocks)}

    def work(self, job: Job) -> tuple[float, float, float]:
        words = sum(count * self._words(job, size) for size, count in self._blocks(job))
        return words * job.rows * -(-job.outputs // self.array["columns"]), job.additions, 0.0

    def tile_words(self, layer: Layer) -> Array | None:
        own = layer.timesteps.astype(np.int64) + steps_of(0, layer.info.coding)
        size = layer.info.in_features // layer.groups
        counts, group_blocks = lane_counts(layer.spikes, own, size, self.array["lanes"], self.array["slots"])
        words = block_words(counts, group_blocks, self.array["rows"])
        return np.add.reduceat(words, range(0, len(words), self.array["rows"]), axis=0)

    def exact(self, job: Job, words: Array | None) -> float:
        if words is None:
            return self.cycles(job).total
        parts, often = self.terms(job)
        blocks, tiles = self._blocks(job), self._tiles(job.rows)
        each = [self._load(size) for size, count in blocks for _ in range(count // job.groups)]
        known = exact_blocks(
            words,
            each * job.groups,
            [rows for rows, times in tiles for _ in range(times)],
            -(-job.outputs // self.array["columns"]),
            1 + sum(count * -(-size // self.array["lanes"]) for size, count in blocks),
            start=self.constants["start"],
            handover=self.constants["handover"],
        )
        return max(parts["firing"], known) + sum(self.constants[name] * count for name, count in often.items())

    def _blocks(self, job: Job) -> list[tuple[int, int]]:
        """Inputs of a block of a row, and how many blocks have so many."""
        block = self.array["lanes"] * self.array["slots"]
        whole, rest = divmod(-(-job.inputs // job.groups), block)
        return [(size, job.groups * count) for size, count in ((block, whole), (rest, int(rest > 0))) if count]

    def _turns(self, job: Job) -> list[tuple[int, int, int]]:
        """Inputs of a block, of the one that is loaded while it is used, and how many such pairs a row has."""
        blocks = self._blocks(job)
        (first, many), (last, few) = blocks[0], blocks[-1]
        if len(blocks) == 1:
            return [(first, first, many)]
        pairs = [(first, first, many - few), (first, last, few), (last, first, few)]
        return [pair for pair in pairs if pair[2]]

    def _load(self, inputs: int) -> int:
        """Cycles that the weights of a block take to come."""
        return self.array["lanes"] // self.array["weight_inputs"] * -(-inputs // self.array["lanes"])

    def _turn(self, words: float, load: float, spread: float) -> float:
        """Cycles from one block to the next: the banks hold two, and each is loaded, used and handed over in turn.

        Where words and loading are level, blocks that differ wait now for the one, now for the other: the mean of the
        larger, words taken for normal.
        """
        latency = self.constants["start"] + self.constants["handover"]
        least = max(load, (words + load + latency) / 2)
        deviation = GROWTH * spread * words
        if deviation == 0:
            return max(words, least)
        z = (words - least) / deviation
        density = exp(-z * z / 2) / sqrt(2 * pi)
        return least + (words - least) * (1 + erf(z / sqrt(2))) / 2 + deviation * density

    def _words(self, job: Job, inputs: int) -> float:
        """Words that a row takes in a block, on average."""
        lanes = self.array["lanes"]
        return sum(rows * mean_words(spikes, inputs, lanes) for rows, spikes in job.mix) / job.rows

    def _tiles(self, rows: int) -> list[tuple[int, int]]:
        """Rows of a tile, and how many tiles have so many."""
        whole, rest = divmod(rows, self.array["rows"])
        return [(size, count) for size, count in ((self.array["rows"], whole), (rest, int(rest > 0))) if count]


def exact_blocks(
    tiles: Array,
    load: list[int],
    rows: list[int],
    column_tiles: int,
    fire: int,
    *,
    start: float,
    handover: float,
) -> float:
    """Cycles of a job whose words are known, as its engines hand over blocks: the front end, the loader, the array.

    Args:
        tiles: words of every row tile and block for one column tile, int [row tiles, blocks].
        load: cycles that a block's weights take to load.
        rows: of each tile.
        column_tiles: of the job.
        fire: cycles that a row takes to be fired.
        start: cycles from a block's last weight until its first addition.
        handover: cycles from a block's last addition until its bank is loaded anew.
    """
    loaded = used = free = fired = 0.0
    left: list[float] = []  # when each row tile had left the store, which holds two
    for tile, count in zip(tiles, rows, strict=True):
        fired = max(fired, left[-2] if len(left) > 1 else 0.0) + fire * count
        used = max(used, fired)
        for _ in range(column_tiles):
            for size, words in zip(load, tile, strict=True):
                loaded = max(loaded, free) + size  # the bank is free once the block before the last was used
                free, used = used + handover, max(used, loaded + start) + float(words)
        left.append(used)
    return used
