"""A whole core at its own ports, as an interconnect, a DMA engine and a driver see it: one column, few lanes."""

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly, RisingEdge
from registers import (
    ABORT,
    ADDRESSES,
    COUNTER_BASE,
    CTRL,
    DONE,
    ERROR,
    ERRORS,
    FAULT,
    GROUP_ID_VALUE,
    GROUP_INPUTS,
    GROUPS,
    IRQ_DONE,
    IRQ_ENABLE,
    MODE,
    OKAY,
    OUTPUTS,
    REGISTERS,
    ROWS,
    SLVERR,
    START,
    STATUS,
)
from unit import Sink, pack, start

VALIDS = (
    "s_axil_awvalid_i",
    "s_axil_wvalid_i",
    "s_axil_arvalid_i",
    "s_axis_membrane_tvalid_i",
    "s_axis_weight_tvalid_i",
)
READIES = ("s_axil_bready_i", "s_axil_rready_i", "m_axis_acc_tready_i", "m_axis_spike_tready_i")


def controls(dut):
    """Every output that means something happens."""
    names = ("awready", "wready", "bvalid", "arready", "rvalid")
    streams = ("s_axis_membrane_tready_o", "s_axis_weight_tready_o", "m_axis_acc_tvalid_o", "m_axis_spike_tvalid_o")
    found = [*(f"s_axil_{name}_o" for name in names), *streams, "irq_o"]
    return {name: getattr(dut, name) for name in found if hasattr(dut, name)}


async def begin(dut):
    """Clock and reset; nothing on offer, nothing taken."""
    await start(dut, **{name: 0 for name in (*VALIDS, *READIES) if hasattr(dut, name)})


async def write(dut, address, value):
    """A write; returns its response."""
    dut.s_axil_awaddr_i.value, dut.s_axil_wdata_i.value, dut.s_axil_wstrb_i.value = address, value, 15
    dut.s_axil_awvalid_i.value = dut.s_axil_wvalid_i.value = dut.s_axil_bready_i.value = 1
    while True:
        await FallingEdge(dut.clk_i)
        if dut.s_axil_awready_o.value and dut.s_axil_wready_o.value:
            break
    await RisingEdge(dut.clk_i)
    dut.s_axil_awvalid_i.value = dut.s_axil_wvalid_i.value = 0
    while not dut.s_axil_bvalid_o.value:
        await RisingEdge(dut.clk_i)
    response = int(dut.s_axil_bresp_o.value)
    dut.s_axil_bready_i.value = 0
    return response


async def read(dut, address):
    """A read; returns its data."""
    dut.s_axil_araddr_i.value = address
    dut.s_axil_arvalid_i.value = dut.s_axil_rready_i.value = 1
    while True:
        await FallingEdge(dut.clk_i)
        if dut.s_axil_arready_o.value:
            break
    await RisingEdge(dut.clk_i)
    dut.s_axil_arvalid_i.value = 0
    await RisingEdge(dut.clk_i)
    while not dut.s_axil_rvalid_o.value:
        await RisingEdge(dut.clk_i)
    data = int(dut.s_axil_rdata_o.value)
    dut.s_axil_rready_i.value = 0
    assert int(dut.s_axil_rresp_o.value) == (OKAY if address & ~3 in ADDRESSES else SLVERR)
    return data


async def send(dut, name, beats):
    """Beats of a stream, one right behind the other: (numbers of a beat, bits of each, TLAST)."""
    valid, ready = getattr(dut, f"s_axis_{name}_tvalid_i"), getattr(dut, f"s_axis_{name}_tready_o")
    for values, bits, last in beats:
        getattr(dut, f"s_axis_{name}_tdata_i").value = pack(values, bits)
        getattr(dut, f"s_axis_{name}_tlast_i").value = last
        valid.value = 1
        while True:
            await FallingEdge(dut.clk_i)
            taken = bool(ready.value)
            await RisingEdge(dut.clk_i)
            if taken:
                break
    valid.value = 0


