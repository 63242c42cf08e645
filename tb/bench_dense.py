"""The dense baseline on random jobs: every accumulator equals the golden model's, in any shape and with any stalls."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from core_driver import CoreDriver, Stalls
from generate import arrays_from_membranes, random_layer
from images import compare, dense_words, plan
from registers import BUSY, CTRL, ERROR, START, STATUS
from spike_compressor.trace import Layer
from unit import SEED


async def check(driver: CoreDriver, layer, stalls: Stalls | None = None) -> None:
    """One job, bit for bit, counters and errors included."""
    words = (
        dense_words(layer, driver.shape, int(driver.dut.planes.value)).sum() * plan(layer, driver.shape).column_tiles
    )
    result = await driver.run(layer, stalls, spike_stream=False)
    compare(layer, layer.spikes, result.acc)
    assert result.errors == set(), result.errors
    assert result.counters["words"] == words
    assert result.counters["spikes"] == np.count_nonzero(layer.spikes)


@cocotb.test()
async def random_jobs(dut):
    """Jobs of any size around the array's, with group scales, mixed T and random pauses on all streams."""
    rng = np.random.default_rng(SEED)
    cocotb.log.info("SEED=%d", SEED)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape = driver.shape
    timesteps = tuple(range(1, shape.tmax + 1))
    for i in range(24):
        groups = int(rng.choice([1, 1, 2, 3]))
        size = int(rng.integers(1, max(2, shape.capacity // groups // 2)))
        layer = random_layer(
            rng,
            int(rng.integers(1, 2 * shape.rows + 2)),
            size * groups,
            int(rng.integers(1, 2 * shape.columns + 2)),
            timesteps=timesteps,
            weight_bits=shape.weight_bits,
            groups=groups,
            distribution=str(rng.choice(["gaussian", "laplace", "zeros", "extreme"])),
            max_timesteps=shape.tmax,
        )
        await check(driver, layer, Stalls.random(rng) if i % 2 else None)


@cocotb.test()
async def groups_of_one_chunk(dut):
    """Complete sums follow each other without a pause: none is lost or overwritten."""
    rng = np.random.default_rng(SEED + 1)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape = driver.shape
    for size in (1, shape.lanes, shape.lanes + 1, 3 * shape.lanes):
        layer = random_layer(
            rng, 2 * shape.rows, 3 * size, shape.columns, groups=3, timesteps=(1, shape.tmax), distribution="extreme",
            weight_bits=shape.weight_bits, max_timesteps=shape.tmax,
        )  # fmt: skip
        await check(driver, layer)
        await check(driver, layer, Stalls(acc=200))


@cocotb.test()
async def sums_wait_in_the_drain(dut):
    """Row tiles of one chunk follow each other while sums cannot leave: none gets the number of a later row tile."""
    rng = np.random.default_rng(SEED + 4)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape = driver.shape
    for groups, outputs in ((1, 1), (1, 2 * shape.columns), (2, 1)):
        layer = random_layer(
            rng, 9 * shape.rows - 1, groups * shape.lanes, outputs, groups=groups, timesteps=(1, shape.tmax),
            distribution="extreme", weight_bits=shape.weight_bits, max_timesteps=shape.tmax,
        )  # fmt: skip
        await check(driver, layer, Stalls(acc=230))


@cocotb.test()
async def too_many_groups(dut):
    """A row of more groups than the baseline keeps apart is refused; one of as many is computed, then."""
    rng = np.random.default_rng(SEED + 5)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape, most = driver.shape, int(dut.max_groups.value)
    layer = random_layer(
        rng, shape.rows + 1, most, shape.columns, groups=most, timesteps=shape.tmax, weight_bits=shape.weight_bits,
        max_timesteps=shape.tmax,
    )  # fmt: skip
    await driver.configure(layer, plan(layer, shape), spike_stream=False, groups=most + 1)
    await driver.write(CTRL, START)
    await ClockCycles(dut.clk, 2 * most + 20)
    assert await driver.errors() == {"capacity"}
    assert not await driver.read(STATUS) & BUSY
    await driver.write(ERROR, 0xFFFF_FFFF)
    await check(driver, layer)


@cocotb.test()
async def rows_before_weights(dut):
    """Row tiles come in as soon as there is room, while the last chunk of the one before waits for its weights."""
    rng = np.random.default_rng(SEED + 3)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape = driver.shape
    for chunks in (1, 2, 3):
        layer = random_layer(
            rng, 8 * shape.rows, chunks * shape.lanes, shape.columns, timesteps=shape.tmax, distribution="extreme",
            weight_bits=shape.weight_bits, max_timesteps=shape.tmax,
        )  # fmt: skip
        await check(driver, layer, Stalls(weight=240))


@cocotb.test()
async def extremes(dut):
    """The longest row of the largest numbers fits the accumulators, of either sign."""
    rng = np.random.default_rng(SEED + 2)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape = driver.shape
    layer = random_layer(
        rng, shape.rows, shape.capacity, shape.columns, timesteps=shape.tmax, distribution="extreme",
        weight_bits=shape.weight_bits,
    )  # fmt: skip
    await check(driver, layer)
    top = (1 << shape.tmax) - 1
    for sign in (1, -1):
        arrays = layer.membrane.copy()
        arrays[:] = sign * (top << layer.info.frac_bits)
        await check(driver, extreme_layer(rng, arrays, shape, layer))


def extreme_layer(rng, membrane, shape, like):
    """All activations at one end of their range against the most negative weight."""
    weight = np.full(like.weight.shape, -(1 << (shape.weight_bits - 1)), np.int8)
    arrays = arrays_from_membranes(
        membrane, like.timesteps, weight, coding="tc_lif", frac_bits=like.info.frac_bits, groups=1, rng=rng
    )
    return Layer(like.info, arrays=arrays)
