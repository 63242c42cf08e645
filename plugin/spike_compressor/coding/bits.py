"""Eight spikes a byte: packing, unpacking and counting bits, eight bytes at a time in 64-bit integers.

Element k of a row is bit `k % 8`, counted from the least significant, of byte `k // 8`; bits beyond the row are 0. That
is NumPy's `packbits(…, axis=-1, bitorder="little")`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["pack_bits", "pack_signs", "pack_spikes", "packed_width", "popcount", "unpack"]

# Eight bytes are one int64 whose lowest byte is the first of them: PyTorch runs on little-endian machines.


def _int64(value: int) -> int:
    """The int64 with the bits of an unsigned number."""
    return value - (1 << 64) if value >> 63 else value


_LOW = 0x0101010101010101
"""The lowest bit of each byte."""
_HIGH = _int64(_LOW << 7)
_GATHER = 0x0102040810204080
"""Times a number of which bits `8i` alone are set, has them as bits i of its highest byte: no two products meet in a
bit, so none carries. Halved n times, it gathers bits `8i + n`."""
_PICK = _int64(0x8040201008040201)
"""Bit i of byte i."""
_TO_HIGHEST = 0x00406070787C7E7F
"""Added to bytes i that are 0 or `1 << i`, sets the highest bit of those that are not 0."""


def packed_width(width: int) -> int:
    """Bytes that hold a bit for each of `width` elements."""
    return -(-width // 8)


def pack_bits(values: Tensor, packed: Tensor) -> None:
    """Spread bytes over planes, the highest bit of each byte first.

    Args:
        values: uint8 [rows, 8 * B], contiguous.
        packed: uint8 [planes, rows, B], where to write; at most 8 planes.
    """
    masks, factors = (table[: packed.shape[0]] for table in _bit_by_bit(values.device))
    packed.copy_(_gathered(values.view(torch.int64).unsqueeze(0), masks, factors))


def pack_signs(values: Tensor) -> Tensor:
    """Which of int8 [rows, 8 * B], contiguous, are negative: uint8 [rows, B]."""
    return _gathered(values.view(torch.int64), _HIGH, _GATHER >> 7)


def pack_spikes(spikes: Tensor, fired: Tensor, negative: Tensor | None) -> None:
    """Pack spikes.

    Args:
        spikes: int8 [*, 8 * B], contiguous, in {-1, 0, 1}, or in {0, 1} where `negative` is None.
        fired: uint8 [*, B], where to write which of them are not 0.
        negative: uint8 [*, B], where to write which of them are -1.
    """
    eights = spikes.view(torch.int64)
    fired.copy_(_gathered(eights, _LOW, _GATHER))
    if negative is not None:
        negative.copy_(_gathered(eights, _HIGH, _GATHER >> 7))


def unpack(fired: Tensor, negative: Tensor | None, width: int) -> Tensor:
    """Spikes int8 [*, width], contiguous, of the bits uint8 [*, B] that `pack_spikes` wrote."""
    eights = _spread(fired)
    if negative is not None:
        eights.bitwise_or_(_spread(negative).mul_(0xFE))  # 1 | -2 is -1 in a byte
    return eights.view(torch.int8)[..., :width].contiguous()


def popcount(packed: Tensor) -> Tensor:
    """How many bits are set in each byte, uint8 like `packed`."""
    pairs = packed - (packed >> 1 & 0x55)
    fours = (pairs & 0x33) + (pairs >> 2 & 0x33)
    return (fours + (fours >> 4)) & 0x0F


@lru_cache(maxsize=16)
def _bit_by_bit(device: torch.device) -> tuple[Tensor, Tensor]:
    """What masks each bit of eight bytes, from the highest down, and what gathers it: int64 [8, 1, 1]."""
    masks = [_int64(_LOW << bit) for bit in reversed(range(8))]
    factors = [_GATHER >> bit for bit in reversed(range(8))]
    return torch.tensor(masks, device=device).view(8, 1, 1), torch.tensor(factors, device=device).view(8, 1, 1)


def _gathered(eights: Tensor, mask: int | Tensor, factor: int | Tensor) -> Tensor:
    """uint8 [*]: of eight bytes in each of int64 [*], one bit each."""
    return torch.bitwise_and(eights, mask).mul_(factor).view(torch.uint8)[..., 7::8]


def _spread(packed: Tensor) -> Tensor:
    """int64 [*, B] whose bytes are the bits, 0 or 1, of uint8 [*, B]."""
    eights = packed.to(torch.int64).mul_(_LOW).bitwise_and_(_PICK)
    return eights.add_(_TO_HIGHEST).bitwise_right_shift_(7).bitwise_and_(_LOW)
