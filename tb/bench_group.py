"""The group core: every spike and accumulator is the golden model's, in any shape, with any stalls, resets, aborts."""

from __future__ import annotations

from itertools import product

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from core_driver import CoreDriver, Stalls, check_counters, limit
from cycle_model import group_counters
from generate import random_layer
from group_coverage import Coverage
from images import compare, plan
from registers import (
    ABORT,
    BUSY,
    CLEAR,
    CTRL,
    ERROR,
    FAULT,
    GROUP_INPUTS,
    GROUPS,
    JOBS,
    MODE,
    OUTPUTS,
    QUEUED,
    ROWS,
    SLVERR,
    START,
    STATUS,
)
from unit import SEED

COVERAGE = Coverage()


async def begin(dut):
    """A driver after reset, and randomness."""
    cocotb.log.info("SEED=%d", SEED)
    driver = CoreDriver(dut, SEED)
    await driver.reset()
    return driver, np.random.default_rng(SEED)


async def check(driver, layer, stalls=None, **options):
    """One job, bit for bit, counters and errors included."""
    result = await driver.run(layer, stalls, **options)
    compare(layer, result.spikes, result.acc)
    check_counters(layer, driver.shape, result.counters, result.errors)
    assert result.counters["stall_store"] == 0 or plan(layer, driver.shape).row_tiles > 2  # two have room
    assert result.counters["stall_spike"] == 0 or options.get("spike_stream", True)
    COVERAGE.job(layer, driver.shape, stalls or Stalls(), result.counters, **options)
    return result


async def refused(driver, errors):
    """A job that was started does not run, for these reasons."""
    await driver.write(CTRL, START)
    while await driver.read(STATUS) & BUSY:
        pass
    assert await driver.errors() == errors
    assert await driver.read(STATUS) == FAULT
    COVERAGE.errors(errors)
    await driver.write(ERROR, 0xFFFFFFFF)


def draw(rng, shape, **options):
    """A layer for the core, of any size around its own unless told; options as `random_layer`."""
    size = {
        "rows": int(rng.integers(1, 2 * shape.rows + 2)),
        "inputs": int(rng.integers(1, shape.capacity)),
        "outputs": int(rng.integers(1, 2 * shape.columns + 2)),
    }
    sizes = [options.pop(name, one) for name, one in size.items()]
    settings = {"timesteps": tuple(range(1, shape.tmax + 1)), "weight_bits": shape.weight_bits, "frac_bits": 7}
    return random_layer(rng, *sizes, coding="group4_beam4", max_timesteps=shape.tmax, **(settings | options))


def small(rng, shape, **options):
    """Two tiles each way and two chunks."""
    return draw(
        rng, shape, **{"rows": shape.rows + 1, "inputs": shape.lanes + 4, "outputs": shape.columns + 1} | options
    )


