"""spike_array: every accumulator of every group, with the rows and columns of its own operation."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from unit import Monitor, pack, rng, start, unpack


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.4])
async def groups(dut, pause):
    """Groups of random operations, back to back or with gaps."""
    generator = rng(dut)
    rows, columns, lanes, bits = (int(getattr(dut, n).value) for n in ("Rows", "Columns", "Lanes", "WeightBits"))
    half = 1 << bits - 1
    await start(dut, op_valid_i=0)
    captures = Monitor(dut, "capture_o", ["acc_o", "rows_o", "columns_o"])
    want = []
    for _ in range(40):
        total = np.zeros((rows, columns), np.int64)
        live, width = int(generator.integers(1, rows + 1)), int(generator.integers(1, columns + 1))
        for i in range(size := int(generator.integers(1, 6))):
            while generator.random() < pause:
                dut.op_valid_i.value = 0
                await RisingEdge(dut.clk_i)
            spikes = generator.integers(-1, 2, (rows, lanes))
            weights = generator.integers(-half, half, (lanes, columns))
            exponent = int(generator.integers(0, int(dut.Tmax.value) + 1))
            total += (spikes @ weights) << exponent
            dut.op_valid_i.value = 1
            dut.op_first_i.value, dut.op_last_i.value = int(i == 0), int(i == size - 1)
            dut.op_exponent_i.value = exponent
            dut.op_spikes_i.value = pack(spikes.ravel(), 2)
            dut.weights_i.value = pack(weights.ravel(), bits)
            dut.op_rows_i.value, dut.op_columns_i.value = live, width
            await RisingEdge(dut.clk_i)
        want.append((total.ravel().tolist(), live, width))
    dut.op_valid_i.value = 0
    for _ in range(5):
        await RisingEdge(dut.clk_i)
    got = [(unpack(acc, 32, rows * columns, signed=True), live, width) for acc, live, width in captures.seen]
    assert got == want
