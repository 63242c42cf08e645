"""spike_sequencer: the tiles of a job in order with the right edges; settings that cannot work are refused."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge
from unit import rng, start

ERRORS = ("rows", "outputs", "groups", "group_inputs", "frac_bits", "capacity")


def job(rows=1, outputs=1, groups=1, group_inputs=1, frac_bits=16, coding=0):
    """job_t as a number, last field lowest."""
    value = 0
    for field, width in (
        (coding, 1),
        (1, 1),
        (frac_bits, 5),
        (rows, 32),
        (outputs, 32),
        (groups, 32),
        (group_inputs, 32),
    ):
        value = value << width | field
    return value


async def begin(dut, **settings):
    """Pulse start; returns the errors of this and the following cycles until the job runs or is refused."""
    dut.job_i.value = job(**settings)
    dut.start_i.value = 1
    found = 0
    await RisingEdge(dut.clk_i)
    found |= int(dut.error_o.value)
    dut.start_i.value = 0
    for _ in range(40):
        await RisingEdge(dut.clk_i)
        found |= int(dut.error_o.value)
        if dut.fire_start_o.value:
            dut.fire_busy_i.value = 1  # as the front end does, from the next cycle on
            break
        if not dut.busy_o.value:
            break
    return {name for i, name in enumerate(ERRORS) if found >> i & 1}


@cocotb.test()
@cocotb.parametrize(shape=[(1, 1, 1, 1), (8, 16, 1, 8), (9, 17, 3, 5), (24, 47, 2, 16), (7, 33, 1, 30)])
async def tiles(dut, shape):
    """Rows x columns of tiles, each with its true size; nothing moves before its turn."""
    M, N, groups, size = shape
    generator = rng(dut)
    R, C, D = int(dut.Rows.value), int(dut.Columns.value), int(dut.Lanes.value)
    await start(dut, start_i=0, fire_busy_i=0, pass_ready_i=0, pass_idle_i=0, drained_i=0)
    assert await begin(dut, rows=M, outputs=N, groups=groups, group_inputs=size) == set()
    assert int(dut.group_chunks_o.value) == -(-size // D)
    assert int(dut.row_chunks_o.value) == groups * -(-size // D)
    assert int(dut.tail_lanes_o.value) == (size % D or D)
    seen, busy, passes = [("fire", min(R, M))], 3, 0
    assert int(dut.tile_rows_o.value) == min(R, M)
    for _ in range(3000):
        await FallingEdge(dut.clk_i)
        if dut.fire_start_o.value:
            assert not busy
            assert not passes, "a row tile is fired while the last one is being read"
            busy = int(generator.integers(1, 6))
            seen.append(("fire", int(dut.tile_rows_o.value)))
        dut.fire_busy_i.value = int(busy > 0 and not dut.fire_start_o.value)
        ready = generator.random() < 0.4
        dut.pass_ready_i.value = int(ready)
        if dut.pass_valid_o.value:
            assert not busy, "a pass starts while the row tile is being fired"
            if ready:
                seen.append(("pass", int(dut.pass_columns_o.value)))
                passes = int(generator.integers(1, 6))
        dut.pass_idle_i.value = int(not passes)
        await RisingEdge(dut.clk_i)
        busy, passes = max(busy - 1, 0) if not dut.fire_start_o.value else busy, max(passes - 1, 0)
        dut.drained_i.value = int(generator.random() < 0.2)
        if dut.done_o.value:
            break
    want = []
    for m in range(0, M, R):
        want.append(("fire", min(R, M - m)))
        want += [("pass", min(C, N - n)) for n in range(0, N, C)]
    assert seen == want
    await RisingEdge(dut.clk_i)
    assert not dut.busy_o.value


@cocotb.test()
async def illegal(dut):
    """Each bad setting is named, alone and together, and no job starts; the next good one does."""
    D, capacity = int(dut.Lanes.value), int(dut.Chunks.value)
    await start(dut, start_i=0, fire_busy_i=0, pass_ready_i=0, pass_idle_i=0, drained_i=0)
    bad = {
        "rows": {"rows": 0},
        "outputs": {"outputs": 0},
        "groups": {"groups": 0},
        "group_inputs": {"group_inputs": 0},
        "frac_bits": {"frac_bits": 31},
    }
    for name, settings in bad.items():
        assert await begin(dut, **settings) == {name}
        assert not dut.busy_o.value
    assert await begin(dut, rows=0, outputs=0, frac_bits=31) == {"rows", "outputs", "frac_bits"}
    for groups, size in ((1, capacity * D + 1), (capacity + 1, 1), (2, capacity * D // 2 + 1), (1, 2**32 - 1)):
        assert await begin(dut, groups=groups, group_inputs=size) == {"capacity"}, (groups, size)
        await RisingEdge(dut.clk_i)
        assert not dut.busy_o.value
    for groups, size in ((1, capacity * D), (capacity, 1), (2, capacity * D // 2)):
        assert await begin(dut, groups=groups, group_inputs=size) == set(), (groups, size)
        assert dut.busy_o.value
        dut.rst_ni.value = 0
        await RisingEdge(dut.clk_i)
        dut.rst_ni.value = 1
        await RisingEdge(dut.clk_i)
