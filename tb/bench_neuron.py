"""spike_neuron: every spike of every membrane that matters, against the golden model."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from spike_compressor.trace import fire, steps_of
from unit import pack, rng, start, unpack

SPIKE = np.array([0, 1, 2, -1])  # 2 is no spike code and shows up as a mismatch


def codings(dut):
    """What the neuron was built for."""
    return ("tc_lif", "csd") if int(dut.Csd.value) else ("tc_lif",)


def settle(dut, timesteps, frac_bits, coding):
    """What stays the same for a row: T, F, coding, and the masks that follow from them."""
    ones = (1 << 32) - 1
    dut.coding_i.value = ("tc_lif", "csd").index(coding)
    dut.frac_bits_i.value = frac_bits
    dut.below_i.value = (1 << max(frac_bits - 1, 0)) - 1
    dut.beyond_i.value = ones << frac_bits + timesteps & ones
    dut.limit_i.value = (1 << timesteps) - 1


async def run(dut, membranes, timesteps, frac_bits, coding):
    """Spikes [planes, X], lowest exponent first, and saturation flags [X] of the RTL; a charge in every cycle."""
    planes = int(dut.Tmax.value) + int(dut.Csd.value)
    spikes = np.zeros((planes, len(membranes)), np.int8)
    saturated = np.zeros(len(membranes), bool)
    settle(dut, timesteps, frac_bits, coding)
    dut.charge_i.value = dut.take_i.value = dut.filled_i.value = 1
    for x in range(len(membranes) + 2):
        if x < len(membranes):
            dut.membrane_i.value = pack([membranes[x]], 32)
        await RisingEdge(dut.clk_i)
        if x > 1:
            spikes[:, x - 2] = SPIKE[unpack(int(dut.spikes_o.value), 2, planes)]
        if 0 < x <= len(membranes):
            saturated[x - 1] = bool(dut.saturated_o.value)
    dut.charge_i.value = dut.take_i.value = 0
    return spikes, saturated


def check(membranes, timesteps, frac_bits, coding, spikes, saturated):
    """Compare with the golden model; frac_bits 0 means that codes went in."""
    wide, F = membranes.astype(np.int64), frac_bits
    if F == 0:
        wide, F = wide * 2, 1
    want = np.zeros_like(spikes)
    want[: steps_of(timesteps, coding)] = fire(wide[None], np.array([timesteps]), F, coding)[::-1, 0]
    wrong = np.argwhere(want != spikes)
    if len(wrong):
        e, x = wrong[0]
        raise AssertionError(
            f"{coding} T={timesteps} F={frac_bits} membrane {membranes[x]} exponent {e}: "
            f"expected {want[e, x]}, got {spikes[e, x]}"
        )
    beyond = (np.abs(wide) + (1 << F - 1)) >> F > (1 << timesteps) - 1
    np.testing.assert_array_equal(saturated, beyond, f"{coding} T={timesteps} F={frac_bits}: saturation")


@cocotb.test()
async def exhaustive(dut):
    """Every membrane of one fractional bit up to twice the code range, for every T and coding."""
    await start(dut, charge_i=0, take_i=0)
    for coding in codings(dut):
        for timesteps in range(1, int(dut.Tmax.value) + 1):
            top = 2 << timesteps
            membranes = np.arange(-2 * top, 2 * top + 1)
            check(membranes, timesteps, 1, coding, *await run(dut, membranes, timesteps, 1, coding))


@cocotb.test()
async def edges(dut):
    """Rounding boundaries, both ends of the range, the largest int32, for every T and many F, codes included."""
    generator = rng(dut)
    await start(dut, charge_i=0, take_i=0)
    for coding in codings(dut):
        for timesteps in range(1, int(dut.Tmax.value) + 1):
            for frac_bits in (0, 2, 8, 16, 24, 30):
                code = generator.integers(-(1 << timesteps) - 1, (1 << timesteps) + 2, 12)
                boundary = (2 * code + 1) << frac_bits >> 1
                near = [boundary - 1, boundary, boundary + 1, generator.integers(-(2**31), 2**31, 6)]
                membranes = np.concatenate([*near, [0, 1, -1, 2**31 - 1, -(2**31), -(2**31) + 1]])
                membranes = np.clip(membranes, -(2**31), 2**31 - 1)
                check(membranes, timesteps, frac_bits, coding, *await run(dut, membranes, timesteps, frac_bits, coding))


@cocotb.test()
async def holds(dut):
    """What is not taken over changes no spike; a lane without an input is silent."""
    generator = rng(dut)
    await start(dut, charge_i=0, take_i=0, filled_i=1)
    settle(dut, int(dut.Tmax.value), 4, "tc_lif")
    for filled in [1, 0] * 10:
        dut.filled_i.value = filled
        dut.charge_i.value = 1
        dut.membrane_i.value = pack([int(generator.integers(2**4, 2**10))], 32)
        await RisingEdge(dut.clk_i)
        dut.charge_i.value, dut.take_i.value = 0, 1
        dut.membrane_i.value = pack([int(generator.integers(-(2**10), 2**10))], 32)
        await RisingEdge(dut.clk_i)
        dut.charge_i.value, dut.take_i.value = 1, 0
        await RisingEdge(dut.clk_i)
        held = int(dut.spikes_o.value)
        assert (held != 0) == filled
        await RisingEdge(dut.clk_i)
        await RisingEdge(dut.clk_i)
        assert int(dut.spikes_o.value) == held
        dut.charge_i.value = 0
