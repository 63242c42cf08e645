"""What arrays would be with other memories and shapes: cycles of layers, areas from mapped blocks.

Logic is that of `rtl/synth/arrays.json`, memories are those of `rtl/synth/sram.py`. Cycles are words of the cycle
model, to which an organisation adds what it takes. No design waits for its streams here, nor for its first block.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cycle_model import block_words, lane_counts
from images import Shape, dense_words, plan
from spike_compressor.trace import Layer
from toolchain import ROOT

sys.path.insert(0, str(ROOT / "rtl" / "synth"))

from sram import Memory, Node, memory, one_port

ARRAYS = ROOT / "rtl" / "synth" / "arrays.json"
LADDER = ROOT / "rtl" / "synth" / "ladder.json"
ROWS, INPUTS, WEIGHT_BITS, GROUPS = 8, 2048, 4, 32
#: Bits of a magnitude that no code is larger than.
EVERY = 31
#: A rung of the ladder that stands beside the arrays.
EIGHT_BITS = "INT4 x INT8 (W4A8)"
#: Columns of the ladder's arrays.
RUNG_COLUMNS = 16
#: Rungs of dense arrays of 16 inputs, by the name of that of 8.
WIDE = {"dense, T 3": "INT4 x (sign + 3), 16 inputs", "dense, T 4": "INT4 x (sign + 4), 16 inputs"}
#: Rungs of group arrays, by most steps; inputs of their chunks.
GROUPS_OF = {"groups, S 6": "groups, INT4, S = 5.5", "groups, S 7": "groups, INT4, S = 7"}
CHUNK = 128


@dataclass(frozen=True)
class Organisation:
    """How a spike core keeps weights, sums and spikes.

    Args:
        name: of tables.
        shared_banks: both halves of a lane's bank are one macro of one port. A chunk that is loaded takes a cycle
            from the words.
        two_port_sums: sums are read and written in one cycle.
        halves: of the store; with one, a row tile is fired when the one before is used up.
        one_block: groups have one block at most, and no sums are kept.
        capped: the front end lets full lanes drop spikes before a block is walked.
    """

    name: str
    shared_banks: bool = False
    two_port_sums: bool = False
    halves: int = 2
    one_block: bool = False
    capped: bool = False


@dataclass(frozen=True)
class Library:
    """What is known of a cell library: what memories are scaled to, um2 of a bit of register, blocks."""

    slug: str
    name: str
    node: Node
    flop: float
    arrays: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, slug: str, path: Path = ARRAYS) -> Library:
        """One of the results of arrays.py. Raises SystemExit if there is none."""
        data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if slug not in data:
            raise SystemExit(f"{path} has no library {slug!r}: run `python rtl/synth/arrays.py` with its files first")
        found = data[slug]
        return cls(slug, found["name"], Node(**found["node"]), found["flop_um2"], found["arrays"])

    def rung(self, name: str) -> dict[str, Any]:
        """One of the ladder's arrays. Raises SystemExit if this library's was not measured."""
        found = json.loads(LADDER.read_text(encoding="utf-8")).get(self.slug, {"rungs": {}})["rungs"]
        if name not in found:
            raise SystemExit(f"{LADDER} has no rung {name!r} of {self.slug}: run `make ladder` with its files first")
        return dict(found[name])

    def of_rung(self, name: str, beside: str, columns: int) -> dict[str, float]:
        """um2 of an array of the ladder by part; what it leaves out is that of an array of arrays.json.

        Args:
            name: of the rung.
            beside: a dense array that has a walker, a pipeline and a drain like it.
            columns: how many; a rung has 16.
        """
        parts = {part: area for part, area in self.rung(name)["area_um2"].items() if part != "encoders"}
        for part in ("columns", "weight register", "buffer of sums"):
            parts[part] *= columns / RUNG_COLUMNS
        like = logic(self.arrays[beside], columns)
        bits = WEIGHT_BITS + self.arrays[beside]["tmax"] + (INPUTS - 1).bit_length()
        return parts | {
            "walker": like["walker"],
            "pipeline": like["pipeline"],
            "drain": like["drain"] - ROWS * columns * bits * self.flop,  # beside the buffer
        }

    def eight_bits(self) -> float:
        """um2 of the ladder's array with activations of eight bits."""
        return float(sum(self.rung(EIGHT_BITS)["area_um2"].values()))


