"""spike_column: words of additions with signs and shifts, for random and extreme weights."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from unit import pack, rng, start


@cocotb.test()
async def sums(dut):
    """Rows of words against plain integers; a word that is held back changes nothing."""
    generator = rng(dut)
    lanes, bits, width = int(dut.Lanes.value), int(dut.WeightBits.value), int(dut.SumWidth.value)
    base = 1 << bits - 1
    await start(dut, tree_en_i=0, sum_en_i=0, acc_en_i=0, first_i=0, shift_i=0)
    for case in range(120):
        total, top = 0, int(generator.integers(1, 5))
        for word in range(top):
            state = generator.choice([0, 1, 2], lanes)  # idle, plane e-1, plane e
            neg = generator.random(lanes) < 0.5
            weights = generator.integers(-base, base, lanes)
            if case % 4 == 0:
                weights[:], neg[:], state[:] = -base, case % 8 == 0, 2
            shift = int(word > 0 and generator.random() < 0.5)
            total = (total << shift) + int((np.where(neg, -1, 1) * weights * state).sum())
            bias = -int(((base - neg) * state).sum())
            dut.whole_i.value, dut.half_i.value = pack(state == 2, 1), pack(state == 1, 1)
            dut.neg_i.value = pack(neg, 1)
            dut.weights_i.value = pack(weights + base, bits)
            dut.tree_en_i.value = 1
            await RisingEdge(dut.clk_i)
            dut.tree_en_i.value = 0
            dut.weights_i.value = pack(generator.integers(0, 2 * base, lanes), bits)
            if generator.random() < 0.3:
                await RisingEdge(dut.clk_i)
            dut.sum_en_i.value, dut.bias_i.value = 1, pack([bias], width)
            await RisingEdge(dut.clk_i)
            dut.sum_en_i.value, dut.bias_i.value = 0, pack([int(generator.integers(1 << width))], width)
            if generator.random() < 0.3:
                await RisingEdge(dut.clk_i)
            dut.acc_en_i.value, dut.first_i.value, dut.shift_i.value = 1, int(word == 0), shift
            await RisingEdge(dut.clk_i)
            dut.acc_en_i.value = 0
            await RisingEdge(dut.clk_i)
            assert dut.acc_o.value.to_signed() == total, case
