"""cocotb tests of the whole core: random and directed layers, stalls, resets, errors, settings."""

from __future__ import annotations

from itertools import product

import cocotb
import numpy as np
from bench_capped_array import KINDS, membranes
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from core_driver import CoreDriver, Stalls, check_counters, limit
from cycle_model import expected_counters
from functional_coverage import Coverage
from generate import layer_of, random_layer
from images import compare, plan
from registers import (
    ABORT,
    ADDRESSES,
    BLOCKS,
    BUSY,
    CLEAR,
    COUNTER_BASE,
    COUNTERS,
    CTRL,
    DONE,
    ERROR,
    FAULT,
    GROUP_INPUTS,
    GROUPS,
    ID,
    ID_VALUE,
    IRQ_ENABLE,
    JOBS,
    LIMITS,
    MODE,
    OUTPUTS,
    QUEUED,
    ROWS,
    SHAPE,
    SLVERR,
    START,
    STATUS,
    VERSION,
)
from spike_compressor.trace import golden
from spike_compressor.trace.golden_capped import BLOCK
from spike_compressor.trace.schema import CAPPED_CODINGS, least_frac_bits
from unit import SEED

COVERAGE = Coverage()


def codings(shape, groups=1, size=0):
    """What the core can fire; of groups of one size what does not depend on how the core cuts them into blocks."""
    cut = groups > 1 and size % (shape.lanes * shape.slots)
    return [coding for coding in shape.codings if not (cut and coding in CAPPED_CODINGS)]


def fractions(coding, *choices):
    """Fraction bits that the coding can have."""
    least = least_frac_bits(coding)
    return [bits for bits in choices if bits >= least]


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
    COVERAGE.job(layer, driver.shape, stalls or Stalls(), result.counters, **options)
    return result


