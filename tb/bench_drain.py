"""spike_drain: tiles leave row by row, masked and marked, and the next is taken only when there is room."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from unit import Sink, pack, rng, start, unpack


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.6])
async def tiles(dut, stall):
    """Random tiles; columns beyond the tile's own are 0, TLAST ends it, the source reserves as the scheduler does."""
    generator = rng(dut)
    rows, columns = int(dut.Rows.value), int(dut.Columns.value)
    await start(dut, reserve_i=0, capture_i=0, acc_ready_i=0)
    sink = Sink(dut, "acc_valid_o", "acc_ready_i", ["acc_data_o", "acc_last_o"], stall)
    want = []
    for _ in range(30):
        acc = generator.integers(-(2**31), 2**31, (rows, columns))
        live, width = int(generator.integers(1, rows + 1)), int(generator.integers(1, columns + 1))
        while True:
            await FallingEdge(dut.clk_i)
            if dut.free_o.value:
                break
            await RisingEdge(dut.clk_i)
        dut.reserve_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.reserve_i.value = 0
        await RisingEdge(dut.clk_i)
        assert not dut.free_o.value, "free although a capture is due"
        dut.acc_i.value = pack(acc.ravel(), 32)
        dut.rows_i.value, dut.columns_i.value, dut.capture_i.value = live, width, 1
        await RisingEdge(dut.clk_i)
        dut.capture_i.value = 0
        acc[:, width:] = 0
        want += [(acc[r].tolist(), int(r == live - 1)) for r in range(live)]
    await sink.expect(len(want))
    assert [(unpack(data, 32, columns, signed=True), last) for data, last in sink.beats] == want
    await RisingEdge(dut.clk_i)
    assert dut.idle_o.value
    assert np.all([last in (0, 1) for _, last in sink.beats])
