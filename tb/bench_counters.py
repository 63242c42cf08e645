"""spike_counters: each counts its own events, beyond 32 bits, and all clear together."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from unit import pack, rng, start, unpack

COUNT, WIDTH = 20, 16


@cocotb.test()
async def counts(dut):
    """Random increments against sums; a clear in between."""
    generator = rng(dut)
    await start(dut, clear_i=0, increment_i=0)
    total = np.zeros(COUNT, np.int64)
    for i in range(3000):
        step = generator.integers(0, 1 << WIDTH, COUNT)
        dut.increment_i.value = pack(step, WIDTH)
        dut.clear_i.value = int(i == 500)
        await RisingEdge(dut.clk_i)
        total = np.zeros(COUNT, np.int64) if i == 500 else total + step
    dut.increment_i.value = 0
    await RisingEdge(dut.clk_i)
    assert unpack(int(dut.count_o.value), 64, COUNT) == total.tolist()


@cocotb.test()
async def wide(dut):
    """The carry goes beyond the low word."""
    await start(dut, clear_i=0, increment_i=pack([65535] * COUNT, WIDTH))
    for _ in range(66_000):
        await RisingEdge(dut.clk_i)
    values = unpack(int(dut.count_o.value), 64, COUNT)
    assert min(values) > 2**32
    assert len(set(values)) == 1
