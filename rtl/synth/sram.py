"""Area, energy and delay of on-chip memories, at 180 nm and scaled to other nodes. Everything here is an ESTIMATE.

Source: CACTI 7.0 (HP Labs; github.com/HewlettPackard/cacti, commit 1ffd8df), technology file `tech_params/180nm.dat`
(6T cell of 146 F^2 = 4.73 um^2, 1.5 V), "ram" type, periphery itrs-hp, 300 K, optimised for area and energy alike.
CACTI 7 refuses more than 90 nm although it ships that file; the limit in `io.cc` was raised to 0.18 um for these runs.
Energies are scaled from 1.5 V to the cell library's 1.8 V with the square of the voltage.

A word is made of 32-bit macros side by side, each with a decoder of its own (CACTI lays wires for one wide macro that a
word feeding logic beside it does not need). Between the depths that were run, values are interpolated linearly.
CACTI knows no memory of fewer than 32 words: a smaller one takes the space of one with 32. Where that is smaller, a
memory is made of the cell library's latches with a tree of gates to read them. Expect +-30 % against a memory compiler.

Other nodes are these figures scaled, not runs of their own: areas with the memory cell's area, energies with its
square root (the length of word and bit lines) times the square of the voltage, delays with the library's FO4 delay;
latches are the library's own. Memory cells: 146 F^2 at 130 nm as at 180, 2.47 um^2; for ASAP7 two gate pitches of 54
nm by ten fin pitches of 27 nm, 0.02916 um^2. A factor of two either way is possible there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VOLTAGE_RUN = 1.5
VOLTAGE = 1.8
MACRO_BITS = 32
BITCELL_RUN = 4.73  # um2, the 6T cell of these runs

# words: (area um2, read pJ, write pJ, access ns) of a 32-bit macro
SINGLE = {
    32: (11655, 11.10, 13.00, 1.250),
    48: (14859, 11.33, 14.59, 1.294),
    64: (18362, 11.39, 16.00, 1.473),
    128: (33060, 13.50, 23.55, 1.562),
    256: (65132, 14.37, 35.26, 1.822),
    512: (115578, 22.11, 40.32, 1.923),
    1024: (286870, 23.97, 66.62, 3.316),
    2048: (488204, 36.80, 74.14, 3.404),
}
DOUBLE = {
    32: (23765, 11.84, 14.72, 1.304),
    48: (30163, 12.13, 16.67, 1.359),
    64: (38574, 12.19, 18.40, 1.553),
    128: (69965, 14.62, 27.49, 1.620),
    256: (139701, 15.81, 42.02, 1.918),
    512: (240534, 24.74, 47.62, 2.032),
    1024: (478126, 34.53, 80.93, 2.405),
    2048: (1022214, 46.72, 93.12, 3.608),
}

# A bit of latches, from the OSU library: LATCH 56 um2 (LEF); of the read tree, a NAND gate and its share of what joins
# them, 26. Energies and delay are assumed.
LATCH_AREA, READ_AREA = 56.0, 26.0
LATCH_READ_PJ, LATCH_WRITE_PJ = 0.10, 0.25
LATCH_ACCESS_NS = 1.0


@dataclass(frozen=True)
class Node:
    """What memories are scaled to.

    Args:
        bitcell: area of a 6T memory cell, um2.
        voltage: supply, V.
        speed: FO4 delay over that of the 180 nm library.
        latch_area: of a latch, um2.
        read_area: of the gates that read one latch, um2.
        latch_energy: of an access to a latch, over that in the 180 nm library.
    """

    bitcell: float = BITCELL_RUN
    voltage: float = VOLTAGE
    speed: float = 1.0
    latch_area: float = LATCH_AREA
    read_area: float = READ_AREA
    latch_energy: float = 1.0


OSU180 = Node()


@dataclass(frozen=True)
class Memory:
    """What a memory costs: um2, pJ an access of a whole word, ns."""

    area: float
    read_pj: float
    write_pj: float
    access_ns: float
    kind: str


def memory(words: int, bits: int, *, halves: bool = True, node: Node = OSU180) -> Memory:
    """Estimate for a memory of `words` x `bits` that is written and read in the same cycle.

    Args:
        halves: never in the same half, so two single-port memories of half the words do; else one with two ports.
        node: what it is built in.
    """
    macros = bits / MACRO_BITS
    if halves:
        area, read, write, access = _macro(SINGLE, words / 2, node)
        sram = Memory(2 * macros * area, macros * read, macros * write, access, "single-port SRAM, two")
    else:
        area, read, write, access = _macro(DOUBLE, words, node)
        sram = Memory(macros * area, macros * read, macros * write, access, "dual-port SRAM")
    return min(sram, _latches(words, bits, node), key=lambda one: one.area)


def one_port(words: int, bits: int, *, node: Node = OSU180) -> Memory:
    """Estimate for a memory of `words` x `bits` that is written or read in a cycle, never both."""
    macros = bits / MACRO_BITS
    area, read, write, access = _macro(SINGLE, words, node)
    sram = Memory(macros * area, macros * read, macros * write, access, "single-port SRAM")
    return min(sram, _latches(words, bits, node), key=lambda one: one.area)


def _latches(words: int, bits: int, node: Node) -> Memory:
    return Memory(
        bits * words * (node.latch_area + node.read_area),
        bits * LATCH_READ_PJ * node.latch_energy,
        bits * LATCH_WRITE_PJ * node.latch_energy,
        LATCH_ACCESS_NS * node.speed,
        "latches",
    )


def _macro(table: dict[int, tuple[float, float, float, float]], words: float, node: Node) -> tuple[float, ...]:
    """um2, pJ, pJ and ns of a 32-bit macro, in a node and at its voltage."""
    depths = sorted(table)
    if words > depths[-1]:
        raise ValueError(f"the memory model ends at {depths[-1]} words, not {words:.0f}")
    columns = list(zip(*(table[depth] for depth in depths), strict=True))
    area, read, write, access = (float(np.interp(words, depths, column)) for column in columns)
    size = node.bitcell / BITCELL_RUN
    scale = (node.voltage / VOLTAGE_RUN) ** 2 * size**0.5
    return area * size, read * scale, write * scale, access * node.speed
