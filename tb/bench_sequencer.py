"""spike_sequencer: the shape of a row, one start for the engines; settings that cannot work are refused."""

import cocotb
from cocotb.triggers import RisingEdge
from registers import ERRORS
from unit import start


def job(rows=1, outputs=1, groups=1, group_inputs=1, frac_bits=16, coding=0, capped=0, spike_stream=0):
    """job_t as a number, last field lowest."""
    value = 0
    for field, width in (
        (coding, 1),
        (spike_stream, 1),
        (capped, 1),
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
    for _ in range(80):
        await RisingEdge(dut.clk_i)
        found |= int(dut.error_o.value)
        if dut.run_o.value or not dut.busy_o.value:
            break
    return {name for i, name in enumerate(ERRORS) if found >> i & 1}


@cocotb.test()
@cocotb.parametrize(shape=[(1, 1), (1, 8), (3, 5), (2, 16), (1, 30), (1, 64), (2, 65), (5, 33)])
async def shapes(dut, shape):
    """Blocks, chunks and inputs of every size around the limits; the engines are started once and waited for."""
    groups, size = shape
    lanes, slots = int(dut.Lanes.value), int(dut.Slots.value)
    await start(dut, start_i=0, idle_i=1, queued_i=0, valid_i=0, last_i=0)
    assert await begin(dut, groups=groups, group_inputs=size) == set()
    assert dut.run_o.value
    chunks = -(-size // lanes)
    assert int(dut.group_blocks_o.value) == -(-chunks // slots)
    assert int(dut.row_blocks_o.value) == groups * -(-chunks // slots)
    assert int(dut.tail_chunks_o.value) == (chunks - 1) % slots + 1
    assert int(dut.tail_lanes_o.value) == (size - 1) % lanes + 1
    dut.idle_i.value = 0
    for _ in range(10):
        await RisingEdge(dut.clk_i)
        assert not dut.run_o.value
        assert not dut.done_o.value
        assert dut.busy_o.value
    dut.idle_i.value = 1
    await RisingEdge(dut.clk_i)
    assert dut.done_o.value
    await RisingEdge(dut.clk_i)
    assert not dut.busy_o.value
    assert not dut.done_o.value


@cocotb.test()
async def illegal(dut):
    """Each bad setting is named, alone and together, and no job starts; the next good one does."""
    block, capacity = int(dut.Lanes.value) * int(dut.Slots.value), int(dut.Blocks.value)
    await start(dut, start_i=0, idle_i=0, queued_i=0, valid_i=0, last_i=0)
    bad = {
        "rows": {"rows": 0},
        "outputs": {"outputs": 0},
        "groups": {"groups": 0},
        "group_inputs": {"group_inputs": 0},
        "frac_bits": {"frac_bits": 31},
    }
    more = [("coding", {"coding": 1})] if not int(dut.Csd.value) else []
    if int(dut.Capped.value):
        more += [("coding", {"capped": 1, "spike_stream": 1}), ("coding", {"capped": 1, "coding": 1})]
        more += [("frac_bits", {"capped": 1, "frac_bits": F}) for F in (0, 1)]
        good = {"capped": 1, "frac_bits": 2}
    else:
        more += [("coding", {"capped": 1})]
        good = {"spike_stream": 1, "frac_bits": 0}
    for name, settings in [*bad.items(), *more]:
        assert await begin(dut, **settings) == {name}, settings
        assert not dut.busy_o.value
    assert await begin(dut, rows=0, outputs=0, frac_bits=31) == {"rows", "outputs", "frac_bits"}
    for groups, size in ((1, capacity * block + 1), (capacity + 1, 1), (2, capacity * block // 2 + 1), (1, 2**32 - 1)):
        assert await begin(dut, groups=groups, group_inputs=size) == {"capacity"}, (groups, size)
        await RisingEdge(dut.clk_i)
        assert not dut.busy_o.value
    for groups, size in ((1, capacity * block), (capacity, 1), (2, capacity * block // 2)):
        assert await begin(dut, groups=groups, group_inputs=size, **good) == set(), (groups, size)
        assert dut.busy_o.value
        dut.rst_ni.value = 0
        await RisingEdge(dut.clk_i)
        dut.rst_ni.value = 1
        await RisingEdge(dut.clk_i)


@cocotb.test()
@cocotb.parametrize(left=[0, 1, 2, 3], queued=[0, 1])
async def left_over_input(dut, left, queued):
    """Input on offer at a job's end is an error, and one packet of it is dropped; unless it may be the next job's."""
    await start(dut, start_i=0, idle_i=0, queued_i=queued, valid_i=0, last_i=0)
    assert await begin(dut) == set()
    for _ in range(5):
        await RisingEdge(dut.clk_i)
    dut.valid_i.value = left
    dut.idle_i.value = 1
    await RisingEdge(dut.clk_i)
    want = {"left_over"} if left and not queued else set()
    assert {name for i, name in enumerate(ERRORS) if int(dut.error_o.value) >> i & 1} == want
    assert bool(dut.done_o.value) == (not want)
    if not want:
        return
    for last in (0, 0, 3):  # a packet of three beats
        dut.last_i.value = last
        await RisingEdge(dut.clk_i)
        assert int(dut.drop_o.value) == left
        assert dut.busy_o.value
        assert not dut.done_o.value
    await RisingEdge(dut.clk_i)  # what comes behind it stays
    assert int(dut.drop_o.value) == 0
    assert dut.done_o.value
    await RisingEdge(dut.clk_i)
    assert not dut.busy_o.value
