"""spike_regs behind cocotbext-axi's AXI4-Lite master, which pauses at random and checks the protocol."""

import itertools
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp
from registers import (
    ABORT,
    ADDRESSES,
    BLOCKS,
    COUNTER_BASE,
    COUNTERS,
    CTRL,
    ERROR,
    ERRORS,
    GROUP_INPUTS,
    GROUPS,
    ID,
    IRQ_DONE,
    IRQ_ENABLE,
    IRQ_ERROR,
    JOBS,
    LIMITS,
    MODE,
    OUTPUTS,
    ROWS,
    SHAPE,
    STATUS,
    VERSION,
    VERSION_VALUE,
)
from unit import SEED, pack


class Bench:
    """A master that asserts responses."""

    def __init__(self, dut, stall):
        self.dut, self.random = dut, random.Random(SEED)
        cocotb.log.info("SEED=%d", SEED)
        Clock(dut.clk, 10, unit="ns").start()
        for name in ("busy", "done", "error", "count"):
            getattr(dut, name).value = 0
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst_n, reset_active_level=False)
        if stall:
            pause = lambda: (self.random.random() < stall for _ in itertools.count())  # noqa: E731
            for channel in (
                self.master.write_if.aw_channel,
                self.master.write_if.w_channel,
                self.master.write_if.b_channel,
                self.master.read_if.ar_channel,
                self.master.read_if.r_channel,
            ):
                channel.set_pause_generator(pause())

    async def reset(self):
        self.dut.rst_n.value = 0
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst_n.value = 1
        await ClockCycles(self.dut.clk, 2)

    async def write(self, address, value, resp=AxiResp.OKAY, length=4):
        answer = await self.master.write(address, value.to_bytes(length, "little"))
        assert answer.resp == resp, f"write {address:#x}: {answer.resp}"

    async def read(self, address, resp=AxiResp.OKAY):
        answer = await self.master.read(address, 4)
        assert answer.resp == resp, f"read {address:#x}: {answer.resp}"
        return int.from_bytes(answer.data, "little")


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.5])
async def job_registers(dut, stall):
    """Written values come back and, with a start, reach the job; reserved bits read 0; a byte is written alone."""
    bench = Bench(dut, stall)
    await bench.reset()
    assert await bench.read(ID) == 0x53504B31
    assert await bench.read(VERSION) == VERSION_VALUE
    assert await bench.read(SHAPE) == 0x01020304
    assert await bench.read(LIMITS) == 0x78
    assert await bench.read(BLOCKS) == 1024
    for _ in range(5):
        values = [bench.random.getrandbits(32) for _ in range(4)]
        for address, value in zip((ROWS, OUTPUTS, GROUPS, GROUP_INPUTS), values, strict=True):
            await bench.write(address, value)
        await bench.write(MODE, 0xFFFFFFFF)
        assert await bench.read(MODE) == 0x1F07
        assert [await bench.read(a) for a in (ROWS, OUTPUTS, GROUPS, GROUP_INPUTS)] == values
        before = int(dut.rows.value)
        assert before != values[0]
        await bench.write(CTRL, 1)
        await ClockCycles(dut.clk, 3)
        assert [int(getattr(dut, n).value) for n in ("rows", "outputs", "groups", "group_inputs")] == values
    assert (int(dut.coding.value), int(dut.spike_stream.value), int(dut.frac_bits.value)) == (1, 1, 31)
    await bench.write(ROWS, 0x11223344)
    await bench.write(ROWS + 2, 0xAB, length=1)
    assert await bench.read(ROWS) == 0x11AB3344


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.5])
async def refusals(dut, stall):
    """Unmapped addresses and read-only registers answer SLVERR and change nothing; so does a locked job register."""
    bench = Bench(dut, stall)
    await bench.reset()
    for address in range(0, 256, 4):
        if address not in ADDRESSES:
            assert await bench.read(address, AxiResp.SLVERR) == 0
            await bench.write(address, 0xFFFFFFFF, AxiResp.SLVERR)
    for address in (ID, VERSION, SHAPE, LIMITS, BLOCKS, JOBS, COUNTER_BASE):
        await bench.write(address, 0, AxiResp.SLVERR)
    assert await bench.read(ERROR) == 0
    await bench.write(ROWS, 77)
    dut.busy.value = 1
    await bench.write(CTRL, 1)  # waits
    for address in (MODE, ROWS, OUTPUTS, GROUPS, GROUP_INPUTS):
        await bench.write(address, 5, AxiResp.SLVERR)
    assert await bench.read(ROWS) == 77
    assert await bench.read(ERROR) == 1 << ERRORS.index("write_busy")
    await bench.write(ERROR, 0xFFFFFFFF)
    await bench.write(CTRL, 1, AxiResp.SLVERR)
    assert await bench.read(ERROR) == 1 << ERRORS.index("write_busy")
    dut.busy.value = 0
    await ClockCycles(dut.clk, 3)
    assert int(dut.rows.value) == 77
    await bench.write(ROWS, 5)
    await bench.write(ERROR, 0xFFFFFFFF)
    assert await bench.read(ERROR) == 0


