"""spike_csa: two numbers that add up to what all operands add up to, modulo the width."""

import cocotb
import numpy as np
from cocotb.triggers import Timer
from unit import SEED, pack


@cocotb.test()
async def sums(dut):
    """Random operands and the extremes."""
    cocotb.log.info("SEED=%d", SEED)
    generator = np.random.default_rng(SEED)
    count, width = int(dut.Operands.value), int(dut.Width.value)
    top = (1 << width) - 1
    for i in range(300):
        operands = generator.integers(0, top + 1, count)
        if i < 3:
            operands[:] = (0, top, 1)[i]
        dut.operands_i.value = pack(operands, width)
        await Timer(1, "ns")
        assert (int(dut.sum_o.value) + int(dut.carry_o.value)) & top == int(operands.sum()) & top
