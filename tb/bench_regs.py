"""spike_regs behind cocotbext-axi's AXI4-Lite master, which pauses at random and checks the protocol."""

import itertools
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp
from registers import (
    BLOCKS,
    COUNTER_BASE,
    COUNTERS,
    CTRL,
    ERROR,
    ERRORS,
    GROUP_INPUTS,
    GROUPS,
    ID,
    LIMITS,
    MODE,
    OUTPUTS,
    ROWS,
    SHAPE,
    STATUS,
    VERSION,
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
    """Written values come back and reach the job; reserved bits read 0; byte writes touch their byte only."""
    bench = Bench(dut, stall)
    await bench.reset()
    assert await bench.read(ID) == 0x53504B31
    assert await bench.read(VERSION) == 0x00010000
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
        assert [int(getattr(dut, n).value) for n in ("rows", "outputs", "groups", "group_inputs")] == values
    assert (int(dut.coding.value), int(dut.spike_stream.value), int(dut.frac_bits.value)) == (1, 1, 31)
    await bench.write(ROWS, 0x11223344)
    await bench.write(ROWS + 2, 0xAB, length=1)
    assert await bench.read(ROWS) == 0x11AB3344


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.5])
async def refusals(dut, stall):
    """Unmapped addresses and read-only registers answer SLVERR and change nothing; so does a job register when busy."""
    bench = Bench(dut, stall)
    await bench.reset()
    mapped = {ID, VERSION, SHAPE, LIMITS, BLOCKS, CTRL, STATUS, ERROR, MODE, ROWS, OUTPUTS, GROUPS, GROUP_INPUTS}
    mapped |= {COUNTER_BASE + 4 * i for i in range(2 * len(COUNTERS))}
    for address in range(0, 256, 4):
        if address not in mapped:
            assert await bench.read(address, AxiResp.SLVERR) == 0
            await bench.write(address, 0xFFFFFFFF, AxiResp.SLVERR)
    for address in (ID, VERSION, SHAPE, LIMITS, BLOCKS, COUNTER_BASE):
        await bench.write(address, 0, AxiResp.SLVERR)
    assert await bench.read(ERROR) == 0
    await bench.write(ROWS, 77)
    dut.busy.value = 1
    for address in (MODE, ROWS, OUTPUTS, GROUPS, GROUP_INPUTS):
        await bench.write(address, 5, AxiResp.SLVERR)
    assert await bench.read(ROWS) == 77
    assert await bench.read(ERROR) == 1 << ERRORS.index("write_busy")
    await bench.write(ERROR, 0xFFFFFFFF)
    await bench.write(CTRL, 1, AxiResp.SLVERR)
    assert await bench.read(ERROR) == 1 << ERRORS.index("write_busy")
    dut.busy.value = 0
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
    assert pulses == {"start": 2, "clear": 2}

    async def pulse(signal, value):
        signal.value = value
        await RisingEdge(dut.clk)
        signal.value = 0
        await ClockCycles(dut.clk, 2)

    await pulse(dut.done, 1)
    assert await bench.read(STATUS) == 2
    assert not dut.irq.value
    await bench.write(MODE, 4)
    assert dut.irq.value
    await bench.write(STATUS, 2)
    assert await bench.read(STATUS) == 0
    assert not dut.irq.value
    for i in range(10):
        await pulse(dut.error, 1 << i)
        assert await bench.read(ERROR) == 1 << i
        assert await bench.read(STATUS) == 4
        assert dut.irq.value
        await bench.write(ERROR, ~(1 << i) & 0xFFFFFFFF)
        assert await bench.read(ERROR) == 1 << i
        await bench.write(ERROR, 1 << i)
    assert not dut.irq.value
    await pulse(dut.done, 1)
    await bench.write(CTRL, 1)
    assert await bench.read(STATUS) == 0, "a start clears done"


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