def draw(rng, shape, **fixed):
    """A random small layer that the core can hold, around the array's sizes."""
    groups = int(rng.choice([1, 1, 2, 3, 8]))
    block = shape.lanes * shape.slots
    most = block if shape.one_block else shape.blocks // groups * block
    size = int(rng.integers(1, 1 + min(int(rng.choice([2 * shape.lanes, 5 * block // 2])), most)))
    if shape.capped and rng.integers(2):
        size = block
    coding = fixed.get("coding", str(rng.choice(codings(shape, groups, size))))
    options = {
        "coding": coding,
        "timesteps": [int(t) for t in rng.integers(1, shape.tmax + 1, 3)],
        "frac_bits": int(rng.choice(fractions(coding, 1, 5, 8, 16, 24))),
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


def like(rng, layer, shape):
    """Another random layer of the same sizes."""
    info = layer.info
    coding = str(rng.choice(codings(shape, layer.groups, info.in_features // layer.groups)))
    return random_layer(
        rng,
        info.tokens,
        info.in_features,
        info.out_features,
        groups=layer.groups,
        coding=coding,
        timesteps=(1, shape.tmax),
        frac_bits=int(rng.choice(fractions(coding, 1, 16))),
        weight_bits=shape.weight_bits,
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
async def tall_and_wide(dut):
    """More rows, and more outputs, than twelve bits count, in even and odd numbers."""
    driver, rng = await begin(dut)
    R, C = driver.shape.rows, driver.shape.columns
    for M in (4097 + R, 4096 + R, 133, 101, 33):
        await check(driver, random_layer(rng, M, 1, 1, weight_bits=2, timesteps=(1, 2)))
    for N in (4097 + C, 4096 + C, 133, 101, 33):
        await check(driver, random_layer(rng, 1, 1, N, weight_bits=2, timesteps=1))


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
            timesteps=(1, min(2, shape.tmax), shape.tmax),
        )
        await check(driver, layer, Stalls.random(rng))


@cocotb.test()
async def largest_groups(dut):
    """As many groups of a whole block as the store holds; where groups have one block, one input more is refused."""
    driver, rng = await begin(dut)
    shape = driver.shape
    block, groups = shape.lanes * shape.slots, min(shape.blocks, 8)
    kind = {"weight_bits": shape.weight_bits, "timesteps": (1, shape.tmax), "distribution": "extreme"}
    layer = random_layer(rng, shape.rows + 1, groups * block, shape.columns + 1, groups=groups, **kind)
    await check(driver, layer, Stalls.random(rng))
    if not shape.one_block:
        return
    await driver.configure(layer, plan(layer, shape), group_inputs=block + 1, groups=1)
    await driver.write(CTRL, START)
    while await driver.read(STATUS) & BUSY:
        pass
    assert await driver.errors() == {"capacity"}
    COVERAGE.errors({"capacity"})


@cocotb.test()
async def full_store(dut):
    """K of exactly the capacity; one input more is refused."""
    driver, rng = await begin(dut)
    K = driver.shape.capacity
    layer = random_layer(rng, 2, K, 3, weight_bits=2, timesteps=(1, 2))
    await check(driver, layer)
    await driver.configure(layer, plan(layer, driver.shape), group_inputs=K + 1)
    await driver.write(CTRL, START)
    while await driver.read(STATUS) & BUSY:  # it is being checked
        pass
    assert await driver.errors() == {"capacity"}
    COVERAGE.errors({"capacity"})


@cocotb.test()
async def every_kind_of_row(dut):
    """Every T with every coding, firing rate, side that stalls, and size next to the array's: the coverage's cross."""
    driver, rng = await begin(dut)
    shape = driver.shape
    block = shape.lanes * shape.slots
    sizes = {
        "inside": (max(1, shape.rows - 1), max(1, block - 1), max(1, shape.columns - 1)),
        "exact": (shape.rows, block, shape.columns),
        "several": (shape.rows + 1, block + 1, shape.columns + 1),
    }
    stalls = (Stalls(), Stalls(membrane=128, weight=40), Stalls(spike=128, acc=40), Stalls(220, 128, 40, 128))
    for (M, K, N), pauses, coding in product(sizes.values(), stalls, codings(shape)):
        for firing in ("zeros", "rare", "usual", "dense"):
            for first in range(1, shape.tmax + 1, M):
                layer = random_layer(
                    rng,
                    M,
                    K,
                    N,
                    coding=coding,
                    distribution=firing,
                    weight_bits=int(rng.integers(2, shape.weight_bits + 1)),
                    frac_bits=int(rng.choice(fractions(coding, 1, 8, 16, 24))),
                    timesteps=range(first, min(first + M, shape.tmax + 1)),
                    in_turn=True,
                )
                await check(driver, layer, pauses)


@cocotb.test()
async def full_lanes(dut):
    """Capped firing of rows of which lanes drop spikes of every class, few and many."""
    driver, rng = await begin(dut)
    shape = driver.shape
    for coding in (one for one in codings(shape) if one in CAPPED_CODINGS):
        for frac_bits in range(2, 31, 2):  # of a membrane every bit is a quarter once
            T = rng.integers(1, min(shape.tmax, 31 - frac_bits) + 1, 2 * KINDS + shape.lanes).astype(np.uint8)
            top = (1 << (T.astype(np.int64)[:, None] + frac_bits)) - 1  # what a bundle may hold
            rows = membranes(rng, T.astype(np.int64), frac_bits, 5 * BLOCK // 2)
            for lane in range(shape.lanes):  # and rows of which one lane alone fires, always
                rows[lane] = np.where(np.arange(rows.shape[1]) % shape.lanes == lane, top[lane], 0)
            weight = rng.integers(-2, 2, (shape.columns + 1, rows.shape[1])).astype(np.int8)
            rows = np.clip(rows, -top, top).astype(np.int32)
            await check(driver, layer_of(rows, T, weight, coding=coding, frac_bits=frac_bits, weight_bits=2, rng=rng))


@cocotb.test()
async def tails_of_every_length(dut):
    """Every T of every coding meets a last chunk of every length."""
    driver, rng = await begin(dut)
    shape = driver.shape
    for coding, tail in product(codings(shape), range(1, shape.lanes)):
        layer = random_layer(
            rng, shape.tmax, tail, 1, coding=coding, timesteps=range(1, shape.tmax + 1), in_turn=True, weight_bits=2
        )
        await check(driver, layer)


@cocotb.test()
async def words_of_one_row(dut):
    """Blocks of one row alone, of a word each: unless the picker waits, a sum is read before it has been written."""
    driver, rng = await begin(dut)
    shape = driver.shape
    blocks = shape.blocks // 4
    for weight, acc in product((0, 64, 160), (128, 220)):
        layer = random_layer(
            rng, 1, 4 * blocks * shape.lanes * shape.slots, 3 * shape.columns, groups=4, timesteps=1,
            distribution="laplace", weight_bits=shape.weight_bits,
        )  # fmt: skip
        await check(driver, layer, Stalls(weight=weight, acc=acc))


@cocotb.test()
async def longest_fraction(dut):
    """Membranes with all the fractional bits that there can be."""
    driver, rng = await begin(dut)
    for coding in codings(driver.shape):
        await check(driver, draw(rng, driver.shape, coding=coding, frac_bits=30, timesteps=1))


@cocotb.test()
async def silent_spike_stream(dut):
    """Without the spike stream the sums are the same and nothing comes out of it."""
    driver, rng = await begin(dut)
    for _ in range(3):
        await check(driver, draw(rng, driver.shape), Stalls.random(rng), spike_stream=False)


@cocotb.test()
async def last_spikes_wait(dut):
    """A job whose sums have long left is not done before its last spikes have."""
    driver, rng = await begin(dut)
    shape = driver.shape
    for K in (1, shape.lanes, shape.lanes + 1):
        for _ in range(3):
            layer = random_layer(rng, 1, K, 1, timesteps=shape.tmax, distribution="extreme", weight_bits=2)
            await check(driver, layer, Stalls(spike=250))


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
        COVERAGE.reset(await driver.counters())
        dut.rst_n.value = 0
        await ClockCycles(dut.clk, 2)
        assert not dut.irq.value
        await driver.reset()
        assert await driver.read(STATUS) == 0
        assert await driver.read(ERROR) == 0
        await check(driver, draw(rng, driver.shape), Stalls.random(rng))


@cocotb.test()
async def reset_at_every_cycle(dut):
    """Wherever a job and its streams are when a reset comes, the next one is right: two tiles each way, two chunks."""
    driver, rng = await begin(dut)
    shape = driver.shape
    layer = random_layer(
        rng, shape.rows + 1, shape.lanes + 1, shape.columns + 1, timesteps=1, weight_bits=shape.weight_bits
    )
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
    if driver.shape.capped:
        bad += [
            ({"mode": 1 << 8 | 4}, {"frac_bits"}),
            ({"mode": 2 << 8 | 6}, {"coding"}),
            ({"mode": 2 << 8 | 5}, {"coding"}),
        ]
    else:
        bad.append(({"mode": 2 << 8 | 4}, {"coding"}))
    for settings, errors in bad:
        await driver.configure(layer, cut, **settings)
        await driver.write(CTRL, START)
        await ClockCycles(dut.clk, huge + 5)
        assert await driver.errors() == errors, settings
        COVERAGE.errors(errors)
        assert await driver.read(STATUS) == FAULT, settings
        await driver.write(ERROR, 0xFFFFFFFF)
        assert await driver.read(STATUS) == 0
    await check(driver, layer)


@cocotb.test()
async def registers(dut):
    """Every job register keeps what is written, byte by byte; reserved bits and unknown addresses do not."""
    driver, rng = await begin(dut)
    assert await driver.read(JOBS) == 0
    kept = {
        MODE: 0x1F07,
        IRQ_ENABLE: 3,
        ABORT: 1,
        ROWS: 0xFFFFFFFF,
        OUTPUTS: 0xFFFFFFFF,
        GROUPS: 0xFFFFFFFF,
        GROUP_INPUTS: 0xFFFFFFFF,
    }
    want = {}
    for address, mask in kept.items():
        for value in (0xFFFFFFFF, 0, 0x55555555, 0xAAAAAAAA, *(1 << i for i in range(32)), int(rng.integers(2**32))):
            await driver.write(address, value)
            want[address] = value & mask
            assert await driver.read(address) == want[address], hex(address)
    for address, mask in kept.items():
        assert await driver.read(address) == want[address], "another register's write changed it"
        for strobe in range(16):
            value = int(rng.integers(2**32))
            touched = sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)
            want[address] = (want[address] & ~touched | value & touched) & mask
            await driver.write(address, value, strobe=strobe)
            assert await driver.read(address) == want[address], f"{address:#x}, strobe {strobe:04b}"
    assert await driver.read(CTRL) == 0
    await driver.write(ABORT, 0)
    for address in (ID, VERSION, SHAPE, LIMITS, BLOCKS, JOBS, COUNTER_BASE):
        before = await driver.read(address)
        await driver.write(address, ~before & 0xFFFFFFFF, expect=SLVERR)
        assert await driver.read(address) == before
    assert await driver.read(ID) == ID_VALUE
    for address in set(range(0, 256, 4)) - ADDRESSES:
        assert await driver.read(address, expect=SLVERR) == 0
        await driver.write(address, 1, expect=SLVERR)
    assert await driver.read(STATUS) == 0
    assert await driver.read(ERROR) == 0


@cocotb.test()
async def counters_carry(dut):
    """Counters go on from job to job, over a carry through all bits where the core was built to start below one."""
    driver, rng = await begin(dut)
    shape = driver.shape
    start = await driver.counters()
    base = start["cycles"]
    assert base in (0, 0x7FFF_FFFF_FFFF_FFF0)
    assert set(start.values()) == {base}
    want = dict.fromkeys(COUNTERS, 0)
    for _ in range(60 if base else 2):
        layer = draw(rng, shape, distribution="extreme", timesteps=range(1, shape.tmax + 1))
        stalls = Stalls.random(rng)
        await driver.launch(layer, stalls, clear=False)
        await driver.finish(limit(layer, shape, stalls))
        result = await driver.collect(layer)
        compare(layer, result.spikes, result.acc)
        for name, value in expected_counters(layer, shape).items():
            want[name] += value
            assert result.counters[name] == base + want[name], name
        # those that depend on the streams: some cycles, not some power of two
        assert all(0 <= value - base < 1 << 24 for value in result.counters.values()), result.counters
        if all(value - base >= 16 for value in result.counters.values()):  # all have carried
            break
    else:
        assert not base, f"some counters did not carry: {result.counters}"
    assert result.counters["cycles"] > base
    await driver.write(CTRL, CLEAR)
    await ClockCycles(dut.clk, 2)
    assert set((await driver.counters()).values()) == {0}


@cocotb.test()
async def enormous_sizes(dut):
    """Jobs of more rows or outputs than a simulation can run start, want more and more input, and do not end."""
    driver, rng = await begin(dut)
    shape = driver.shape
    R, C, K = shape.rows, shape.columns, shape.lanes
    layers = {
        "rows": random_layer(rng, 3 * R, K, C, timesteps=1, weight_bits=2),
        "outputs": random_layer(rng, R, K, 3 * C, timesteps=1, weight_bits=2),
    }
    for name, layer in layers.items():
        tiles = expected_counters(layer, shape)
        assert tiles["additions"] > 0
        for bit in range(10, 32):
            await driver.launch(layer, spike_stream=False, **{name: 1 << bit})
            await ClockCycles(dut.clk, limit(layer, shape) // 4)
            assert await driver.read(STATUS) == BUSY, f"{name} = 2^{bit}"
            counters = await driver.counters()
            assert counters["rows"] == layer.info.tokens, f"{name} = 2^{bit}"
            assert counters["additions"] == tiles["additions"], f"{name} = 2^{bit}: the tiles that came were worked on"
            await driver.reset()
    for name, capacity in (("groups", shape.blocks), ("group_inputs", shape.capacity)):
        for bit in range(capacity.bit_length(), 32):
            for value in (1 << bit, (1 << bit) + 2):
                settings = {"groups": 1, "group_inputs": 1, name: value}
                await driver.configure(layer, plan(layer, shape), **settings)
                await driver.write(CTRL, START)
                await ClockCycles(dut.clk, shape.blocks + 5)
                assert await driver.errors() == {"capacity"}, settings
                await driver.write(ERROR, 0xFFFFFFFF)
    await check(driver, draw(rng, shape))


@cocotb.test()
async def slow_register_port(dut):
    """Jobs and registers are right when each channel of the register port waits, in any order."""
    driver, rng = await begin(dut)
    driver.axil_stall = 0.7
    for _ in range(3):
        await check(driver, draw(rng, driver.shape), Stalls.random(rng))
    for address in (ROWS, OUTPUTS, GROUPS, GROUP_INPUTS) * 10:
        value = int(rng.integers(2**32))
        await driver.write(address, value)
        assert await driver.read(address) == value
        await driver.write(ID, value, expect=SLVERR)
        await driver.read(0xFC, expect=SLVERR)


@cocotb.test()
async def crowded_register_port(dut):
    """Writes and reads one right behind the other, each channel at its own pace: each answer is that of its request."""
    _, rng = await begin(dut)
    clock = RisingEdge(dut.clk)
    addresses = [int(a) for a in rng.choice([ROWS, OUTPUTS, GROUPS, GROUP_INPUTS, ID, 0xFC], 60)]
    values = [int(v) for v in rng.integers(0, 2**32, len(addresses))]

    async def offer(channel, pace, **fields):
        valid, ready = getattr(dut, f"s_axil_{channel}valid"), getattr(dut, f"s_axil_{channel}ready")
        for beat in zip(*fields.values(), strict=True):
            while rng.random() > pace:
                await clock
            for name, value in zip(fields, beat, strict=True):
                getattr(dut, f"s_axil_{name}").value = value
            valid.value = 1
            await clock
            while not ready.value:
                await clock
            valid.value = 0

    async def take(channel, pace, *fields):
        valid, ready = getattr(dut, f"s_axil_{channel}valid"), getattr(dut, f"s_axil_{channel}ready")
        seen = []
        while len(seen) < len(addresses):
            ready.value = willing = int(rng.random() < pace)
            await clock
            if valid.value and willing:
                seen.append(tuple(int(getattr(dut, f"s_axil_{name}").value) for name in fields))
        ready.value = 0
        return seen

    strobes = [15] * len(addresses)
    for pace in ((1, 1, 1), (0.3, 1, 1), (1, 0.3, 1), (1, 1, 0.3), (0.5, 0.5, 0.5)):
        cocotb.start_soon(offer("aw", pace[0], awaddr=addresses))
        cocotb.start_soon(offer("w", pace[1], wdata=values, wstrb=strobes))
        answers = await with_timeout(take("b", pace[2], "bresp"), 100, "us")
        assert answers == [(SLVERR if a in (ID, 0xFC) else 0,) for a in addresses], pace
        held = dict(zip(addresses, values, strict=True)) | {ID: ID_VALUE, 0xFC: 0}
        cocotb.start_soon(offer("ar", pace[1], araddr=addresses))
        answers = await with_timeout(take("r", pace[2], "rdata", "rresp"), 100, "us")
        assert answers == [(held[a], SLVERR if a == 0xFC else 0) for a in addresses], pace


@cocotb.test()
async def locked_while_one_waits(dut):
    """A running job keeps what it was given; a change of a waiting one is refused and reported, and does no harm."""
    driver, rng = await begin(dut)
    layer = draw(rng, driver.shape, timesteps=driver.shape.tmax)
    await driver.launch(layer, Stalls(membrane=220))
    for address in (MODE, ROWS, OUTPUTS, GROUPS, GROUP_INPUTS):
        await driver.write(address, 0)
    await driver.write(CTRL, START)  # refused when its turn comes
    assert await driver.read(STATUS) == BUSY | QUEUED
    for address in (MODE, ROWS, OUTPUTS, GROUPS, GROUP_INPUTS):
        await driver.write(address, 1, expect=SLVERR)
    await driver.write(CTRL, START, expect=SLVERR)
    assert await driver.errors() == {"write_busy"}
    COVERAGE.errors({"write_busy"})
    await driver.write(ERROR, 0xFFFFFFFF)
    await driver.finish(limit(layer, driver.shape, Stalls(membrane=220)))
    result = await driver.collect(layer)
    compare(layer, result.spikes, result.acc)
    check_counters(layer, driver.shape, result.counters, result.errors - {"rows", "outputs", "groups", "group_inputs"})
    assert result.errors == {"rows", "outputs", "groups", "group_inputs"}
    await driver.write(ERROR, 0xFFFFFFFF)
    await check(driver, layer)


@cocotb.test()
async def two_jobs(dut):
    """A second job is set up and started while the first one runs; both are right, with input on offer all the time."""
    driver, rng = await begin(dut)
    for _ in range(6):
        first = draw(rng, driver.shape, weight_bits=driver.shape.weight_bits)
        second = like(rng, first, driver.shape)
        stalls = Stalls.random(rng)
        done = await driver.read(JOBS)
        await driver.launch(first, stalls, then=second)
        assert await driver.read(STATUS) & BUSY
        for _ in range(2 * limit(first, driver.shape, stalls) // 64):
            await ClockCycles(dut.clk, 64)
            if not await driver.read(STATUS) & BUSY:
                break
        assert (await driver.read(JOBS) - done) % 65536 == 2
        await driver.finish(limit(first, driver.shape))
        for layer, result in zip((first, second), await driver.collect_both(first, second), strict=True):
            compare(layer, result.spikes, result.acc)
            assert result.errors == set()


@cocotb.test()
async def left_over(dut):
    """A packet too many on a stream is an error, is dropped, and not in the next job's results."""
    driver, rng = await begin(dut)
    slow = Stalls(membrane=128, weight=128)  # not so slow that nothing is on offer yet when the job ends
    for name, stalls in product(("membrane", "weight"), (None, slow)):
        layer = draw(rng, driver.shape)
        await driver.launch(layer, stalls, extra=name)
        await driver.finish(limit(layer, driver.shape, stalls))
        assert not dut.sending.value, "done before the packet was dropped"
        result = await driver.collect(layer)
        compare(layer, result.spikes, result.acc)
        assert result.errors == {"left_over"}, name
        COVERAGE.errors({"left_over"})
        await driver.write(ERROR, 0xFFFFFFFF)
        await check(driver, draw(rng, driver.shape))


@cocotb.test()
async def aborts(dut):
    """An abort at any time takes all input, keeps what is on offer, ends the jobs, and leaves a core that is right."""
    driver, rng = await begin(dut)
    for i in range(16):
        layer = draw(rng, driver.shape)
        done = await driver.read(JOBS)
        await driver.launch(layer, Stalls(*(int(v) for v in rng.choice([0, 128, 250], 4))))
        if i % 2:
            await driver.write(CTRL, START)
        await ClockCycles(dut.clk, int(rng.integers(1, 300)))
        if await driver.read(JOBS) != done:  # it was quicker
            await driver.finish(limit(layer, driver.shape))
            if not i % 2:
                continue
        await driver.abort(hold=100 if i % 4 < 2 else 0)
        assert await driver.errors() == set(), "of input that nobody wants"
        assert await driver.read(STATUS) == 0
        await check(driver, draw(rng, driver.shape), Stalls.random(rng))


@cocotb.test()
async def start_behind_an_abort(dut):
    """A start in the very cycle after an abort was taken back waits until the engines are out of their reset."""
    driver, rng = await begin(dut)
    for _ in range(3):
        layer = draw(rng, driver.shape)
        await driver.prepare(layer)
        await driver.burst((ABORT, 1), (ABORT, 0), (CTRL, START | CLEAR))
        await driver.send()
        await driver.finish(limit(layer, driver.shape))
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
        COVERAGE.errors(result.errors)
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
    assert await driver.errors() == {"timesteps"}
    COVERAGE.errors({"timesteps"})


@cocotb.test()
async def wide_weights(dut):
    """A narrow core reports each weight that does not fit, wherever it stands; one with 8 bits takes every byte."""
    driver, rng = await begin(dut)
    shape = driver.shape
    expected = {"weight_range"} if shape.weight_bits < 8 else set()
    # one place after the other in a layer that fills neither its last chunk nor its last column tile
    K, N = 2 * shape.lanes + shape.lanes // 2 + 1, shape.columns + max(1, shape.columns // 2)
    places = {(n, k) for n in (0, N - 1) for k in range(K)} | {(n, k) for n in range(N) for k in (0, K - 1)}
    half = 1 << shape.weight_bits - 1
    outside = [-128, 127] if half == 128 else [-128, 127, half, -half - 1]
    for at in sorted(places):
        layer = random_layer(rng, 1, K, N, weight_bits=2, timesteps=1)
        layer.weight[at] = outside[int(rng.integers(len(outside)))]
        await driver.launch(layer)
        await driver.finish(limit(layer, shape))
        assert await driver.errors() == expected, at
        COVERAGE.errors(expected)
        await driver.write(ERROR, 0xFFFFFFFF)


@cocotb.test()
async def polling(dut):
    """Without the interrupt, status shows busy and then done; done is cleared by writing 1."""
    driver, rng = await begin(dut)
    layer = draw(rng, driver.shape)
    await driver.launch(layer, Stalls(membrane=220))
    assert await driver.read(STATUS) == 1
    for _ in range(limit(layer, driver.shape, Stalls(membrane=220)) // 64):
        await ClockCycles(dut.clk, 64)
        if not (status := await driver.read(STATUS)) & BUSY:
            break
    assert status == DONE
    assert dut.irq.value
    await driver.write(STATUS, DONE)
    assert await driver.read(STATUS) == 0
    assert not dut.irq.value
