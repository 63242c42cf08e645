"""cocotb tests of the whole core: random and directed layers, stalls, resets, errors, settings."""

from __future__ import annotations

from itertools import product

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from core_driver import CTRL, DONE, ERROR, FAULT, MODE, START, STATUS, CoreDriver, Stalls, check_counters, limit
from generate import random_layer
from images import compare, plan
from spike_compressor.trace import golden
from unit import SEED

SLVERR = 2


def codings(shape):
    """What the core can fire."""
    return ("tc_lif", "csd") if shape.csd else ("tc_lif",)


async def begin(dut):
    """A driver after reset, and randomness."""
    cocotb.log.info("SEED=%d", SEED)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    return driver, np.random.default_rng(SEED)


async def check(driver, layer, stalls=None, **options):
    """Run a layer and demand everything of it."""
    layer.check()
    result = await driver.run(layer, stalls, **options)
    compare(layer, result.spikes, result.acc)
    check_counters(layer, driver.shape, result.counters, result.errors)
    return result


def draw(rng, shape, **fixed):
    """A random small layer that the core can hold, around the array's sizes."""
    groups = int(rng.choice([1, 1, 2, 3, 8]))
    block = shape.lanes * shape.slots
    size = int(
        rng.integers(1, 1 + min(int(rng.choice([2 * shape.lanes, 5 * block // 2])), shape.blocks // groups * block))
    )
    options = {
        "coding": str(rng.choice(codings(shape))),
        "timesteps": [int(t) for t in rng.integers(1, shape.tmax + 1, 3)],
        "frac_bits": int(rng.choice([1, 5, 8, 16, 24])),
        "weight_bits": int(rng.integers(2, shape.weight_bits + 1)),
        "groups": groups,
        "distribution": str(rng.choice(["gaussian", "laplace", "extreme"])),
    } | fixed
    size = -(-size // options["groups"]) if "groups" in fixed else size
    return random_layer(
        rng,
        int(rng.integers(1, 2 * shape.rows + 2)),
        options["groups"] * size,
        int(rng.integers(1, 3 * shape.columns + 2)),
        **options,
    )


@cocotb.test()
async def random_jobs(dut):
    """Jobs of every kind one after the other, with every mix of stalls, and no reset in between."""
    driver, rng = await begin(dut)
    for i in range(40):
        layer = draw(rng, driver.shape)
        stalls = Stalls.random(rng)
        cocotb.log.info("job %d: %s %s %s", i, layer.info, f"G={layer.groups}", stalls)
        await check(driver, layer, stalls)


@cocotb.test()
async def extremes(dut):
    """Codes at both ends, membranes next to every rounding boundary, the largest weights, every T in one tile."""
    driver, rng = await begin(dut)
    shape = driver.shape
    every = (*range(1, shape.tmax + 1), tuple(range(1, shape.tmax + 1)))
    for coding, timesteps in product(codings(shape), every):
        layer = random_layer(
            rng,
            2 * shape.rows + 1,
            3 * shape.lanes,
            shape.columns,
            coding=coding,
            timesteps=timesteps,
            weight_bits=shape.weight_bits,
            distribution="extreme",
        )
        await check(driver, layer)


@cocotb.test()
async def largest_sums(dut):
    """All codes and weights at their ends with equal and opposite signs: the largest accumulators there are."""
    driver, rng = await begin(dut)
    shape = driver.shape
    K, T, F = shape.capacity, shape.tmax, 8
    for sign in (1, -1):
        layer = random_layer(rng, 1, K, 2, timesteps=T, frac_bits=F, weight_bits=shape.weight_bits)
        layer.membrane[:] = sign * ((1 << T + F) - 1)
        layer.weight[0], layer.weight[1] = -(1 << shape.weight_bits - 1), (1 << shape.weight_bits - 1) - 1
        layer.codes[:] = golden.codes_from_membranes(layer.membrane, layer.timesteps, F)
        layer.spikes[:] = golden.fire(layer.membrane, layer.timesteps, F, "tc_lif")
        layer.acc[:] = golden.accumulate(layer.codes, layer.weight)[:, :, 0]
        layer.output[:] = golden.dequantize(layer.acc, layer.act_scale, layer.weight_scale, layer.bias)
        assert abs(int(layer.acc[0, 0])) == K * ((1 << T) - 1) << shape.weight_bits - 1
        await check(driver, layer)


@cocotb.test()
async def zeros(dut):
    """A layer without a spike: no work for the array, zeros out."""
    driver, rng = await begin(dut)
    shape = driver.shape
    size = (shape.rows + 1, 2 * shape.lanes + 1, shape.columns + 1)
    layer = random_layer(rng, *size, distribution="zeros", weight_bits=shape.weight_bits)
    result = await check(driver, layer)
    assert result.counters["additions"] == result.counters["spikes"] == 0
    assert not result.acc.any()


@cocotb.test()
async def sizes(dut):
    """Every size of 1, one below, at and one above the array's, in M, K and N."""
    driver, rng = await begin(dut)
    shape = driver.shape
    for M in sorted({1, shape.rows - 1, shape.rows, shape.rows + 1} - {0}):
        for K in (1, shape.lanes - 1, shape.lanes, shape.lanes + 1):
            for N in sorted({1, shape.columns - 1, shape.columns, shape.columns + 1} - {0}):
                await check(
                    driver, random_layer(rng, M, K, N, weight_bits=shape.weight_bits, timesteps=(1, shape.tmax))
                )


@cocotb.test()
async def group_scales(dut):
    """Groups of one input, groups off the chunk size, one group written as such: each sum leaves on its own."""
    driver, rng = await begin(dut)
    shape = driver.shape
    for groups, size in ((5, 1), (2, shape.lanes), (3, shape.lanes + 1), (7, shape.lanes - 1), (1, 9)):
        layer = random_layer(
            rng,
            shape.rows + 1,
            groups * size,
            shape.columns + 1,
            groups=groups,
            grouped=True,
            weight_bits=shape.weight_bits,
            timesteps=(1, 2, shape.tmax),
        )
        await check(driver, layer, Stalls.random(rng))


@cocotb.test()
async def full_store(dut):
    """K of exactly the capacity; one input more is refused."""
    driver, rng = await begin(dut)
    K = driver.shape.capacity
    layer = random_layer(rng, 2, K, 3, weight_bits=2, timesteps=(1, 2))
    await check(driver, layer)
    await driver.configure(layer, plan(layer, driver.shape), group_inputs=K + 1)
    await driver.write(CTRL, START)
    assert await driver.errors() == {"capacity"}


@cocotb.test()
async def silent_spike_stream(dut):
    """Without the spike stream the sums are the same and nothing comes out of it."""
    driver, rng = await begin(dut)
    for _ in range(3):
        await check(driver, draw(rng, driver.shape), Stalls.random(rng), spike_stream=False)


@cocotb.test()
async def back_to_back(dut):
    """The second job starts in the cycle after the first one is done, with other settings."""
    driver, rng = await begin(dut)
    first = draw(rng, driver.shape, coding="tc_lif")
    second = draw(rng, driver.shape, coding=codings(driver.shape)[-1])
    for layer in (first, second, first):
        await driver.launch(layer)
        await driver.finish(limit(layer, driver.shape))
        result = await driver.collect(layer)
        compare(layer, result.spikes, result.acc)
        check_counters(layer, driver.shape, result.counters, result.errors)


@cocotb.test()
async def reset_in_mid_stream(dut):
    """A reset at any time leaves a core that does its next job right, with silent outputs and clean registers."""
    driver, rng = await begin(dut)
    for _ in range(25):
        layer = draw(rng, driver.shape)
        await driver.launch(layer, Stalls.random(rng))
        await ClockCycles(dut.clk, int(rng.integers(1, 400)))
        dut.rst_n.value = 0
        await ClockCycles(dut.clk, 2)
        assert not dut.irq.value
        await driver.reset()
        assert await driver.read(STATUS) == 0
        assert await driver.read(ERROR) == 0
        await check(driver, draw(rng, driver.shape), Stalls.random(rng))


@cocotb.test()
async def illegal_settings(dut):
    """Every setting that cannot work is named; no job starts, no stream moves, and the next job is right."""
    driver, rng = await begin(dut)
    layer = draw(rng, driver.shape)
    cut = plan(layer, driver.shape)
    huge = driver.shape.blocks + 1
    bad = [
        ({"rows": 0}, {"rows"}),
        ({"outputs": 0}, {"outputs"}),
        ({"groups": 0}, {"groups"}),
        ({"group_inputs": 0}, {"group_inputs"}),
        ({"mode": 31 << 8}, {"frac_bits"}),
        ({"groups": huge, "group_inputs": 1}, {"capacity"}),
        ({"rows": 0, "outputs": 0}, {"rows", "outputs"}),
    ]
    if not driver.shape.csd:
        bad.append(({"mode": 1}, {"coding"}))
    for settings, errors in bad:
        await driver.configure(layer, cut, **settings)
        await driver.write(CTRL, START)
        await ClockCycles(dut.clk, huge + 5)
        assert await driver.errors() == errors, settings
        assert await driver.read(STATUS) == FAULT, settings
        await driver.write(ERROR, 0xFFFFFFFF)
        assert await driver.read(STATUS) == 0
    await check(driver, layer)


@cocotb.test()
async def locked_while_busy(dut):
    """A running job cannot be changed or restarted; the attempt is refused, reported, and does no harm."""
    driver, rng = await begin(dut)
    layer = draw(rng, driver.shape, timesteps=driver.shape.tmax)
    await driver.launch(layer, Stalls(membrane=220))
    for address in (MODE, 0x24, 0x28, 0x2C, 0x30):
        await driver.write(address, 1, expect=SLVERR)
    await driver.write(CTRL, START, expect=SLVERR)
    assert await driver.errors() == {"write_busy"}
    await driver.write(ERROR, 0xFFFFFFFF)
    await driver.finish(limit(layer, driver.shape, Stalls(membrane=220)))
    result = await driver.collect(layer)
    compare(layer, result.spikes, result.acc)
    check_counters(layer, driver.shape, result.counters, result.errors)


@cocotb.test()
async def misplaced_tlast(dut):
    """A packet of the wrong length is reported and the job still ends, because the core counts for itself."""
    driver, rng = await begin(dut)
    layer = draw(rng, driver.shape, groups=1, timesteps=driver.shape.tmax)
    for option, name in (({"membrane_packet": 2**31}, "membrane_last"), ({"weight_packet": 2**31}, "weight_last")):
        await driver.launch(layer, **option)
        await driver.finish(limit(layer, driver.shape))
        result = await driver.collect(layer)
        assert result.errors == {name}
        compare(layer, result.spikes, result.acc)
        await driver.write(ERROR, 0xFFFFFFFF)


@cocotb.test()
async def bad_timesteps(dut):
    """A header with T = 0 is reported, and the job still ends."""
    driver, rng = await begin(dut)
    layer = draw(rng, driver.shape, timesteps=1)
    layer.timesteps[0] = 0
    await driver.launch(layer, spike_stream=False)
    layer.timesteps[0] = 1
    await driver.finish(limit(layer, driver.shape))
    assert (await driver.errors()) == {"timesteps"}


@cocotb.test()
async def wide_weights(dut):
    """A core with narrow weights reports those that do not fit; one with 8 bits takes every byte."""
    driver, rng = await begin(dut)
    layer = draw(rng, driver.shape, weight_bits=2, distribution="gaussian")
    layer.weight[-1, -1] = 127
    await driver.launch(layer)
    await driver.finish(limit(layer, driver.shape))
    assert (await driver.errors()) == ({"weight_range"} if driver.shape.weight_bits < 8 else set())


@cocotb.test()
async def polling(dut):
    """Without the interrupt, status shows busy and then done; done is cleared by writing 1."""
    driver, rng = await begin(dut)
    layer = draw(rng, driver.shape)
    await driver.launch(layer, Stalls(membrane=220))
    assert await driver.read(STATUS) == 1
    await ClockCycles(dut.clk, limit(layer, driver.shape, Stalls(membrane=220)))
    assert await driver.read(STATUS) == DONE
    assert dut.irq.value
    await driver.write(STATUS, DONE)
    assert await driver.read(STATUS) == 0
    assert not dut.irq.value
