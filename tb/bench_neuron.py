"""spike_neuron: every step of every membrane that matters, against the golden model."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from spike_compressor.trace import fire, steps_of
from unit import pack, rng, start

CODINGS = ("tc_lif", "csd")


async def run(dut, membranes, timesteps, frac_bits, coding):
    """Spikes [steps, X] and saturation flags [X] of the RTL; charges overlap the last step, as in the array."""
    steps = steps_of(timesteps, coding)
    spikes = np.zeros((steps, len(membranes)), np.int8)
    saturated = np.zeros(len(membranes), bool)
    dut.coding_i.value = CODINGS.index(coding)
    dut.frac_bits_i.value = frac_bits
    dut.timesteps_i.value = timesteps
    dut.step_i.value = 0
    for x in range(len(membranes) + 1):
        if x < len(membranes):
            dut.membrane_i.value = pack([membranes[x]], 32)
            dut.charge_i.value = 1
        await RisingEdge(dut.clk_i)
        if x > 0:
            spikes[steps - 1, x - 1] = {0: 0, 1: 1, 3: -1}[int(dut.spike_o.value)]
        if x == len(membranes):
            break
        saturated[x] = bool(dut.saturated_o.value)
        dut.charge_i.value = 0
        dut.step_i.value = 1
        for t in range(steps):
            dut.exponent_i.value = steps - 1 - t
            if t == steps - 1:
                break  # the last step shares its cycle with the next charge
            await RisingEdge(dut.clk_i)
            spikes[t, x] = {0: 0, 1: 1, 3: -1}[int(dut.spike_o.value)]
    dut.step_i.value = 0
    dut.charge_i.value = 0
    return spikes, saturated


def check(membranes, timesteps, frac_bits, coding, spikes, saturated):
    """Compare with the golden model; frac_bits 0 means that codes went in."""
    wide, F = membranes.astype(np.int64), frac_bits
    if F == 0:
        wide, F = wide * 2, 1
    want = fire(wide[None], np.array([timesteps]), F, coding)[:, 0]
    wrong = np.argwhere(want != spikes)
    if len(wrong):
        t, x = wrong[0]
        raise AssertionError(
            f"{coding} T={timesteps} F={frac_bits} membrane {membranes[x]} step {t}: "
            f"expected {want[t, x]}, got {spikes[t, x]}"
        )
    beyond = (np.abs(wide) + (1 << F - 1)) >> F > (1 << timesteps) - 1
    np.testing.assert_array_equal(saturated, beyond, f"{coding} T={timesteps} F={frac_bits}: saturation")


@cocotb.test()
@cocotb.parametrize(coding=CODINGS)
async def exhaustive(dut, coding):
    """Every membrane of one fractional bit up to twice the code range, for every T."""
    await start(dut, charge_i=0, step_i=0)
    for timesteps in range(1, int(dut.Tmax.value) + 1):
        top = 2 << timesteps
        membranes = np.arange(-2 * top, 2 * top + 1) if timesteps < 6 else np.arange(-top - 4, top + 5)
        check(membranes, timesteps, 1, coding, *await run(dut, membranes, timesteps, 1, coding))


@cocotb.test()
@cocotb.parametrize(coding=CODINGS)
async def edges(dut, coding):
    """Rounding boundaries, both ends of the range, the largest int32, for every T and many F, codes included."""
    generator = rng(dut)
    await start(dut, charge_i=0, step_i=0)
    for timesteps in range(1, int(dut.Tmax.value) + 1):
        for frac_bits in (0, 2, 8, 16, 24, 30):
            code = generator.integers(-(1 << timesteps) - 1, (1 << timesteps) + 2, 12)
            boundary = (2 * code + 1) << frac_bits >> 1
            membranes = np.concatenate([boundary - 1, boundary, boundary + 1, generator.integers(-(2**31), 2**31, 6)])
            membranes = np.concatenate([membranes, [0, 1, -1, 2**31 - 1, -(2**31), -(2**31) + 1]])
            membranes = np.clip(membranes, -(2**31), 2**31 - 1)
            check(membranes, timesteps, frac_bits, coding, *await run(dut, membranes, timesteps, frac_bits, coding))
