"""int_column: groups of random and extreme chunks against plain integers."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from ladder_model import int_column
from unit import pack, rng, start


@cocotb.test()
async def groups(dut):
    """A chunk at a time through the four cycles; numbers at the inputs change in between."""
    generator = rng(dut)
    lanes, bits, act = int(dut.Lanes.value), int(dut.WeightBits.value), int(dut.ActBits.value)
    width = int(dut.AccWidth.value)
    enables = ("product_en_i", "sum_en_i", "low_en_i", "high_en_i")
    await start(dut, **dict.fromkeys((*enables, "low_first_i", "high_first_i"), 0))
    for case in range(120):
        size = (int(generator.integers(1, 6)), lanes)
        w = generator.integers(-(1 << bits - 1), 1 << bits - 1, size)
        a = generator.integers(-(1 << act - 1), 1 << act - 1, size)
        if case % 3 == 0:
            w[:] = generator.choice([-(1 << bits - 1), (1 << bits - 1) - 1])
            a[:] = generator.choice([-(1 << act - 1), (1 << act - 1) - 1])
        expected = int_column(a, w, bits, act) % (1 << width)
        offset = int_column(a, np.zeros_like(w), bits, act)  # what w = 0 gives is what is to be taken away from
        for chunk in range(size[0]):
            dut.activations_i.value = pack(a[chunk], act)
            dut.weights_i.value = pack(w[chunk] + (1 << bits - 1), bits)
            for enable in enables:
                getattr(dut, enable).value = 1
                dut.low_first_i.value = dut.high_first_i.value = int(chunk == 0)
                await RisingEdge(dut.clk_i)
                getattr(dut, enable).value = 0
                dut.activations_i.value = pack(generator.integers(0, 1 << act, lanes), act)
            await RisingEdge(dut.clk_i)
            assert int(dut.acc_o.value) == expected[chunk], case
        assert (offset[-1] - int(dut.acc_o.value) - (w * a).sum()) % (1 << width) == 0, case