def logic(array: dict[str, Any], columns: int) -> dict[str, float]:
    """um2 of an array's logic by part."""
    found = dict(array["once"])
    for part, area in array["a column"].items():
        found[part] = found.get(part, 0.0) + columns * area
    return found


@dataclass(frozen=True)
class Core:
    """A spike core, organised in some way."""

    library: Library
    name: str
    columns: int
    how: Organisation

    @property
    def array(self) -> dict[str, Any]:
        """Its blocks."""
        return self.library.arrays[self.name]

    @property
    def shape(self) -> Shape:
        """As the cycle model takes it."""
        lanes, slots = self.array["lanes"], self.array["slots"]
        limits = (max(1, lanes // 4), WEIGHT_BITS, self.array["tmax"], INPUTS // (lanes * slots), False)
        return Shape(ROWS, self.columns, lanes, slots, *limits)

    @property
    def adders(self) -> int:
        """Additions that a word can hold."""
        return self.columns * int(self.array["lanes"])

    def memories(self) -> dict[str, list[Memory]]:
        """What it keeps things in."""
        shape, node = self.shape, self.library.node
        bank = one_port if self.how.shared_banks else memory
        bits = self.columns * (WEIGHT_BITS + shape.tmax + (INPUTS - 1).bit_length())
        if self.how.two_port_sums:
            sums = memory(ROWS, bits, halves=False, node=node)
        else:
            sums = one_port(ROWS, bits, node=node)
        words, width = ROWS * shape.blocks, shape.lanes * shape.slots
        plane = memory(2 * words, width, node=node) if self.how.halves == 2 else one_port(words, width, node=node)
        return {
            "weight banks": [bank(2 * shape.slots, self.columns * WEIGHT_BITS, node=node)] * shape.lanes,
            "sums": [] if self.how.one_block else [sums],
            "store of spikes": [plane] * (shape.tmax + 1),
        }

    def areas(self) -> dict[str, float]:
        """um2 by part."""
        found = logic(self.array, self.columns)
        if self.how.shared_banks:  # a chunk comes in several beats, and is written at once
            waiting = self.shape.lanes - self.shape.weight_inputs
            found["chunk of weights"] = waiting * self.columns * WEIGHT_BITS * self.library.flop
        if self.how.one_block:
            leaving = self.array["with one block"]
            found["accumulators"] = leaving["once"] + self.columns * leaving["a column"]
        if self.how.capped:
            found["capped firing"] = sum(self.array["with capped firing"]["area_um2"].values())
        return found | {part: sum(one.area for one in macros) for part, macros in self.memories().items()}

    def cycles(self, layer: Layer) -> dict[str, float]:
        """Of a layer: `words`, and what the organisation adds to them.

        Loading adds what it takes if no word of a row waits for another reason just then: more than it would.

        Raises:
            ValueError: a group has more than one block, and the core does not keep sums.
        """
        cut, shape = plan(layer, self.shape), self.shape
        if self.how.one_block and cut.group_blocks > 1:
            raise ValueError(f"layer {layer.name}: its groups have {cut.group_blocks} blocks of {self.name}")
        words = block_words(layer, shape)
        found = {"words": float(words.sum() * cut.column_tiles)}
        if self.how.shared_banks:
            found["loading"] = float(cut.row_tiles * cut.column_tiles * cut.row_chunks)
        if not self.how.two_port_sums:
            found["sums"] = float(low_rows(layer, shape) * cut.column_tiles)
        if self.how.halves == 1:
            found["firing"] = float(layer.info.tokens * (1 + cut.row_chunks))
        return found


@dataclass(frozen=True)
class Dense:
    """A dense array of `columns` outputs and 8 rows.

    Args:
        lanes: inputs a cycle: 8, or 16 where `WIDE` has it.
    """

    library: Library
    name: str
    columns: int
    lanes: int = 8

    @property
    def array(self) -> dict[str, Any]:
        """Its blocks."""
        return self.library.arrays[self.name]

    def areas(self) -> dict[str, float]:
        """um2 by part."""
        if self.lanes == 16:
            return self.library.of_rung(WIDE[self.name], self.name, self.columns)
        array, node = self.array, self.library.node
        store = memory(2 * INPUTS // array["lanes"], (array["tmax"] + 1) * array["lanes"], node=node)
        bits = WEIGHT_BITS + array["tmax"] + (INPUTS - 1).bit_length()
        offsets = memory(2 * ROWS * GROUPS, bits, node=node)
        return logic(array, self.columns) | {"store of activations": ROWS * store.area, "offsets": offsets.area}

    def cycles(self, layer: Layer, *, one_pass: bool) -> float:
        """Of a layer: passes over chunks, or the rows of a tile whose sums leave, where more."""
        tile = Shape(ROWS, self.columns, self.lanes, 1, self.lanes)
        words = dense_words(layer, tile, EVERY if one_pass else self.array["planes"])
        own = np.minimum(ROWS, layer.info.tokens - np.arange(len(words)) * ROWS)
        return float(np.maximum(words, own[:, None]).sum() * plan(layer, tile).column_tiles)


@dataclass(frozen=True)
class Group:
    """A group array of `columns` outputs and 8 rows, with encoders.

    Args:
        name: of `GROUPS_OF`.
    """

    library: Library
    name: str
    columns: int = 16
    encoders: float = 1

    @property
    def rung(self) -> dict[str, Any]:
        """Its blocks, as the ladder has them."""
        return self.library.rung(GROUPS_OF[self.name])

    @property
    def shape(self) -> Shape:
        """As layers are cut for it."""
        return Shape(ROWS, self.columns, CHUNK, 1)

    def areas(self) -> dict[str, float]:
        """um2 by part."""
        parts = self.library.of_rung(GROUPS_OF[self.name], "dense, T 4", self.columns)
        return parts | {"encoders": self.encoders * float(self.rung["encoder_um2"])}

    def cycles(self, job: Sequence[Layer], steps: float | None = None) -> float:
        """Of layers that share their inputs and one encoding: the array's, or the encoders' where these are more.

        Args:
            job: the layers.
            steps: of a row, on the mean; None: those of the layers' rows.
        """
        array = sum(self._array(layer, steps) for layer in job)
        info = job[0].info
        own = float(job[0].timesteps.sum()) if steps is None else info.tokens * steps
        return max(array, own * -(-info.in_features // 4) / self.encoders)

    def _array(self, layer: Layer, steps: float | None) -> float:
        """Of the array: steps of a tile's chunks, or the rows of it whose sums leave, where more."""
        cut = plan(layer, self.shape)
        starts = np.arange(0, layer.info.tokens, ROWS)
        most = np.maximum.reduceat(layer.timesteps.astype(float), starts) if steps is None else steps
        own = np.minimum(ROWS, layer.info.tokens - starts)
        return float(np.maximum(most * cut.group_chunks, own).sum() * cut.groups * cut.column_tiles)


#: Layers that get the same inputs, by the last part of their names.
SHARING = ({"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"})


def jobs(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Layers by what they are encoded together with: q, k and v of a block, and gate and up, in the order they come."""
    found: dict[tuple[str, int, str], list[Layer]] = {}
    for layer in layers:
        parent, _, last = layer.name.rpartition(".")
        kind = next((str(sorted(kinds)) for kinds in SHARING if last in kinds), last)
        found.setdefault((parent, layer.info.in_features, kind), []).append(layer)
    return list(found.values())


def low_rows(layer: Layer, shape: Shape) -> int:
    """Rows and blocks with no plane above the lowest, where a core whose sums have one port waits a cycle."""
    counts = lane_counts(layer, shape).any(axis=3)
    return int((~counts[:, :, :-1].any(axis=2) & (block_words(layer, shape) > 0)).sum())


#: Today's core, and what could be changed.
TODAY = Organisation("one-port sums, two macros a bank")
ONE_BLOCK = replace(TODAY, name="groups of one block", one_block=True)
UPGRADES = (
    replace(TODAY, name="two-port sums", two_port_sums=True),
    TODAY,
    replace(TODAY, name="one macro a bank, loading takes cycles", shared_banks=True),
    replace(TODAY, name="one half of the store", halves=1),
    ONE_BLOCK,
    replace(ONE_BLOCK, name="groups of one block, one macro a bank", shared_banks=True),
)
#: For layers that are coded so.
CAPPED = tuple(replace(how, name=f"{how.name}, capped", capped=True) for how in UPGRADES if how.one_block)


def total(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    """Sums by name."""
    found: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            found[name] = found.get(name, 0.0) + value
    return found
