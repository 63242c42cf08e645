"""row_offset: what a row's accumulators are to be taken away from, in both forms of activations."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from ladder_model import row_offset
from unit import pack, rng, start


@cocotb.test()
async def groups(dut):
    """Groups of random and extreme chunks against plain integers."""
    generator = rng(dut)
    lanes, bits, act = int(dut.Lanes.value), int(dut.WeightBits.value), int(dut.ActBits.value)
    sign_magnitude, pass_bits = bool(dut.SignMagnitude.value), int(dut.PassBits.value)
    top = 1 << act - 1
    await start(dut, chunk_en_i=0, sums_en_i=0, offset_en_i=0, first_i=0)
    for case in range(120):
        size = (int(generator.integers(1, 6)), lanes)
        a = generator.integers(1 - top if sign_magnitude else -top, top, size)
        if case % 3 == 0:
            a[:] = generator.choice([1 - top if sign_magnitude else -top, top - 1])
        a[generator.random(size[0]) < 0.4] >>= 2  # chunks without large magnitudes
        codes = np.where(a < 0, top | -a, a) if sign_magnitude else a
        numbers = row_offset(a, bits, act, sign_magnitude=sign_magnitude, pass_bits=pass_bits)
        for chunk, expected in enumerate(numbers):
            dut.activations_i.value = pack(codes[chunk], act)
            dut.chunk_en_i.value = 1
            await RisingEdge(dut.clk_i)
            dut.chunk_en_i.value, dut.activations_i.value = 0, pack(generator.integers(0, 1 << act, lanes), act)
            dut.sums_en_i.value = 1
            await RisingEdge(dut.clk_i)
            dut.sums_en_i.value = 0
            dut.offset_en_i.value, dut.first_i.value = 1, int(chunk == 0)
            await RisingEdge(dut.clk_i)
            dut.offset_en_i.value = 0
            await RisingEdge(dut.clk_i)
            assert dut.offset_o.value.to_signed() == expected, case
