"""spike_tally: how many bits are set, up to three, for every word where there are few, and many of the others."""

import cocotb
from cocotb.triggers import Timer
from unit import SEED, rng


@cocotb.test()
async def counts(dut):
    """Against Python's count."""
    cocotb.log.info("SEED=%d", SEED)
    generator = rng(dut)
    width = int(dut.Width.value)
    few = [0, *(1 << i | 1 << j | 1 << k for i in range(width) for j in range(i + 1) for k in range(j + 1))]
    for bits in [*few, *(int(value) for value in generator.integers(0, 1 << width, 2000))]:
        dut.bits_i.value = bits
        await Timer(1, unit="ns")
        assert int(dut.count_o.value) == min(bits.bit_count(), 3), bin(bits)
