"""spike_accumulator: blocks add up per row; complete rows leave masked and marked, or stop the array."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from unit import Sink, pack, rng, start, unpack


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.7], gap=[0.0, 0.5])
async def rows(dut, stall, gap):
    """Tiles of random rows, columns and blocks; sums come two cycles apart at the earliest."""
    generator = rng(dut)
    R, C, width = int(dut.Rows.value), int(dut.Columns.value), int(dut.HalfWidth.value)
    most = 1 if int(dut.OneBlock.value) else 4
    await start(dut, soon_i=0, valid_i=0)
    sink = Sink(dut, "acc_valid_o", "acc_ready_i", ["acc_data_o", "acc_last_o"], stall)
    want, jobs = [], []
    for _ in range(25):
        rows, columns, blocks = (int(generator.integers(1, n + 1)) for n in (R, C, most))
        totals = np.zeros((rows, C), int)
        for b in range(blocks):
            for r in range(rows):
                sums = generator.integers(-(1 << width - 2), 1 << width - 2, C)
                totals[r] += sums
                place = int(b == 0) << 2 | int(b == blocks - 1) << 1 | int(r == rows - 1)
                jobs += [(r, columns, place, sums), None]
        for r in range(rows):
            beat = np.where(np.arange(C) < columns, totals[r], 0)
            want.append((beat.tolist(), int(r == rows - 1)))

    def expose(names, values):
        for name, value in zip(names, values, strict=True):
            getattr(dut, name).value = value

    late = None
    queue = list(reversed(jobs))
    while queue or late:
        await FallingEdge(dut.clk_i)
        soon = queue[-1] if queue and generator.random() >= gap else None
        dut.soon_i.value = int(soon is not None)
        if soon:
            expose(("soon_row_i", "soon_first_i", "soon_last_i"), (soon[0], soon[2] >> 2, soon[2] >> 1 & 1))
        dut.valid_i.value = int(late is not None)
        if late:
            row, columns, place, sums = late
            expose(("row_i", "columns_i", "place_i"), (row, columns, place))
            dut.sums_i.value = pack(2 * sums, width)
        await RisingEdge(dut.clk_i)
        while not dut.enable_o.value:  # everything stays as it is
            await RisingEdge(dut.clk_i)
        late = soon
        if soon or (queue and queue[-1] is None):
            queue.pop()
    dut.valid_i.value = 0
    got = await sink.expect(len(want))
    assert [(unpack(data, 32, C, signed=True), last) for data, last in got] == want
    await RisingEdge(dut.clk_i)
    await RisingEdge(dut.clk_i)
    assert dut.idle_o.value