@cocotb.test()
async def start_and_status(dut):
    """Start and clear are pulses of one cycle; done and errors stick, clear by writing 1, and raise the interrupt."""
    bench = Bench(dut, 0.0)
    await bench.reset()
    pulses = {"start": 0, "clear": 0}

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            for name in pulses:
                pulses[name] += int(getattr(dut, name).value)

    cocotb.start_soon(watch())
    for value in (1, 2, 3, 0):
        await bench.write(CTRL, value)
        await ClockCycles(dut.clk, 3)
    await ClockCycles(dut.clk, 3)
    assert pulses == {"start": 2, "clear": 2}

    async def pulse(signal, value):
        signal.value = value
        await RisingEdge(dut.clk)
        signal.value = 0
        await ClockCycles(dut.clk, 2)

    await pulse(dut.done, 1)
    assert await bench.read(STATUS) == 2
    assert await bench.read(JOBS) == 1
    assert not dut.irq.value
    await bench.write(IRQ_ENABLE, IRQ_ERROR)
    assert not dut.irq.value
    await bench.write(IRQ_ENABLE, IRQ_DONE)
    assert dut.irq.value
    await bench.write(STATUS, 2)
    assert await bench.read(STATUS) == 0
    assert not dut.irq.value
    for i, name in enumerate(ERRORS):
        if name == "write_busy":  # the registers' own
            continue
        await pulse(dut.error, 1 << i)
        assert await bench.read(ERROR) == 1 << i
        assert await bench.read(STATUS) == 4
        await bench.write(IRQ_ENABLE, 0xFFFFFFFF & ~IRQ_ERROR)
        assert await bench.read(IRQ_ENABLE) == IRQ_DONE
        assert not dut.irq.value
        await bench.write(IRQ_ENABLE, IRQ_ERROR | IRQ_DONE)
        assert dut.irq.value
        await bench.write(ERROR, ~(1 << i) & 0xFFFFFFFF)
        assert await bench.read(ERROR) == 1 << i
        await bench.write(ERROR, 1 << i)
    assert not dut.irq.value
    await pulse(dut.done, 1)
    await bench.write(CTRL, 1)
    await ClockCycles(dut.clk, 3)
    assert await bench.read(STATUS) == 2, "a start takes no job's end away"
    assert await bench.read(JOBS) == 2


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.5])
async def counters(dut, stall):
    """Low then high gives one consistent value although the counter runs on in between."""
    bench = Bench(dut, stall)
    await bench.reset()
    for i in range(len(COUNTERS)):
        before = [bench.random.getrandbits(64) for _ in COUNTERS]
        dut.count.value = pack(before, 64)
        await RisingEdge(dut.clk)
        low = await bench.read(COUNTER_BASE + 8 * i)
        dut.count.value = pack([bench.random.getrandbits(64) for _ in COUNTERS], 64)
        await RisingEdge(dut.clk)
        for _ in range(2):  # the copy of the high word stays until the next low word is read
            assert low | await bench.read(COUNTER_BASE + 8 * i + 4) << 32 == before[i]


