"""Between units, which the core's engines take and give, and beats of streams of any width: docs/rtl.md, streams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Streams:
    """How a core's streams come; 0 is a beat of just one unit.

    Attributes:
        membrane, weight, spike, acc: widths in bits.
        membrane_bits: of a membrane, 32 or 16.
        nibbles: weights are 4 bits, not 8.
        user: T of a row comes in TUSER, and the row has no header.
    """

    membrane: int = 0
    weight: int = 0
    spike: int = 0
    acc: int = 0
    membrane_bits: int = 32
    nibbles: bool = False
    user: bool = False

    @classmethod
    def of_width(cls, width: int, *, user: bool = False) -> Streams:
        """All four of one width."""
        return cls(width, width, width, width, user=user)

    @classmethod
    def of_register(cls, value: int) -> Streams:
        """What the register STREAMS tells."""
        widths = (value >> 4 * i & 15 for i in range(4))
        bits = 16 if value >> 16 & 1 else 32
        return cls(*(1 << log2 if log2 else 0 for log2 in widths), bits, bool(value >> 17 & 1), bool(value >> 18 & 1))

    def parameters(self) -> dict[str, int]:
        """Parameters of `spike_core` that are not at their defaults."""
        values = {
            "MembraneStream": self.membrane,
            "WeightStream": self.weight,
            "SpikeStream": self.spike,
            "AccStream": self.acc,
            "MembraneBits": self.membrane_bits if self.membrane_bits != 32 else 0,
            "NibbleWeights": int(self.nibbles),
            "UserTimesteps": int(self.user),
        }
        return {name: value for name, value in values.items() if value}


class BeatError(AssertionError):
    """A stream that no core sends: a hole in TKEEP, TLAST within a unit, a beat of a packet that is not full."""


def distance(unit: int, beat: int) -> int:
    """Bytes from one unit of `unit` bytes to the next, in beats of `beat` bytes."""
    if unit > beat:
        return -(-unit // beat) * beat
    return unit if unit == beat else 1 << (unit - 1).bit_length()


def sent(units: np.ndarray, width: int, noise: np.random.Generator) -> tuple[np.ndarray, int]:
    """Lay out packets: uint8 [packets, units, bytes] -> uint8 [packets, bytes], and the beats of a packet.

    What holds nothing is noise: the core must not care.

    Args:
        width: of the stream, bits; 0 for a unit a beat.
    """
    packets, count, size = units.shape
    beat = width // 8 or size
    step = distance(size, beat)
    beats = -(-count * step // beat)
    out = noise.integers(0, 256, (packets, beats * beat), dtype=np.uint8)
    out[:, : count * step].reshape(packets, count, step)[:, :, :size] = units
    return out, beats


def received(words: np.ndarray, size: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Beats as `stream_sink` writes them -> units uint8 [n, size], and bool [n] for the last of each packet.

    Args:
        words: TDATA, TKEEP and TLAST of each beat, lowest bits first, in uint32.
        size: bytes of a unit.
        width: of the stream, bits; 0 for a unit a beat.

    Raises BeatError for what no core may send.
    """
    beat = width // 8 or size
    step = distance(size, beat)
    raw = words.view(np.uint8).reshape(-1, 4 * -(-(9 * beat + 1) // 32))
    data = raw[:, :beat]
    flags = np.unpackbits(raw[:, beat:], axis=1, bitorder="little")
    keep, last = flags[:, :beat].astype(bool), flags[:, beat].astype(bool)
    if step >= beat:  # a unit is some beats
        parts = step // beat
        if len(data) % parts or not keep.all() or last.reshape(-1, parts)[:, :-1].any():
            raise BeatError("a unit that is not whole")
        return data.reshape(-1, step)[:, :size], last.reshape(-1, parts)[:, -1]
    kept = keep.sum(axis=1)
    if (np.diff(keep.astype(np.int8), axis=1) > 0).any() or (kept % step).any() or (kept == 0).any():
        raise BeatError("TKEEP is not that of whole units, the lowest ones")
    if (kept[~last] != beat).any():
        raise BeatError("a beat within a packet is not full")
    there = keep[:, ::step]
    ends = np.zeros(there.shape, bool)
    ends[np.arange(len(ends)), kept // step - 1] = last
    return data.reshape(len(data), -1, step)[there][:, :size], ends[there]
