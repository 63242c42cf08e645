"""A streamed core between cocotbext-axi's AXI4-Lite master and its AXI4 memory, which check both protocols."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import cocotb
import numpy as np
from beats import distance
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp
from core_driver import shape_of
from generate import random_layer
from images import membrane_image, plan, weight_image
from registers import (
    ABORT,
    BLOCKS,
    CTRL,
    ERROR,
    ERRORS,
    GROUP_INPUTS,
    GROUPS,
    JOBS,
    LIMITS,
    MODE,
    OUTPUTS,
    ROWS,
    SHAPE,
    START,
    STATUS,
    STREAMER,
    STREAMER_BASE,
    STREAMS,
)
from spike_compressor.trace import Layer
from unit import SEED

SIZE = 1 << 18
FAULTS = tuple(field.name for field in STREAMER["ERROR"].fields)
BUSY, DONE, QUEUED = (STREAMER["STATUS"].bit(name) for name in ("busy", "done", "queued"))


@dataclass
class Run:
    """A layer in memory: what the streamer's descriptors say of it, and what memory holds when it is done."""

    layer: Layer
    registers: dict[str, int] = field(default_factory=dict)
    expected: dict[int, bytes] = field(default_factory=dict)


class Bench:
    """A core, its registers, its memory."""

    def __init__(self, dut, stall: float) -> None:
        self.dut, self.random, self.rng = dut, random.Random(SEED), np.random.default_rng(SEED)
        cocotb.log.info("SEED=%d", SEED)
        dut.m_axis_spike_tready.value = 1
        Clock(dut.clk, 10, unit="ns").start()
        axil, axi = AxiLiteBus.from_prefix(dut, "s_axil"), AxiBus.from_prefix(dut, "m_axi")
        self.master = AxiLiteMaster(axil, dut.clk, dut.rst_n, reset_active_level=False)
        self.ram = AxiRam(axi, dut.clk, dut.rst_n, reset_active_level=False, size=SIZE)
        self.content = bytearray(self.rng.bytes(SIZE))
        self.ram.write(0, bytes(self.content))
        self.beat = len(dut.m_axi_wdata) // 8
        self.free = 0
        if stall:
            reading, writing = self.ram.read_if, self.ram.write_if
            channels = (reading.ar_channel, reading.r_channel, writing.aw_channel, writing.w_channel, writing.b_channel)
            for channel in (*channels, self.master.write_if.b_channel, self.master.read_if.r_channel):
                channel.set_pause_generator(self.random.random() < stall for _ in itertools.count())

    async def reset(self) -> None:
        """Reset, and find out what the core was built for."""
        self.dut.rst_n.value = 0
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst_n.value = 1
        await ClockCycles(self.dut.clk, 2)
        self.shape = shape_of(*[await self.read(address) for address in (SHAPE, LIMITS, BLOCKS, STREAMS)])

    async def write(self, address: int | str, value: int, resp: AxiResp = AxiResp.OKAY) -> None:
        """Write a register: the core's by address, the streamer's by name."""
        address = STREAMER[address].address if isinstance(address, str) else address
        answer = await self.master.write(address, (value & 0xFFFFFFFF).to_bytes(4, "little"))
        assert answer.resp == resp, f"write {address:#x}: {answer.resp}"

    async def read(self, address: int | str, resp: AxiResp = AxiResp.OKAY) -> int:
        """Read a register: the core's by address, the streamer's by name."""
        address = STREAMER[address].address if isinstance(address, str) else address
        answer = await self.master.read(address, 4)
        assert answer.resp == resp, f"read {address:#x}: {answer.resp}"
        return int.from_bytes(answer.data, "little")

    def place(self, size: int) -> int:
        """An address for `size` bytes, a multiple of a beat, anywhere behind what is used."""
        address = self.free + self.beat * self.random.randrange(1, 40)
        self.free = -(-(address + size) // self.beat) * self.beat
        assert self.free < SIZE
        return address

    def put(self, packets: list[bytes], gap: int, backwards: bool) -> tuple[int, int]:
        """Store packets, `gap` beats between them; returns the address of the first and the stride."""
        stride = len(packets[0]) + gap * self.beat
        address = self.place(stride * len(packets))
        if backwards:
            address, stride = address + stride * (len(packets) - 1), -stride
        for i, packet in enumerate(packets):
            at = address + i * stride
            self.content[at : at + len(packet)] = packet
            self.ram.write(at, packet)
        return address, stride

    def store(self, layer: Layer, *, gap: int = 0, backwards: bool = False) -> Run:
        """Put a layer's input in memory, with room for its sums.

        Args:
            gap: beats that lie unused behind each packet, and each piece of the sums.
            backwards: the last packet has the lowest address.
        """
        cut, shape, run = plan(layer, self.shape), self.shape, Run(layer)
        for name, image, passes in (("MEMBRANE", membrane_image, 1), ("WEIGHT", weight_image, cut.row_tiles)):
            data, beats = image(layer, shape, self.rng)
            size = beats * self.beat
            packets = [data[at : at + size] for at in range(0, len(data), size)]
            address, stride = self.put(packets, gap, backwards)
            values = (address, 0, size - self.random.randrange(self.beat), stride, len(packets), passes)
            names = ("ADDRESS", "ADDRESS_HIGH", "BYTES", "STRIDE", "PACKETS", "PASSES")
            run.registers |= {f"{name}_{word}": value for word, value in zip(names, values, strict=True)}
        unit = distance(4 * shape.columns, self.beat)
        step = self.beat * gap
        apart = unit >= self.beat  # else the rows of a tile share beats
        piece = unit if apart else -(-unit * shape.rows // self.beat) * self.beat
        row = piece + step
        group = row * (shape.rows if apart else 1) + step
        tile = group * cut.groups + step
        row_tile = tile * cut.column_tiles + step
        address = self.place(row_tile * cut.row_tiles)
        values = (address, 0, piece, row, cut.groups, group, cut.column_tiles, tile, cut.row_tiles, row_tile)
        names = ("ADDRESS", "ADDRESS_HIGH", "BYTES", "ROW_STRIDE", "GROUPS", "GROUP_STRIDE", "TILES", "TILE_STRIDE")
        names += ("ROW_TILES", "ROW_TILE_STRIDE")
        run.registers |= {f"SUM_{word}": value for word, value in zip(names, values, strict=True)}
        sums = np.zeros((layer.info.tokens, cut.column_tiles * shape.columns, cut.groups), "<i4")
        sums[:, : layer.info.out_features] = layer.grouped_acc()
        for m, n, g in itertools.product(range(layer.info.tokens), range(cut.column_tiles), range(cut.groups)):
            inner = (row if apart else unit) * (m % shape.rows)
            at = address + row_tile * (m // shape.rows) + tile * n + group * g + inner
            run.expected[at] = sums[m, n * shape.columns : (n + 1) * shape.columns, g].tobytes().ljust(unit, b"\0")
        return run

    async def submit(self, run: Run) -> None:
        """Start the core's job, then the streamer's."""
        layer, cut = run.layer, plan(run.layer, self.shape)
        mode = int(layer.info.coding == "csd") | layer.info.frac_bits << 8
        sizes = (mode, layer.info.tokens, layer.info.out_features, cut.groups, cut.group_inputs)
        for address, value in zip((MODE, ROWS, OUTPUTS, GROUPS, GROUP_INPUTS), sizes, strict=True):
            await self.write(address, value)
        await self.write(CTRL, START)
        for name, value in run.registers.items():
            await self.write(name, value)
        await self.write("CTRL", 1)

    async def finish(self, runs: int = 1) -> set[str]:
        """Wait until the streamer is idle; returns its errors, and clears them."""
        await self.write("IRQ_ENABLE", 1)
        before = await self.read("RUNS")
        for _ in range(20_000):
            if self.dut.irq.value:
                break
            await ClockCycles(self.dut.clk, 16)
        while await self.read("STATUS") & BUSY:
            await ClockCycles(self.dut.clk, 64)
        assert self.dut.irq.value, "no end"
        assert await self.read("RUNS") - before in range(runs + 1)
        await self.write("STATUS", DONE)
        assert not self.dut.irq.value
        bits = await self.read("ERROR")
        await self.write("ERROR", bits)
        return {name for i, name in enumerate(FAULTS) if bits >> i & 1}

    async def core_errors(self) -> set[str]:
        """The core's own errors, cleared."""
        bits = await self.read(ERROR)
        await self.write(ERROR, bits)
        return {name for i, name in enumerate(ERRORS) if bits >> i & 1}

    def check(self, *runs: Run) -> None:
        """Memory is what it was, but for the sums."""
        for run in runs:
            for at, data in run.expected.items():
                self.content[at : at + len(data)] = data
        now = np.frombuffer(self.ram.read(0, SIZE), np.uint8)
        wrong = np.flatnonzero(now != np.frombuffer(bytes(self.content), np.uint8))
        assert not len(wrong), f"{len(wrong)} bytes differ, the first at {wrong[0]:#x}"

    def layer(self, M: int, K: int, N: int, groups: int = 1, **options) -> Layer:
        """A random layer for the core."""
        return random_layer(
            self.rng, M, K, N, groups=groups, grouped=groups > 1, timesteps=tuple(range(1, self.shape.tmax + 1)),
            weight_bits=self.shape.weight_bits, frac_bits=8, **options,
        )  # fmt: skip


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.4])
async def layers(dut, stall):
    """Whole layers, bit for bit, at any address and with any stride, whatever pauses; nothing else is written."""
    bench = Bench(dut, stall)
    await bench.reset()
    cases = (((7, 30, 11), 1, 0, False), ((4, 36, 6), 3, 3, False), ((1, 1, 1), 1, 1, True), ((5, 40, 9), 2, 5, True))
    for size, groups, gap, backwards in cases:
        run = bench.store(bench.layer(*size, groups, distribution="extreme"), gap=gap, backwards=backwards)
        await bench.submit(run)
        assert await bench.finish() == set()
        assert await bench.core_errors() == set()
        bench.check(run)


@cocotb.test()
async def two_runs(dut):
    """The next run is given while one is on its way; it waits, its descriptors are locked, both are right."""
    bench = Bench(dut, 0.2)
    await bench.reset()
    first, second = (bench.store(bench.layer(*size), gap=1) for size in ((9, 40, 12), (3, 20, 7)))
    await bench.submit(first)
    await bench.submit(second)
    assert await bench.read("STATUS") & (BUSY | QUEUED) == BUSY | QUEUED
    await bench.write("SUM_TILES", 5, AxiResp.SLVERR)
    await bench.write("CTRL", 1, AxiResp.SLVERR)
    assert await bench.finish(2) == {"write_busy"}
    assert await bench.read("RUNS") == 2
    assert await bench.read(JOBS) == 2
    assert await bench.core_errors() == set()
    bench.check(first, second)


@cocotb.test()
@cocotb.parametrize(stream=["membrane", "weight", "sum"], resp=[AxiResp.SLVERR, AxiResp.DECERR])
async def errors(dut, stream, resp):
    """An error response is an error bit; the run goes on to its end, and the next one is right."""
    bench = Bench(dut, 0.0)
    await bench.reset()
    run = bench.store(bench.layer(5, 20, 7))
    channel = bench.ram.write_if.b_channel if stream == "sum" else bench.ram.read_if.r_channel
    send, victim = channel.send, bench.random.randrange(4)
    seen = itertools.count()

    async def faulty(beat):
        ours = stream == "sum" or int(beat.rid) == ("membrane", "weight").index(stream)
        if ours and next(seen) == victim:
            setattr(beat, "bresp" if stream == "sum" else "rresp", resp)
        await send(beat)

    channel.send = faulty
    await bench.write("IRQ_ENABLE", 2)
    await bench.submit(run)
    while not dut.irq.value:
        await RisingEdge(dut.clk)
    assert await bench.finish() == {f"{stream}_{'slave' if resp == AxiResp.SLVERR else 'decode'}"}
    channel.send = send
    assert not await bench.read(STATUS) & 1
    bench.check(run)  # this memory did what it was told; it only said otherwise
    run = bench.store(bench.layer(2, 9, 3))
    await bench.submit(run)
    assert await bench.finish() == set()
    bench.check(run)


@cocotb.test()
async def aborts(dut):
    """A run is given up anywhere: every burst is completed, nothing is left over, and the next run is right."""
    bench = Bench(dut, 0.3)
    await bench.reset()
    for wait in (0, 30, 77, 160, 300, 500, 777):
        run = bench.store(bench.layer(7, 30, 8, distribution="dense"), gap=2)
        await bench.submit(run)
        await ClockCycles(dut.clk, wait)
        await bench.write("ABORT", 1)
        await bench.write(ABORT, 1)
        await bench.write("CTRL", 1, AxiResp.SLVERR)
        for _ in range(200):
            if not (await bench.read("STATUS") & BUSY or await bench.read(STATUS) & 1):
                break
            await ClockCycles(dut.clk, 16)
        else:
            raise AssertionError("the abort does not end")
        await bench.write(ABORT, 0)
        await bench.write("ABORT", 0)
        await bench.write("STATUS", DONE)
        assert await bench.read("ERROR") == 1 << FAULTS.index("write_busy")
        await bench.write("ERROR", 0xFF)
        bench.content = bytearray(bench.ram.read(0, SIZE))  # some sums had been written
        run = bench.store(bench.layer(4, 12, 6))
        await bench.submit(run)
        assert await bench.finish() == set()
        bench.check(run)
        assert await bench.core_errors() == set()
        bench.free = 0


@cocotb.test()
async def refusals(dut):
    """What no run can be made of is refused at the start, by name; the core's registers are still the core's."""
    bench = Bench(dut, 0.0)
    await bench.reset()
    run = bench.store(bench.layer(2, 9, 3))
    for name, value in run.registers.items():
        await bench.write(name, value)
    zero = (
        "MEMBRANE_BYTES",
        "WEIGHT_PACKETS",
        "WEIGHT_PASSES",
        "SUM_BYTES",
        "SUM_GROUPS",
        "SUM_TILES",
        "SUM_ROW_TILES",
    )
    askew = ("MEMBRANE_ADDRESS", "WEIGHT_STRIDE", "SUM_ADDRESS", "SUM_ROW_STRIDE", "SUM_TILE_STRIDE")
    for name, value in [*((name, 0) for name in zero), *((name, run.registers[name] + 1) for name in askew)]:
        await bench.write(name, value)
        await bench.write("CTRL", 1)
        assert await bench.read("ERROR") == 1 << FAULTS.index("descriptor"), name
        assert not await bench.read("STATUS") & BUSY
        await bench.write("ERROR", 0xFF)
        await bench.write(name, run.registers[name])
    high = await bench.read("BUS") >> 4 & 255
    if high < 64:
        await bench.write("SUM_ADDRESS_HIGH", 1 << high - 32)
        await bench.write("CTRL", 1)
        assert await bench.read("ERROR") == 1 << FAULTS.index("descriptor")
        await bench.write("ERROR", 0xFF)
        await bench.write("SUM_ADDRESS_HIGH", 0)
    await bench.submit(run)
    assert await bench.finish() == set()
    bench.check(run)


@cocotb.test()
async def register_map(dut):
    """The streamer is what its SystemRDL says: every address, what bits hold after reset, and which can be written."""
    bench = Bench(dut, 0.3)
    await bench.reset()
    by_address = {one.address: one for one in STREAMER.values()}
    for address in range(STREAMER_BASE, STREAMER_BASE + 256, 4):
        named = by_address.get(address)
        if named is None:
            assert await bench.read(address, AxiResp.SLVERR) == 0
            await bench.write(address, 0xFFFFFFFF, AxiResp.SLVERR)
            continue
        data = await bench.read(address)
        assert data & ~sum(field.mask for field in named.fields) == 0, f"{named.name}: a bit that is not described"
        for one in named.fields:
            if one.access != "W" and one.reset is not None:
                assert data & one.mask == one.reset << one.lsb, f"{named.name}.{one.name}"
        kept = named.mask("R/W")
        writable = kept | named.mask("W", "R/W1C")
        for value in (0xFFFFFFFF, 0x55555555, 0) if named.name != "CTRL" else (0,):
            await bench.write(address, value, AxiResp.OKAY if writable else AxiResp.SLVERR)
            assert await bench.read(address) == (value & kept if writable else data), named.name
    bus = await bench.read("BUS")
    assert 1 << (bus & 15) == 8 * bench.beat


@cocotb.test()
async def silent_in_reset(dut):
    """No output says anything in reset, in the middle of a run."""
    bench = Bench(dut, 0.0)
    await bench.reset()
    await bench.submit(bench.store(bench.layer(7, 30, 8)))
    await ClockCycles(dut.clk, 60)
    assert dut.m_axi_rready.value
    dut.rst_n.value = 0
    await ClockCycles(dut.clk, 2)
    channels = [f"m_axi_{name}" for name in ("awvalid", "wvalid", "arvalid", "rready", "bready")]
    registers = [f"s_axil_{name}" for name in ("awready", "wready", "bvalid", "arready", "rvalid")]
    for _ in range(10):
        await RisingEdge(dut.clk)
        for name in (*channels, *registers, "irq", "m_axis_spike_tvalid"):
            assert not getattr(dut, name).value, f"{name} in reset"