async def configure(dut, inputs=4):
    """The smallest job: one row, one output."""
    for address, value in ((MODE, 0), (ROWS, 1), (OUTPUTS, 1), (GROUPS, 1), (GROUP_INPUTS, inputs)):
        assert await write(dut, address, value) == OKAY


async def finish(dut):
    """Wait for the job's end; returns the names of its errors, and clears them."""
    for _ in range(200):
        if await read(dut, STATUS) & DONE:
            break
    else:
        raise AssertionError("the job does not end")
    bits = await read(dut, ERROR)
    await write(dut, STATUS, DONE)
    await write(dut, ERROR, bits)
    return {name for i, name in enumerate(ERRORS) if bits >> i & 1}


def packet(*values, t=None):
    """A row of membranes behind its header, or a packet of weights."""
    return [*([([t], 8, 0)] if t else []), (values, 32 if t else 8, 1)]


def weights(dut, value):
    """A packet of one chunk's weights, all alike."""
    return packet(*[value] * (4 * int(dut.Groups.value) if hasattr(dut, "Groups") else 4))


def row(dut, double=False):
    """A row of four inputs: its sum is `once(dut)` where weights are 1, or twice that."""
    if hasattr(dut, "Groups"):  # of a group one input fires: 19 of three steps, 38 of four
        return packet(608, 0, 0, 0, t=4 if double else 3)
    return packet(2, 4, 6, 8, t=4) if double else packet(1, 2, 3, 4, t=3)


def once(dut):
    """See `row`."""
    return 19 if hasattr(dut, "Groups") else 10


@cocotb.test()
async def silent_in_reset(dut):
    """No output says anything in reset, whatever is offered, in mid job and with an answer that waits."""
    await begin(dut)
    await configure(dut)
    await write(dut, IRQ_ENABLE, 3)
    await write(dut, CTRL, START)
    await ClockCycles(dut.clk_i, 5)
    assert dut.s_axis_membrane_tready_o.value
    dut.s_axil_arvalid_i.value = 1  # an answer that waits
    await ClockCycles(dut.clk_i, 3)
    for name in VALIDS:
        getattr(dut, name).value = 1
    dut.rst_ni.value = 0
    await RisingEdge(dut.clk_i)
    for _ in range(10):
        await RisingEdge(dut.clk_i)
        await ReadOnly()
        assert not {name: 1 for name, signal in controls(dut).items() if signal.value}
    await FallingEdge(dut.clk_i)
    for name in VALIDS:
        getattr(dut, name).value = 0
    await RisingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    await ClockCycles(dut.clk_i, 3)
    await ReadOnly()
    silent = {name for name, signal in controls(dut).items() if not signal.value}
    assert silent == controls(dut).keys() - {"s_axil_awready_o", "s_axil_wready_o", "s_axil_arready_o"}


@cocotb.test()
@cocotb.parametrize(stream=["weight", "membrane"])
async def left_over_packet(dut, stream):
    """A packet that a job left is an error and dropped; the one behind it is the next job's."""
    await begin(dut)
    sums = Sink(dut, "m_axis_acc_tvalid_o", "m_axis_acc_tready_i", ["m_axis_acc_tdata_o"], 0)
    other = "membrane" if stream == "weight" else "weight"
    first = {"weight": weights(dut, 1), "membrane": row(dut)}
    second = {"weight": weights(dut, 2), "membrane": row(dut, double=True)}
    cocotb.start_soon(send(dut, stream, [*first[stream], *first[stream], *second[stream]]))
    for job in (1, 2):
        cocotb.start_soon(send(dut, other, first[other]))
        await configure(dut)
        await write(dut, CTRL, START)
        assert await finish(dut) == ({"left_over"} if job == 1 else set())
        assert sums.beats[-1] == (job * once(dut),)


