"""group_store: what was written is read, a step of all rows at once; halves and how many steps their rows have."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from unit import pack, rng, start

IDLE = dict.fromkeys(("open_i", "we_i", "row_done_i", "done_i", "release_i", "re_i"), 0)


async def pulse(dut, *names):
    """One cycle of some controls."""
    for name in names:
        getattr(dut, name).value = 1
    await RisingEdge(dut.clk_i)
    for name in names:
        getattr(dut, name).value = 0


async def row(dut, generator, number, words, left, last):
    """Write a row, its parts and steps in any order, then say that it is complete."""
    parts, units, steps = int(dut.Groups.value) // int(dut.Units.value), int(dut.Units.value), int(dut.Steps.value)
    for c, part, s in generator.permutation(list(np.ndindex(len(words), parts, left + 1))):
        dut.row_i.value, dut.addr_i.value, dut.part_i.value = number, int(c * steps + s), 1 << int(part)
        dut.spikes_i.value = pack(words[c, s, part * units : (part + 1) * units], 4)
        await pulse(dut, "we_i")
        if generator.random() < 0.2:
            await RisingEdge(dut.clk_i)
    dut.row_left_i.value = left
    await pulse(dut, "row_done_i", *(["done_i"] if last else []))


@cocotb.test()
async def tiles(dut):
    """Row tiles of any number of rows into both halves: every word comes back, and stays until the next read."""
    generator = rng(dut)
    rows, groups, chunks, steps = (int(getattr(dut, n).value) for n in ("Rows", "Groups", "Chunks", "Steps"))
    await start(dut, **IDLE)
    for tile in range(5):
        half, count = tile % 2, int(generator.integers(1, rows + 1)) if tile % 2 else rows
        assert dut.ready_o.value
        await pulse(dut, "open_i")
        left = generator.integers(0, steps, count)
        words = generator.integers(0, 16, (count, chunks, steps, groups))
        for r in range(count):
            await row(dut, generator, r, words[r], int(left[r]), r == count - 1)
        await RisingEdge(dut.clk_i)
        assert int(dut.most_o.value) >> 3 * half & 7 == left.max()
        for r in range(count):
            assert int(dut.left_o.value) >> 3 * (half * rows + r) & 7 == left[r], (tile, r)
        for c, s in generator.permutation(list(np.ndindex(chunks, int(left.max()) + 1))):
            dut.half_i.value, dut.raddr_i.value = half, int(c * steps + s)
            await pulse(dut, "re_i")
            dut.raddr_i.value = int(generator.integers(chunks * steps))
            for _ in range(2):
                await RisingEdge(dut.clk_i)
                got = int(dut.spikes_o.value)
                for r in range(count):
                    if s <= left[r]:
                        assert got >> 4 * groups * r & (1 << 4 * groups) - 1 == pack(words[r, c, s], 4), (tile, r, c, s)
        if tile:
            await pulse(dut, "release_i")
            await RisingEdge(dut.clk_i)


@cocotb.test()
async def halves(dut):
    """Two tiles fit; there is room again as soon as one is released; both at once change nothing."""
    generator = rng(dut)
    await start(dut, **IDLE)
    held = 0
    for _ in range(200):
        action = str(generator.choice(["open", "release", "both"]))
        if (action == "open" and held == 2) or (action != "open" and not held) or (action == "both" and held == 2):
            continue
        await pulse(dut, *{"open": ["open_i"], "release": ["release_i"], "both": ["open_i", "release_i"]}[action])
        held += {"open": 1, "release": -1, "both": 0}[action]
        await RisingEdge(dut.clk_i)
        assert bool(dut.ready_o.value) == (held < 2)