@cocotb.test()
async def random_jobs(dut):
    """Jobs of any size around the core's, with scale groups, mixed S and random pauses on all streams."""
    driver, rng = await begin(dut)
    shape = driver.shape
    for i in range(16):
        groups = int(rng.choice([1, 1, 2, 3]))
        size = int(rng.integers(1, max(2, shape.capacity // groups // 2)))
        if groups > 1:
            size += -size % 4
        layer = draw(
            rng, shape, inputs=size * groups, groups=groups, weight_bits=int(rng.integers(2, shape.weight_bits + 1)),
            distribution=str(rng.choice(["gaussian", "laplace", "zeros", "extreme"])),
        )  # fmt: skip
        await check(driver, layer, Stalls.random(rng) if i % 2 else None, spike_stream=i % 3 != 2)


@cocotb.test()
async def chunks_of_one_step(dut):
    """Complete sums follow each other in every cycle, and wait: none is lost or overwritten."""
    driver, rng = await begin(dut)
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
    driver, rng = await begin(dut)
    shape = driver.shape
    for sign in (0, 1, -1):
        layer = draw(
            rng, shape, rows=2 * shape.rows, inputs=shape.capacity, outputs=shape.columns, timesteps=shape.tmax,
            distribution="extreme", ends=sign,
        )  # fmt: skip
        await check(driver, layer, Stalls(weight=200) if sign == 1 else None)


@cocotb.test()
async def ties(dut):
    """Groups of equal inputs and of those between two codes, for every S: which input fires is the golden one."""
    driver, rng = await begin(dut)
    shape = driver.shape
    for steps, distribution in product(range(1, shape.tmax + 1), ("extreme", "halves")):
        layer = draw(
            rng, shape, rows=2 * shape.rows, inputs=shape.capacity, outputs=1, timesteps=steps,
            distribution=distribution, weight_bits=2,
        )  # fmt: skip
        await check(driver, layer)


@cocotb.test()
async def every_kind_of_row(dut):
    """Every S with every firing rate, side that stalls, and size next to the array's: the coverage's cross."""
    driver, rng = await begin(dut)
    shape = driver.shape
    sizes = (
        (max(1, shape.rows - 1), shape.lanes - 4, max(1, shape.columns - 1)),
        (shape.rows, shape.lanes, shape.columns),
        (shape.rows + 1, shape.lanes + 4, shape.columns + 1),
    )
    stalls = (Stalls(), Stalls(membrane=128, weight=40), Stalls(spike=128, acc=40), Stalls(220, 128, 40, 128))
    kinds = ({"distribution": "zeros"}, {"distribution": "sparse"}, {"ends": 1})
    for (M, K, N), pauses, kind in product(sizes, stalls, kinds):
        for first in range(1, shape.tmax + 1, M):
            steps = range(first, min(first + M, shape.tmax + 1))
            layer = draw(rng, shape, rows=M, inputs=K, outputs=N, timesteps=tuple(steps), in_turn=True, **kind)
            await check(driver, layer, pauses)


@cocotb.test()
async def sizes(dut):
    """Every size of 1, one below, at and one above the array's, in M, K and N."""
    driver, rng = await begin(dut)
    shape = driver.shape
    around = [sorted({1, n - 1, n, n + 1} - {0}) for n in (shape.rows, shape.lanes, shape.columns)]
    for M, K, N in product(*around):
        await check(driver, draw(rng, shape, rows=M, inputs=K, outputs=N))


@cocotb.test()
async def scale_groups(dut):
    """Groups of four inputs, off the chunk's size, one written as such, as many as the store holds."""
    driver, rng = await begin(dut)
    shape = driver.shape
    for groups, size in ((shape.blocks, 4), (2, shape.lanes), (2, shape.lanes + 4), (3, shape.lanes - 4), (1, 9)):
        layer = small(rng, shape, inputs=groups * size, groups=groups, grouped=True)
        await check(driver, layer, Stalls.random(rng))


@cocotb.test()
async def last_spikes_wait(dut):
    """A job whose sums have long left is not done before its last spikes have."""
    driver, rng = await begin(dut)
    for K in (1, 4, 9):
        await check(driver, draw(rng, driver.shape, rows=1, inputs=K, outputs=1), Stalls(spike=250))


@cocotb.test()
async def reset_in_mid_stream(dut):
    """A reset at any time leaves a core that does its next job right, with silent outputs and clean registers."""
    driver, rng = await begin(dut)
    for i in range(12):
        await driver.launch(draw(rng, driver.shape), Stalls.random(rng))
        await ClockCycles(dut.clk, int(rng.integers(1, 40 if i % 2 else 400)))
        COVERAGE.reset(await driver.counters())
        await driver.reset()
        assert await driver.read(STATUS) == 0
        assert await driver.read(ERROR) == 0
        await check(driver, draw(rng, driver.shape), Stalls.random(rng))


@cocotb.test()
async def reset_at_every_cycle(dut):
    """Wherever a job and its streams are when a reset comes, the next one is right."""
    driver, rng = await begin(dut)
    layer = small(rng, driver.shape, timesteps=(1, 2))
    cycles = (await check(driver, layer)).counters["cycles"]
    for cycle in range(1, cycles + 2):
        await driver.launch(layer)
        await ClockCycles(dut.clk, cycle)
        await driver.reset(1)
        assert await driver.read(STATUS) == 0, cycle
        result = await driver.run(layer)
        compare(layer, result.spikes, result.acc)
        assert result.errors == set(), cycle


@cocotb.test()
async def aborts(dut):
    """An abort at any time ends the jobs and leaves a core that is right: no spike of a group that was on its way."""
    driver, rng = await begin(dut)
    shape = driver.shape
    for i in range(12):
        layers = [draw(rng, shape) for _ in range(2)]
        done = await driver.read(JOBS)
        await driver.launch(layers[0], Stalls(*(int(v) for v in rng.choice([0, 128, 250], 4))))
        await ClockCycles(dut.clk, int(rng.integers(1, 20 if i % 3 == 2 else 400)))
        counters = await driver.counters()
        if await driver.read(JOBS) != done:  # it was quicker
            await driver.finish(limit(layers[0], shape))
            continue
        COVERAGE.abort(counters)
        await driver.abort(hold=100 if i % 2 else 0)
        assert await driver.errors() == set(), "of input that nobody wants"
        await check(driver, layers[1], Stalls.random(rng))


@cocotb.test()
async def start_behind_an_abort(dut):
    """A start in the very cycle after an abort was taken back waits until the engines are out of their reset."""
    driver, rng = await begin(dut)
    layer = small(rng, driver.shape)
    await driver.prepare(layer)
    await driver.burst((ABORT, 1), (ABORT, 0), (CTRL, START | CLEAR))
    await driver.send()
    await driver.finish(limit(layer, driver.shape))
    result = await driver.collect(layer)
    compare(layer, result.spikes, result.acc)


@cocotb.test()
async def two_jobs(dut):
    """A job that waits begins when the one before has ended; its rows' steps are its own."""
    driver, rng = await begin(dut)
    shape = driver.shape
    first, second = (small(rng, shape, timesteps=steps) for steps in (shape.tmax, 2))
    await driver.launch(first, then=second)
    await driver.finish(2 * limit(first, shape))
    for layer, result in zip((first, second), await driver.collect_both(first, second), strict=True):
        compare(layer, result.spikes, result.acc)
        assert result.errors == set()


@cocotb.test()
async def bad_timesteps(dut):
    """A row without steps, or with too many, is computed as one of 1 or of the most, and an error bit says so."""
    driver, rng = await begin(dut)
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
        COVERAGE.errors(result.errors)
        await driver.write(ERROR, 0xFFFF_FFFF)


@cocotb.test()
async def illegal_settings(dut):
    """Every setting that cannot work is named, no job starts, and the next one is right."""
    driver, rng = await begin(dut)
    shape = driver.shape
    layer = draw(rng, shape)
    cut = plan(layer, shape)
    for settings, errors in (
        ({"rows": 0}, {"rows"}),
        ({"outputs": 0}, {"outputs"}),
        ({"groups": 0}, {"groups"}),
        ({"group_inputs": 0}, {"group_inputs"}),
        ({"mode": 31 << 8}, {"frac_bits"}),
        ({"mode": 1}, {"coding"}),
        ({"groups": shape.blocks + 1, "group_inputs": 1}, {"capacity"}),
        ({"groups": 1, "group_inputs": shape.capacity + 1}, {"capacity"}),
    ):
        await driver.configure(layer, cut, **settings)
        await refused(driver, errors)
    await check(driver, layer)


@cocotb.test()
async def misplaced_tlast(dut):
    """A packet of the wrong length is reported and the job still ends, because the core counts for itself."""
    driver, rng = await begin(dut)
    layer = draw(rng, driver.shape)
    for option, name in (({"membrane_packet": 2**31}, "membrane_last"), ({"weight_packet": 2**31}, "weight_last")):
        await driver.launch(layer, **option)
        await driver.finish(limit(layer, driver.shape))
        result = await driver.collect(layer)
        assert result.errors == {name}
        COVERAGE.errors(result.errors)
        compare(layer, result.spikes, result.acc)
        await driver.write(ERROR, 0xFFFFFFFF)


@cocotb.test()
async def wide_weights(dut):
    """A narrow core reports each weight that does not fit; one with 8 bits takes every byte."""
    driver, rng = await begin(dut)
    shape = driver.shape
    expected = {"weight_range"} if shape.weight_bits < 8 else set()
    K, N = 2 * shape.lanes - 4, shape.columns + max(1, shape.columns // 2)
    for at in {(n, k) for n in (0, N - 1) for k in (0, shape.lanes, K - 1)}:
        layer = draw(rng, shape, rows=1, inputs=K, outputs=N, timesteps=1, weight_bits=2)
        layer.weight[at] = (-128, 127)[int(rng.integers(2))]
        await driver.launch(layer)
        await driver.finish(limit(layer, shape))
        assert await driver.errors() == expected, at
        COVERAGE.errors(expected)
        await driver.write(ERROR, 0xFFFFFFFF)


@cocotb.test()
async def left_over(dut):
    """A packet too many on a stream is an error, is dropped, and not in the next job's results."""
    driver, rng = await begin(dut)
    for name in ("membrane", "weight"):
        layer = draw(rng, driver.shape)
        await driver.launch(layer, extra=name)
        await driver.finish(limit(layer, driver.shape))
        result = await driver.collect(layer)
        compare(layer, result.spikes, result.acc)
        assert result.errors == {"left_over"}, name
        COVERAGE.errors(result.errors)
        await driver.write(ERROR, 0xFFFFFFFF)
        await check(driver, draw(rng, driver.shape))


@cocotb.test()
async def locked_while_one_waits(dut):
    """A running job keeps what it was given; a change of a waiting one is refused and reported, and does no harm."""
    driver, rng = await begin(dut)
    layer = draw(rng, driver.shape)
    await driver.launch(layer, Stalls(membrane=220))
    for address in (MODE, ROWS, OUTPUTS, GROUPS, GROUP_INPUTS):
        await driver.write(address, 0)
    await driver.write(CTRL, START)  # refused when its turn comes
    assert await driver.read(STATUS) == BUSY | QUEUED
    await driver.write(ROWS, 1, expect=SLVERR)
    assert await driver.errors() == {"write_busy"}
    COVERAGE.errors({"write_busy"})
    await driver.write(ERROR, 0xFFFFFFFF)
    await driver.finish(limit(layer, driver.shape, Stalls(membrane=220)))
    result = await driver.collect(layer)
    compare(layer, result.spikes, result.acc)
    assert result.errors == {"rows", "outputs", "groups", "group_inputs"}
    await driver.write(ERROR, 0xFFFFFFFF)
    await check(driver, layer)


@cocotb.test()
async def enormous_sizes(dut):
    """Jobs of more rows or outputs than a simulation can run start, want more and more input, and do not end."""
    driver, rng = await begin(dut)
    shape = driver.shape
    R, C, K = shape.rows, shape.columns, shape.lanes
    layers = {
        "rows": draw(rng, shape, rows=3 * R, inputs=K, outputs=C, timesteps=1),
        "outputs": draw(rng, shape, rows=R, inputs=K, outputs=3 * C, timesteps=1),
    }
    for name, layer in layers.items():
        want = group_counters(layer, shape)
        for bit in range(6, 32):
            await driver.launch(layer, spike_stream=False, **{name: 1 << bit})
            await ClockCycles(dut.clk, limit(layer, shape) // 4)
            assert await driver.read(STATUS) == BUSY, f"{name} = 2^{bit}"
            counters = await driver.counters()
            assert {one: counters[one] for one in ("rows", "words")} == {one: want[one] for one in ("rows", "words")}
            await driver.reset()
    await check(driver, draw(rng, shape))
