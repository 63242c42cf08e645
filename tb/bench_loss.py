"""spike_loss: in which quarter above the limit of its code a membrane lies; whatever clips lies in the highest."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from unit import rng, start


def loss(membrane, frac_bits, timesteps):
    """The class, straight from the definition of the codes."""
    quarters = (abs(membrane) >> frac_bits - 2) + 2
    code = quarters >> 2
    return 3 if code > (1 << timesteps) - 1 else quarters & 3


@cocotb.test()
@cocotb.parametrize(frac_bits=[2, 3, 8, 16, 30])
async def classes(dut, frac_bits):
    """Membranes of all sizes, next to every limit of a quarter, at both ends of the range."""
    generator = rng(dut)
    await start(dut, frac_bits_i=frac_bits, charge_i=0, take_i=0, below_i=(1 << frac_bits - 2) - 1)
    quarter = 1 << frac_bits - 2
    near = generator.integers(-40, 41, 300) * quarter + generator.integers(-1, 2, 300)
    bits = [
        sign * (3 * quarter - (1 << bit)) for bit in range(frac_bits - 2) for sign in (-1, 1)
    ]  # each bit below a quarter alone
    drawn = [*near, *bits, *generator.integers(-(2**31), 2**31, 100), 0, 1, -1, -(2**31), 2**31 - 1]
    seen = set()
    for membrane in np.clip(drawn, -(2**31), 2**31 - 1):
        T = int(generator.integers(1, 8))
        membrane = int(membrane)
        beyond = (abs(membrane) >> frac_bits - 1) + 1 >> 1 > (1 << T) - 1
        dut.charge_i.value, dut.membrane_i.value = 1, membrane & 0xFFFFFFFF
        await RisingEdge(dut.clk_i)
        dut.charge_i.value, dut.membrane_i.value = 0, int(generator.integers(2**32))
        dut.take_i.value, dut.saturated_i.value = 1, int(beyond)
        await RisingEdge(dut.clk_i)
        dut.take_i.value, dut.saturated_i.value = 0, int(generator.integers(2))
        await RisingEdge(dut.clk_i)
        assert int(dut.loss_o.value) == loss(membrane, frac_bits, T), f"{membrane} of {frac_bits} fraction bits, T={T}"
        seen.add((int(dut.loss_o.value), membrane < 0))
    assert len(seen) == 8