@cocotb.test()
async def interrupts_are_masked_at_any_time(dut):
    """While a job runs, too; by their cause."""
    await begin(dut)
    await configure(dut)
    await write(dut, IRQ_ENABLE, IRQ_DONE)
    await write(dut, CTRL, START)
    assert await write(dut, IRQ_ENABLE, 0) == OKAY
    dut.m_axis_acc_tready_i.value = 1
    cocotb.start_soon(send(dut, "weight", weights(dut, 1)))
    cocotb.start_soon(send(dut, "membrane", row(dut)))
    for _ in range(100):
        status = await read(dut, STATUS)
        assert not dut.irq_o.value
        if status & DONE:
            break
    assert status == DONE
    await write(dut, IRQ_ENABLE, IRQ_DONE)
    assert dut.irq_o.value
    assert not status & FAULT


@cocotb.test()
async def a_hung_job_is_aborted(dut):
    """A job that waits for input that never comes ends without a reset, and so does the offer of an earlier sum."""
    await begin(dut)
    await configure(dut)
    await write(dut, ROWS, 2)
    await write(dut, CTRL, START)
    cocotb.start_soon(send(dut, "weight", weights(dut, 1)))
    cocotb.start_soon(send(dut, "membrane", row(dut)))
    while not dut.m_axis_acc_tvalid_o.value:  # one of two row tiles
        await RisingEdge(dut.clk_i)
    await write(dut, ABORT, 1)
    for _ in range(10):
        assert await read(dut, STATUS) == 1
        assert dut.m_axis_acc_tvalid_o.value, "an offer was withdrawn"
        assert int(dut.m_axis_acc_tdata_o.value) == once(dut)
    await send(dut, "membrane", packet(5, 5, 5, 5, t=1))  # taken, forgotten
    dut.m_axis_acc_tready_i.value = 1
    await RisingEdge(dut.clk_i)
    for _ in range(3):
        await RisingEdge(dut.clk_i)
        assert not dut.m_axis_acc_tvalid_o.value
    dut.m_axis_acc_tready_i.value = 0
    assert await read(dut, STATUS) == 0
    await write(dut, ABORT, 0)
    await configure(dut)
    await write(dut, CTRL, START)
    cocotb.start_soon(send(dut, "weight", weights(dut, 2)))
    cocotb.start_soon(send(dut, "membrane", row(dut)))
    sums = Sink(dut, "m_axis_acc_tvalid_o", "m_axis_acc_tready_i", ["m_axis_acc_tdata_o"], 0)
    assert await finish(dut) == set()
    assert sums.beats == [(2 * once(dut),)]


@cocotb.test()
async def register_map(dut):
    """The core is what its SystemRDL says: every address, what bits hold after reset, and which can be written."""
    await begin(dut)
    for address in range(0, 256, 4):
        named = next((one for one in REGISTERS.values() if one.address == address), None)
        data = await read(dut, address)
        if address not in ADDRESSES:
            assert data == 0
            assert await write(dut, address, 0xFFFFFFFF) == SLVERR
            continue
        if named is None:
            assert address >= COUNTER_BASE
            assert await write(dut, address, 0xFFFFFFFF) == SLVERR
            continue
        assert data & ~sum(field.mask for field in named.fields) == 0, f"{named.name}: a bit that is not described"
        for field in named.fields:
            if field.access == "W":
                assert data & field.mask == 0
            elif field.reset is not None:
                reset = GROUP_ID_VALUE if named.name == "ID" and hasattr(dut, "Groups") else field.reset
                assert data & field.mask == reset << field.lsb, f"{named.name}.{field.name}"
        kept = named.mask("R/W")
        writable = kept | named.mask("W", "R/W1C")
        if named.name == "CTRL":  # a start would not leave the rest as it was
            assert await write(dut, address, 0xFFFFFFFF & ~START) == OKAY
            continue
        for value in (0xFFFFFFFF, 0x55555555, 0xAAAAAAAA, 0):
            assert await write(dut, address, value) == (OKAY if writable else SLVERR), named.name
            want = value & kept if writable else data
            assert await read(dut, address) == want, f"{named.name} := {value:#x}"