@cocotb.test()
async def high_word_stays(dut):
    """The kept high word of a counter outlives the read of any other register, as an interrupt handler may read it."""
    bench = Bench(dut, 0.0)
    await bench.reset()
    values = [(i + 1) << 32 | 0x1000 + i for i in range(len(COUNTERS))]
    dut.count.value = pack(values, 64)
    await RisingEdge(dut.clk)
    for address in range(0, 256, 4):
        other = COUNTER_BASE <= address < COUNTER_BASE + 8 * len(COUNTERS)
        if other and address % 8 == 0:
            continue  # the low word of a counter is what takes a new copy
        low = await bench.read(COUNTER_BASE + 8 * 5)
        await bench.master.read(address, 4)
        assert low | await bench.read(COUNTER_BASE + 8 * 5 + 4) << 32 == values[5], hex(address)


@cocotb.test()
async def two_jobs(dut):
    """While a job runs the next one is written and started; it waits and begins at the end."""
    bench = Bench(dut, 0.0)
    await bench.reset()
    starts = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if dut.start.value:
                starts.append(int(dut.rows.value))

    cocotb.start_soon(watch())
    for rows in (10, 11, 12):
        await bench.write(ROWS, rows)
        await bench.write(CTRL, 1)
        await ClockCycles(dut.clk, 3)
        dut.busy.value = 1
        if rows == 10:
            assert await bench.read(STATUS) == 1
            continue
        assert starts == list(range(10, rows))
        assert await bench.read(STATUS) == 1 | 8, "queued"
        assert int(dut.queued.value) == 1
        await bench.write(ROWS, 99, AxiResp.SLVERR)
        dut.busy.value = 0
        await ClockCycles(dut.clk, 4)
        dut.busy.value = 1
        assert starts[-1] == rows
        assert await bench.read(STATUS) == 1 | 4
        await bench.write(ERROR, 0xFFFFFFFF)
    assert await bench.read(STATUS) == 1


@cocotb.test()
async def abort_empties_the_queue(dut):
    """An abort is a level; while it lasts nothing starts, and what waited is forgotten."""
    bench = Bench(dut, 0.0)
    await bench.reset()
    dut.busy.value = 1
    await bench.write(CTRL, 1)
    assert await bench.read(STATUS) == 1 | 8
    await bench.write(ABORT, 0xFFFFFFFF)
    assert dut.aborting.value
    assert await bench.read(ABORT) == 1
    assert await bench.read(STATUS) == 1
    await bench.write(CTRL, 1, AxiResp.SLVERR)
    assert await bench.read(ERROR) == 1 << ERRORS.index("write_busy")
    await bench.write(CTRL, 2)
    dut.busy.value = 0
    for _ in range(10):
        await RisingEdge(dut.clk)
        assert not dut.start.value
    await bench.write(ABORT, 0)
    assert not dut.aborting.value
    assert await bench.read(STATUS) == 4


@cocotb.test()
async def nothing_is_taken_in_reset(dut):
    """All outputs are silent in reset, whatever is offered."""
    bench = Bench(dut, 0.0)
    await bench.reset()
    await bench.write(IRQ_ENABLE, 3)
    dut.done.value = 1
    await ClockCycles(dut.clk, 2)
    dut.done.value = 0
    assert dut.irq.value
    outputs = [f"s_axil_{name}" for name in ("awready", "wready", "bvalid", "arready", "rvalid")]
    dut.rst_n.value = 0
    await ClockCycles(dut.clk, 2)
    for name in ("awvalid", "wvalid", "arvalid"):
        getattr(dut, f"s_axil_{name}").value = 1
    for _ in range(20):
        await RisingEdge(dut.clk)
        for name in (*outputs, "irq", "start", "queued", "clear", "aborting"):
            assert not getattr(dut, name).value, f"{name} in reset"
    for name in ("awvalid", "wvalid", "arvalid"):
        getattr(dut, f"s_axil_{name}").value = 0
    await bench.reset()
    assert await bench.read(STATUS) == 0
