"""The group core on random jobs: every spike and accumulator is the golden model's, in any shape, with any stalls."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from core_driver import CoreDriver, Stalls, check_counters, limit
from generate import random_layer
from images import compare
from registers import CTRL, ERROR, JOBS, START
from unit import SEED


async def check(driver: CoreDriver, layer, stalls: Stalls | None = None, *, spike_stream: bool = True) -> None:
    """One job, bit for bit, counters and errors included."""
    result = await driver.run(layer, stalls, spike_stream=spike_stream)
    compare(layer, result.spikes, result.acc)
    check_counters(layer, driver.shape, result.counters, result.errors)


def draw(rng, shape, **options):
    """A layer for the core; options as `random_layer`."""
    sizes = [options.pop(name) for name in ("rows", "inputs", "outputs")]
    settings = {"timesteps": tuple(range(1, shape.tmax + 1)), "weight_bits": shape.weight_bits, "frac_bits": 7}
    return random_layer(rng, *sizes, coding="group4_beam4", max_timesteps=shape.tmax, **(settings | options))


@cocotb.test()
async def random_jobs(dut):
    """Jobs of any size around the core's, with scale groups, mixed S and random pauses on all streams."""
    rng = np.random.default_rng(SEED)
    cocotb.log.info("SEED=%d", SEED)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape = driver.shape
    for i in range(16):
        groups = int(rng.choice([1, 1, 2, 3]))
        size = int(rng.integers(1, max(2, shape.capacity // groups // 2)))
        if groups > 1:
            size += -size % 4
        layer = draw(
            rng, shape, rows=int(rng.integers(1, 2 * shape.rows + 2)), inputs=size * groups,
            outputs=int(rng.integers(1, 2 * shape.columns + 2)), groups=groups,
            distribution=str(rng.choice(["gaussian", "laplace", "zeros", "extreme"])),
        )  # fmt: skip
        await check(driver, layer, Stalls.random(rng) if i % 2 else None, spike_stream=i % 3 != 2)


@cocotb.test()
async def chunks_of_one_step(dut):
    """Complete sums follow each other in every cycle, and wait: none is lost or overwritten."""
    rng = np.random.default_rng(SEED + 1)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape = driver.shape
    for size in (4, shape.lanes, shape.lanes + 4):
        for steps in (1, 2, shape.tmax):
            layer = draw(
                rng, shape, rows=2 * shape.rows + 1, inputs=2 * size, outputs=shape.columns, groups=2, timesteps=steps,
                distribution="extreme",
            )  # fmt: skip
            await check(driver, layer)
            await check(driver, layer, Stalls(acc=200))


@cocotb.test()
async def extremes(dut):
    """The longest row of the largest numbers fits the accumulators, of either sign; weights that come late."""
    rng = np.random.default_rng(SEED + 2)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape = driver.shape
    for sign in (0, 1, -1):
        layer = draw(
            rng, shape, rows=2 * shape.rows, inputs=shape.capacity, outputs=shape.columns, timesteps=shape.tmax,
            distribution="extreme", ends=sign,
        )  # fmt: skip
        await check(driver, layer, Stalls(weight=200) if sign == 1 else None)


@cocotb.test()
async def aborts(dut):
    """An abort at any time ends the jobs and leaves a core that is right: no spike of a group that was on its way."""
    rng = np.random.default_rng(SEED + 3)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape = driver.shape
    for i in range(8):
        layers = [
            draw(
                rng, shape, rows=int(rng.integers(1, 2 * shape.rows + 2)), inputs=int(rng.integers(1, shape.capacity)),
                outputs=int(rng.integers(1, 2 * shape.columns + 2)),
            )
            for _ in range(2)
        ]  # fmt: skip
        done = await driver.read(JOBS)
        await driver.launch(layers[0], Stalls(*(int(v) for v in rng.choice([0, 128, 250], 4))))
        await ClockCycles(dut.clk, int(rng.integers(1, 400)))
        if await driver.read(JOBS) != done:  # it was quicker
            await driver.finish(limit(layers[0], shape))
            continue
        await driver.abort(hold=100 if i % 2 else 0)
        assert await driver.errors() == set(), "of input that nobody wants"
        await check(driver, layers[1], Stalls.random(rng))


@cocotb.test()
async def two_jobs(dut):
    """A job that waits begins when the one before has ended; its rows' steps are its own."""
    rng = np.random.default_rng(SEED + 4)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape = driver.shape
    size = {"rows": shape.rows + 1, "inputs": shape.lanes + 4, "outputs": shape.columns + 1}
    first, second = (draw(rng, shape, timesteps=steps, **size) for steps in (shape.tmax, 2))
    await driver.launch(first, then=second)
    await driver.finish(2 * limit(first, shape))
    for layer, result in zip((first, second), await driver.collect_both(first, second), strict=True):
        compare(layer, result.spikes, result.acc)
        assert result.errors == set()


@cocotb.test()
async def bad_timesteps(dut):
    """A row without steps, or with too many, is computed as one of 1 or of the most, and an error bit says so."""
    rng = np.random.default_rng(SEED + 5)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    shape = driver.shape
    for told, taken in ((0, 1), (shape.tmax + 1, shape.tmax), (255, shape.tmax)):
        layer = draw(rng, shape, rows=2, inputs=8, outputs=3, timesteps=taken)
        right = layer.timesteps.copy()
        layer.timesteps[:] = told
        await driver.prepare(layer)
        layer.timesteps[:] = right
        await driver.send()
        await driver.write(CTRL, START)
        await driver.finish(limit(layer, shape))
        result = await driver.collect(layer)
        compare(layer, result.spikes, result.acc)
        assert result.errors == {"timesteps"}
        await driver.write(ERROR, 0xFFFF_FFFF)
