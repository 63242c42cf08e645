"""The rungs of the ladder of baselines: which column, which numbers it gets, and what has to come out, cycle by cycle.

Every column gets one chunk a cycle: activations and weights that are normally distributed, in its own format, scaled by
the largest of 2,048 (integers) or not at all (floats). Expected outputs are NumPy's, see tb/ladder_model.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from group_model import accumulated, picks, step_sums
from ladder_model import column, int_column, pattern
from numpy.typing import NDArray
from spike_compressor.trace import fire_groups, group_membranes

GROUP = 64  # chunks of a group: 512 inputs
Frame = dict[str, int]


def packed(values: NDArray[np.int64], width: int) -> int:
    """Fields of `width` bits as one number, the first lowest; negative ones in two's complement."""
    out = 0
    for i, value in enumerate(values.tolist()):
        out |= (int(value) & ((1 << width) - 1)) << (width * i)
    return out


def codes(generator: np.random.Generator, chunks: int, lanes: int, top: int) -> NDArray[np.int64]:
    """Normal numbers as integers up to +-top, the largest of each 2,048 at top; int64 [chunks, lanes]."""
    values = generator.standard_normal((chunks * lanes + 2047) // 2048 * 2048).reshape(-1, 2048)
    rounded = np.rint(values / np.abs(values).max(1, keepdims=True) * top).astype(np.int64)
    return rounded.reshape(-1)[: chunks * lanes].reshape(chunks, lanes)


@dataclass(frozen=True)
class Rung(ABC):
    """One kind of array: `lanes` products a cycle in each column.

    Args:
        name: as the report has it.
        act_bits: of an activation in the store.
        weight_bits: of a weight in the register that all rows share.
        acc_bits: of an accumulator.
        turns: sums that a column works on in turn; a chunk of activations stays for as many cycles.
    """

    name: str
    act_bits: int
    weight_bits: int
    acc_bits: int
    lanes: int = 8
    keep: tuple[str, ...] = ()
    turns: int = 1

    @property
    @abstractmethod
    def top(self) -> str:
        """Module of the column."""

    @property
    @abstractmethod
    def parameters(self) -> dict[str, int]:
        """Its parameters."""

    @property
    def offset(self) -> dict[str, int] | None:
        """Parameters of the row_offset that counts once a row what its columns need, where they do."""
        return None

    @property
    def modules(self) -> tuple[str, ...]:
        """All that are mapped for it."""
        return (self.top,) if self.offset is None else (self.top, "row_offset")

    @abstractmethod
    def frames(self, generator: np.random.Generator, chunks: int) -> Iterator[Frame]:
        """Inputs and the expected output (`acc_o`) of each cycle, after a start in which all registers hold 0."""


@dataclass(frozen=True)
class FloatRung(Rung):
    """Short floats multiplied, FP32 added: fp_column."""

    turns: int = 3
    bf16: bool = False

    @property
    def top(self) -> str:
        """Module of the column."""
        return "fp_column"

    @property
    def parameters(self) -> dict[str, int]:
        """Its parameters."""
        exp = 8 if self.bf16 else 5
        return {"Lanes": self.lanes, "ExpBits": exp, "FracBits": 15 - exp, "Subnormals": int(not self.bf16)}

    def frames(self, generator: np.random.Generator, chunks: int) -> Iterator[Frame]:
        """See Rung."""

        def draw() -> NDArray[np.uint16]:
            values = generator.standard_normal((chunks, self.lanes)).astype(np.float32)
            if self.bf16:
                return (values.view(np.uint32) >> 16).astype(np.uint16)
            return values.astype(np.float16).view(np.uint16)

        a, w = draw(), draw()
        acc = np.zeros(chunks, np.uint32)
        for turn in range(self.turns):
            ours = np.arange(turn, chunks, self.turns)
            for start in range(0, len(ours), GROUP):
                group = ours[start : start + GROUP]
                acc[group] = pattern(column(a[group], w[group], bf16=self.bf16))
        to_sum = 3 * (self.lanes.bit_length() - 1) + 1  # cycles from a chunk's own to its first in the accumulator
        for cycle in range(chunks):
            chunk, done = cycle - to_sum, cycle - to_sum - 3
            yield {
                "enable_i": 1,
                "first_i": int(chunk < self.turns or chunk // self.turns % GROUP == 0),
                "activations_i": packed(a[cycle].astype(np.int64), 16),
                "weights_i": packed(w[cycle].astype(np.int64), 16),
                "acc_o": int(acc[done]) if done >= 0 else 0,
            }


@dataclass(frozen=True)
class IntRung(Rung):
    """Two's complement on both sides: int_column."""

    @property
    def top(self) -> str:
        """Module of the column."""
        return "int_column"

    @property
    def parameters(self) -> dict[str, int]:
        """Its parameters."""
        return {
            "Lanes": self.lanes,
            "WeightBits": self.weight_bits,
            "ActBits": self.act_bits,
            "AccWidth": self.acc_bits,
        }

    @property
    def offset(self) -> dict[str, int] | None:
        """Of two's complement."""
        return {**self.parameters, "SignMagnitude": 0}

    @property
    def low_bits(self) -> int:
        """Of the accumulator's lower half."""
        return self.weight_bits + self.lanes.bit_length() + self.act_bits

    def operands(self, generator: np.random.Generator, chunks: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Activations and weights; int64 [chunks, lanes]."""
        return (
            codes(generator, chunks, self.lanes, (1 << (self.act_bits - 1)) - 1),
            codes(generator, chunks, self.lanes, (1 << (self.weight_bits - 1)) - 1),
        )

    def sums(self, a: NDArray[np.int64], w: NDArray[np.int64]) -> NDArray[np.int64]:
        """The accumulator after each chunk of a group."""
        return int_column(a, w, self.weight_bits, self.act_bits)

    def inputs(self, a: NDArray[np.int64]) -> Frame:
        """The column's inputs for the activations of a chunk."""
        return {"activations_i": packed(a, self.act_bits)}

    def frames(self, generator: np.random.Generator, chunks: int) -> Iterator[Frame]:
        """See Rung; the accumulator's upper half comes a cycle after the lower one."""
        a, w = self.operands(generator, chunks)
        acc = np.concatenate([self.sums(a[s : s + GROUP], w[s : s + GROUP]) for s in range(0, chunks, GROUP)])
        for cycle in range(chunks):
            low = int(acc[cycle - 3]) if cycle >= 3 else 0
            high = int(acc[cycle - 4]) if cycle >= 4 else 0
            yield {
                "product_en_i": 1,
                "sum_en_i": int(cycle >= 1),
                "low_en_i": int(cycle >= 2),
                "low_first_i": int(cycle >= 2 and (cycle - 2) % GROUP == 0),
                "high_en_i": int(cycle >= 3),
                "high_first_i": int(cycle >= 3 and (cycle - 3) % GROUP == 0),
                **self.inputs(a[cycle]),
                "weights_i": packed(w[cycle] + (1 << (self.weight_bits - 1)), self.weight_bits),
                "acc_o": low % (1 << self.low_bits) | high >> self.low_bits << self.low_bits,
            }


@dataclass(frozen=True)
class DenseRung(IntRung):
    """Weights of the spike core with the magnitudes and signs of its activations: dense_column."""

    @property
    def top(self) -> str:
        """Module of the column."""
        return "dense_column"

    @property
    def parameters(self) -> dict[str, int]:
        """Its parameters."""
        planes = self.act_bits - 1
        return {"Lanes": self.lanes, "WeightBits": self.weight_bits, "Planes": planes, "AccWidth": self.acc_bits}

    @property
    def offset(self) -> dict[str, int] | None:
        """Of sign and magnitude."""
        return {
            "Lanes": self.lanes,
            "WeightBits": self.weight_bits,
            "ActBits": self.act_bits,
            "AccWidth": self.acc_bits,
            "SignMagnitude": 1,
        }

    @property
    def low_bits(self) -> int:
        """Of the accumulator's lower half."""
        return self.weight_bits + self.lanes.bit_length() + self.act_bits - 2

    def sums(self, a: NDArray[np.int64], w: NDArray[np.int64]) -> NDArray[np.int64]:
        """The accumulator after each chunk of a group: see dense_column.sv."""
        half = 1 << (self.weight_bits - 1)
        constant = self.lanes * ((1 << self.weight_bits) - 1) * ((1 << (self.act_bits - 1)) - 1)
        return np.cumsum(constant - (a * w + np.abs(a) * np.where(a < 0, half - 1, half)).sum(1))

    def inputs(self, a: NDArray[np.int64]) -> Frame:
        """The column's inputs for the activations of a chunk."""
        planes = [packed(np.abs(a) >> b & 1, 1) for b in range(self.act_bits - 1)]
        magnitudes = sum(plane << (self.lanes * b) for b, plane in enumerate(planes))
        neg = packed((a < 0).astype(np.int64), 1)
        return {"enable_i": 1, "low_high_i": 0, "magnitudes_i": magnitudes, "neg_i": neg}


@dataclass(frozen=True)
class SpikeRung(Rung):
    """Additions of weights that spikes picked: spike_column. `filled` is the share of lanes with a spike in a word."""

    filled: float = 0.81
    words: int = 4  # of a row's block
    sum_bits: int = field(default=10)

    @property
    def top(self) -> str:
        """Module of the column."""
        return "spike_column"

    @property
    def modules(self) -> tuple[str, ...]:
        """All that are mapped for it: what the core has between its store and its accumulators."""
        return (self.top, "spike_array", "spike_picker", "spike_accumulator", "spike_weight_loader")

    @property
    def parameters(self) -> dict[str, int]:
        """Its parameters."""
        return {
            "Lanes": self.lanes,
            "WeightBits": self.weight_bits,
            "SumWidth": self.sum_bits,
            "AccWidth": self.acc_bits,
        }

    def frames(self, generator: np.random.Generator, chunks: int) -> Iterator[Frame]:
        """See Rung; a chunk is a word of additions, two words of a plane follow each other."""
        base = 1 << (self.weight_bits - 1)
        w = codes(generator, chunks, self.lanes, base - 1)
        state = np.where(generator.random(w.shape) < self.filled, generator.choice([1, 2, 2, 2], w.shape), 0)
        neg = (generator.random(w.shape) < 0.5).astype(np.int64)
        sums = (np.where(neg, -1, 1) * w * state).sum(1)
        bias = -((base - neg) * state).sum(1)
        acc, total = [], 0
        for word in range(chunks):
            place = word % self.words
            total = (0 if place == 0 else total << (place % 2 == 0)) + int(sums[word])
            acc.append(total)
        for cycle in range(chunks):
            last = cycle - 2
            yield {
                "tree_en_i": 1,
                "whole_i": packed((state[cycle] == 2).astype(np.int64), 1),
                "half_i": packed((state[cycle] == 1).astype(np.int64), 1),
                "neg_i": packed(neg[cycle], 1),
                "weights_i": packed(w[cycle] + base, self.weight_bits),
                "sum_en_i": int(cycle >= 1),
                "bias_i": (int(bias[cycle - 1]) if cycle >= 1 else 0) & ((1 << self.sum_bits) - 1),
                "acc_en_i": int(cycle >= 2),
                "first_i": int(last >= 0 and last % self.words == 0),
                "shift_i": int(last >= 0 and last % self.words > 0 and last % self.words % 2 == 0),
                "acc_o": (acc[cycle - 3] if cycle >= 3 else 0) & ((1 << self.acc_bits) - 1),
            }


@dataclass(frozen=True)
class GroupRung(Rung):
    """Weights that are picked, one of four in a step: group_column. `lanes` are the inputs of a chunk.

    Args:
        steps: chunks have these numbers of steps in turn.
        scale: what a spike of the last step is worth, over the root mean square of a row.
    """

    steps: tuple[int, ...] = (7,)
    scale: float = 0.2

    @property
    def top(self) -> str:
        """Module of the column."""
        return "group_column"

    @property
    def modules(self) -> tuple[str, ...]:
        """All that are mapped for it."""
        return (self.top, "group_array", "group_front")

    @property
    def parameters(self) -> dict[str, int]:
        """Its parameters."""
        return {
            "Groups": self.lanes // 4,
            "WeightBits": self.weight_bits,
            "Steps": max(self.steps),
            "AccWidth": self.acc_bits,
        }

    @property
    def mean_steps(self) -> float:
        """Of a chunk."""
        return sum(self.steps) / len(self.steps)

    def spikes(self, generator: np.random.Generator, steps: int) -> NDArray[np.int8]:
        """What fires in a chunk of normally distributed inputs; int8 [steps, groups, 4]."""
        x = generator.standard_normal((1, self.lanes)).astype(np.float32)
        row = np.array([steps], np.uint8)
        unit = np.array([self.scale / 2 ** (steps - 1)], np.float32)
        return fire_groups(group_membranes(x, unit, row), row, 4).reshape(steps, -1, 4)

    def frames(self, generator: np.random.Generator, chunks: int) -> Iterator[Frame]:
        """See Rung; here a cycle is a step of a chunk."""
        base, most = 1 << (self.weight_bits - 1), max(self.steps)
        places: list[tuple[int, int]] = []  # chunk and step of a cycle
        fired, weights, acc = [], [], [0]  # acc: behind each chunk
        while len(places) < chunks:
            chunk, steps = len(fired), self.steps[len(fired) % len(self.steps)]
            fired.append(self.spikes(generator, steps))
            weights.append(codes(generator, 1, self.lanes, base - 1).reshape(-1, 4))
            sums = step_sums(fired[-1], weights[-1], self.weight_bits)
            before = acc[-1] if chunk % GROUP else 0
            acc.append((before + accumulated(sums[None], most)) % (1 << self.acc_bits))
            places += [(chunk, step) for step in range(steps)]
        for cycle in range(chunks):
            chunk, step = places[cycle]
            flushed = [places[at][0] for at in range(max(cycle - 3, 0)) if places[at + 1][0] != places[at][0]]
            pick, neg = picks(fired[chunk][step])
            last = cycle >= 3 and places[cycle - 3][0] != places[cycle - 2][0]
            yield {
                "enable_i": 1,
                "tree_en_i": 1,
                "pick_i": packed(pick, 4),
                "neg_i": packed(neg.astype(np.int64), 1),
                "weights_i": packed((weights[chunk] + base).reshape(-1), self.weight_bits),
                "sum_en_i": int(cycle >= 1),
                "step_en_i": int(cycle >= 2),
                "first_i": int(cycle >= 2 and places[cycle - 2][1] == 0),
                "flush_i": int(last),
                "fresh_i": int(last and places[cycle - 3][0] % GROUP == 0),
                "acc_o": acc[flushed[-1] + 1] if flushed else 0,
            }


RUNGS: dict[str, Rung] = {
    rung.name: rung
    for rung in (
        FloatRung("FP16 x FP16, FP32 add", 16, 16, 32, keep=("fp_multiply", "fp_add")),
        FloatRung("BF16 x BF16, FP32 add", 16, 16, 32, keep=("fp_multiply", "fp_add"), bf16=True),
        IntRung("INT8 x INT8", 8, 8, 28),
        IntRung("INT4 x INT8 (W4A8)", 8, 4, 24),
        DenseRung("INT4 x (sign + 4)", 5, 4, 20),
        DenseRung("INT4 x (sign + 4), 16 inputs", 5, 4, 20, lanes=16),
        DenseRung("INT4 x (sign + 3)", 4, 4, 19),
        DenseRung("INT4 x (sign + 3), 16 inputs", 4, 4, 19, lanes=16),
        SpikeRung("spikes, INT4, T up to 4", 5, 4, 17, lanes=16),
        GroupRung("groups, INT4, S = 5.5", 4, 4, 23, lanes=128, steps=(5, 6), scale=0.3),
        GroupRung("groups, INT4, S = 7", 4, 4, 25, lanes=128),
    )
}
