"""spike_store: what was written is read, chunk by chunk in and plane by plane out, half by half."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from unit import pack, rng, start


async def pulse(dut, name):
    """One cycle of a control."""
    getattr(dut, name).value = 1
    await RisingEdge(dut.clk_i)
    getattr(dut, name).value = 0
    await RisingEdge(dut.clk_i)


@cocotb.test()
async def words(dut):
    """Row tiles into both halves; every plane and mask comes out, read independently, and stays until the next read."""
    generator = rng(dut)
    rows, lanes, slots, blocks = (int(getattr(dut, n).value) for n in ("Rows", "Lanes", "Slots", "Blocks"))
    csd = int(dut.Csd.value)
    planes = int(dut.Tmax.value) + csd
    signs = (planes + 1) // 2 if csd else 1
    await start(dut, we_i=0, mask_we_i=0, open_i=0, done_i=0, release_i=0, mask_re_i=0, plane_re_i=0)
    for tile in range(4):
        half = tile % 2
        fire, neg, masks = {}, {}, {}
        assert dut.ready_o.value
        await pulse(dut, "open_i")
        for r in range(rows):
            for b in range(blocks):
                masks[r, b] = int(generator.integers(0, 1 << planes))
                fire[r, b] = generator.integers(0, 2, (slots, planes, lanes))
                neg[r, b] = generator.integers(0, 2, (slots, signs, lanes))
                for s in generator.permutation(slots):
                    dut.we_i.value, dut.mask_we_i.value = 1, 1
                    dut.row_i.value, dut.block_i.value, dut.slot_i.value = r, b, int(s)
                    dut.fire_i.value = pack(fire[r, b][s].ravel(), 1)
                    dut.neg_i.value = pack(neg[r, b][s].ravel(), 1)
                    dut.mask_i.value = masks[r, b]
                    await RisingEdge(dut.clk_i)
        dut.we_i.value = dut.mask_we_i.value = 0
        await pulse(dut, "done_i")
        for r, b in generator.permutation([(r, b) for r in range(rows) for b in range(blocks)]):
            for e in generator.permutation(planes):
                dut.mask_re_i.value = dut.plane_re_i.value = 1
                dut.mask_half_i.value = dut.plane_half_i.value = half
                dut.mask_row_i.value = dut.plane_row_i.value = int(r)
                dut.mask_block_i.value = dut.plane_block_i.value = int(b)
                dut.plane_exponent_i.value = int(e)
                await RisingEdge(dut.clk_i)
                dut.mask_re_i.value = dut.plane_re_i.value = 0
                dut.plane_exponent_i.value = int(generator.integers(planes))
                for _ in range(2):
                    await RisingEdge(dut.clk_i)
                    assert int(dut.fire_o.value) == pack(fire[r, b][:, e].ravel(), 1)
                    assert int(dut.neg_o.value) == pack(neg[r, b][:, e // 2 if csd else 0].ravel(), 1)
                    assert int(dut.mask_o.value) == masks[r, b]
        if tile > 0:
            await pulse(dut, "release_i")


@cocotb.test()
async def halves(dut):
    """Two tiles fit; there is room again as soon as one is released; both at once change nothing."""
    await start(dut, we_i=0, mask_we_i=0, open_i=0, done_i=0, release_i=0, mask_re_i=0, plane_re_i=0)
    held = 0
    for action in np.random.default_rng(1).choice(["open", "release", "both"], 200):
        if (
            (action != "release" and held == 2)
            or (action == "release" and held == 0)
            or (action == "both" and not held)
        ):
            continue
        dut.open_i.value = int(action in ("open", "both"))
        dut.release_i.value = int(action in ("release", "both"))
        held += {"open": 1, "release": -1, "both": 0}[action]
        await RisingEdge(dut.clk_i)
        dut.open_i.value = dut.release_i.value = 0
        await RisingEdge(dut.clk_i)
        assert bool(dut.ready_o.value) == (held < 2)
