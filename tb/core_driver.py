"""Drives `core_harness` from a cocotb test: registers by hand, streams by file, asleep while a job runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from beats import BeatError, Streams
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer
from cocotb.utils import get_sim_time
from cycle_model import expected_counters, group_counters
from images import (
    MismatchError,
    Plan,
    Shape,
    Units,
    acc_units,
    dense_words,
    membrane_image,
    parse_acc,
    parse_spikes,
    plan,
    spike_units,
    units_of,
    weight_image,
)
from registers import (
    ABORT,
    BLOCKS,
    BUSY,
    CLEAR,
    COUNTER_BASE,
    COUNTERS,
    CTRL,
    DONE,
    ERROR,
    ERRORS,
    GROUP_ID_VALUE,
    GROUP_INPUTS,
    GROUPS,
    ID,
    ID_VALUE,
    IRQ_DONE,
    IRQ_ENABLE,
    IRQ_ERROR,
    LIMITS,
    MODE,
    OKAY,
    OUTPUTS,
    ROWS,
    SHAPE,
    START,
    STATUS,
    STREAMS,
)
from spike_compressor.trace import Layer
from spike_compressor.trace.schema import CAPPED_CODINGS

PERIOD_NS = 10
#: Cycles after which the registers count as dead.
PATIENCE = 1000


@dataclass
class Stalls:
    """Chance, in 256ths, that a stream pauses in a cycle."""

    membrane: int = 0
    weight: int = 0
    spike: int = 0
    acc: int = 0

    @classmethod
    def random(cls, rng: np.random.Generator) -> Stalls:
        """Each stream anywhere between never and nearly always."""
        return cls(*(int(v) for v in rng.choice([0, 0, 40, 128, 220], 4)))


@dataclass
class Result:
    """What came out of a job."""

    spikes: np.ndarray
    acc: np.ndarray
    counters: dict[str, int]
    errors: set[str] = field(default_factory=set)


class CoreDriver:
    """One core under test. `await driver.reset()` first."""

    def __init__(self, dut: Any, seed: int = 1) -> None:
        self.dut = dut
        self.rng = np.random.default_rng(seed)
        self.folder = Path(os.environ["SPIKE_IMAGES"])
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shape = Shape()
        self.axil_stall = 0.0  # chance that a channel of the register port waits before an access
        self._job = 0
        Clock(dut.clk, PERIOD_NS, unit="ns").start()

    async def reset(self, cycles: int = 3) -> None:
        """Reset, read what the core was built for, and let it interrupt."""
        self.dut.s_axil_awvalid.value = self.dut.s_axil_wvalid.value = self.dut.s_axil_arvalid.value = 0
        self.dut.go.value = self.dut.flush.value = 0
        self.dut.rst_n.value = 0
        await ClockCycles(self.dut.clk, cycles)
        self.dut.rst_n.value = 1
        await RisingEdge(self.dut.clk)
        self.shape = shape_of(*[await self.read(address) for address in (SHAPE, LIMITS, BLOCKS, STREAMS)])
        self.shape = replace(self.shape, units=int(self.dut.encoders.value))
        assert await self.read(ID) == (GROUP_ID_VALUE if self.shape.units else ID_VALUE)
        await self.write(IRQ_ENABLE, IRQ_DONE | IRQ_ERROR)

    # --------------------------------------------------------------------------------------------- registers

    async def burst(self, *writes: tuple[int, int]) -> None:
        """AXI4-Lite writes of (address, value) one right behind the other; asserts their responses."""
        dut, waiting, answers = self.dut, list(writes), 0
        dut.s_axil_wstrb.value, dut.s_axil_bready.value = 15, 1
        for _ in range(PATIENCE):
            dut.s_axil_awvalid.value = dut.s_axil_wvalid.value = int(bool(waiting))
            if waiting:
                dut.s_axil_awaddr.value, dut.s_axil_wdata.value = waiting[0]
            await RisingEdge(dut.clk)
            if waiting and dut.s_axil_awready.value:
                assert dut.s_axil_wready.value, "the two channels of a write are alike"
                waiting.pop(0)
            if dut.s_axil_bvalid.value:
                assert dut.s_axil_bresp.value == OKAY, f"write {answers} of {writes}"
                answers += 1
            if answers == len(writes):
                break
        else:
            raise MismatchError(f"no answer to write {answers} of {writes} within {PATIENCE} cycles")
        dut.s_axil_bready.value = 0

    async def write(self, address: int, value: int, strobe: int = 15, expect: int = OKAY) -> None:
        """One AXI4-Lite write; asserts its response, and that the answer stays until it is taken."""
        dut = self.dut
        dut.s_axil_awaddr.value, dut.s_axil_wdata.value, dut.s_axil_wstrb.value = address, value, strobe
        starts = {channel: self._pause() for channel in ("aw", "w", "b")}
        pending = set(starts)
        offered = None
        for cycle in range(PATIENCE):
            now = {channel for channel in pending if cycle >= starts[channel]}
            dut.s_axil_awvalid.value, dut.s_axil_wvalid.value = int("aw" in now), int("w" in now)
            dut.s_axil_bready.value = int("b" in now)
            await RisingEdge(dut.clk)
            if "aw" in now and dut.s_axil_awready.value:
                pending.discard("aw")
            if "w" in now and dut.s_axil_wready.value:
                pending.discard("w")
            if dut.s_axil_bvalid.value:
                response = int(dut.s_axil_bresp.value)
                assert offered in (None, response), f"write to {address:#x}: the answer changed"
                offered = response
                if "b" in now:
                    break
            else:
                assert offered is None, f"write to {address:#x}: the answer was withdrawn"
        else:
            raise MismatchError(f"write to {address:#x}: no answer within {PATIENCE} cycles, {sorted(pending)} open")
        dut.s_axil_awvalid.value = dut.s_axil_wvalid.value = dut.s_axil_bready.value = 0
        assert pending == {"b"}, f"write to {address:#x}: answered before it was taken"
        assert response == expect, f"write to {address:#x}: expected response {expect}, got {response}"

    async def read(self, address: int, expect: int = OKAY) -> int:
        """One AXI4-Lite read; asserts its response, and that the answer stays until it is taken."""
        dut = self.dut
        dut.s_axil_araddr.value = address
        starts = {channel: self._pause() for channel in ("ar", "r")}
        asked = False
        offered = None
        for cycle in range(PATIENCE):
            asking = not asked and cycle >= starts["ar"]
            ready = cycle >= starts["r"]
            dut.s_axil_arvalid.value, dut.s_axil_rready.value = int(asking), int(ready)
            await RisingEdge(dut.clk)
            if asked and dut.s_axil_rvalid.value:
                answer = int(dut.s_axil_rdata.value), int(dut.s_axil_rresp.value)
                assert offered in (None, answer), f"read of {address:#x}: the answer changed"
                offered = answer
                if ready:
                    break
            else:
                assert offered is None, f"read of {address:#x}: the answer was withdrawn"
            asked |= asking and bool(dut.s_axil_arready.value)
        else:
            raise MismatchError(f"read of {address:#x}: no answer within {PATIENCE} cycles")
        dut.s_axil_arvalid.value = dut.s_axil_rready.value = 0
        data, response = offered
        assert response == expect, f"read of {address:#x}: expected response {expect}, got {response}"
        return data

    def _pause(self) -> int:
        """Cycles that a channel of the register port waits."""
        return int(self.rng.integers(1, 6)) if self.rng.random() < self.axil_stall else 0

    async def errors(self) -> set[str]:
        """Names of the sticky error bits that are set."""
        bits = await self.read(ERROR)
        return {name for i, name in enumerate(ERRORS) if bits >> i & 1}

    async def counters(self) -> dict[str, int]:
        """All counters."""
        out = {}
        for i, name in enumerate(COUNTERS):
            low = await self.read(COUNTER_BASE + 8 * i)
            out[name] = low | await self.read(COUNTER_BASE + 8 * i + 4) << 32
        return out

    # -------------------------------------------------------------------------------------------------- jobs

    async def configure(self, layer: Layer, cut: Plan, *, spike_stream: bool = True, **override: int) -> None:
        """Write the job registers for a layer; `override` replaces single values (rows=0, …)."""
        capped = layer.info.coding in CAPPED_CODINGS
        spike_stream &= not capped  # there is none
        mode = int(layer.info.coding == "csd") | spike_stream << 1 | capped << 2 | layer.info.frac_bits << 8
        values = {
            "mode": mode,
            "rows": layer.info.tokens,
            "outputs": layer.info.out_features,
            "groups": cut.groups,
            "group_inputs": cut.group_inputs,
        } | override
        for address, key in zip((MODE, ROWS, OUTPUTS, GROUPS, GROUP_INPUTS), values, strict=True):
            await self.write(address, values[key])

    async def launch(
        self,
        layer: Layer,
        stalls: Stalls | None = None,
        *,
        spike_stream: bool = True,
        clear: bool = True,
        then: Layer | None = None,
        **options: Any,
    ) -> None:
        """Prepare the images of a layer, set the core up, send them and start it; `options` as `prepare`.

        Args:
            then: a layer of the same sizes, as the second job: its input follows, and it is started, too.
        """
        await self.prepare(layer, stalls, spike_stream=spike_stream, then=then, **options)
        await self.send()
        await self.write(CTRL, START | CLEAR * clear)
        if then:
            await self.configure(then, plan(layer, self.shape), spike_stream=spike_stream)
            await self.write(CTRL, START)

    async def prepare(
        self,
        layer: Layer,
        stalls: Stalls | None = None,
        *,
        spike_stream: bool = True,
        membrane_packet: int | None = None,
        weight_packet: int | None = None,
        extra: str | None = None,
        then: Layer | None = None,
        **override: int,
    ) -> None:
        """What `launch` does before anything moves; `override` as `configure`.

        Args:
            extra: a stream that is sent one packet too many.
            then: a layer whose input follows.
        """
        stalls = stalls or Stalls()
        cut = plan(layer, self.shape)
        self._job += 1
        dut = self.dut
        beats, repeats = {}, cut.row_tiles
        for name, image in (("membrane", membrane_image), ("weight", weight_image)):
            data, beats[name] = image(layer, self.shape, self.rng)
            one = len(data) // (layer.info.tokens if name == "membrane" else cut.column_tiles)
            if name == "weight" and (then or extra):
                data, repeats = data * repeats, 1
            if then:
                data += image(then, self.shape, self.rng)[0] * (cut.row_tiles if name == "weight" else 1)
            if extra == name:
                data += self.rng.bytes(one)
            self._file(name).write_bytes(data)
        await self.configure(layer, cut, spike_stream=spike_stream, **override)
        dut.job.value = self._job
        dut.seed.value = int(self.rng.integers(1, 2**32))
        dut.weight_repeats.value = repeats
        dut.membrane_packet.value = membrane_packet or beats["membrane"]
        dut.weight_packet.value = weight_packet or beats["weight"]
        for name in ("membrane", "weight", "spike", "acc"):
            getattr(dut, f"{name}_stall").value = getattr(stalls, name)

    async def send(self) -> None:
        """Let the sources begin with what was prepared."""
        self.dut.go.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.go.value = 0

    async def finish(self, limit_cycles: int) -> None:
        """Sleep until the interrupt; raises MismatchError if it does not come."""
        start = get_sim_time("ns")
        if not self.dut.irq.value:
            await First(RisingEdge(self.dut.irq), Timer(limit_cycles * PERIOD_NS, unit="ns"))
        status = await self.read(STATUS)
        while status & BUSY and get_sim_time("ns") - start < limit_cycles * PERIOD_NS:  # an error woke us up
            await ClockCycles(self.dut.clk, 64)
            status = await self.read(STATUS)
        if not status & DONE:
            raise MismatchError(
                f"the core did not finish within {limit_cycles} cycles: status {status:#x}, "
                f"errors {sorted(await self.errors())}, counters {await self.counters()}"
            )
        self.dut.flush.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.flush.value = 0
        await RisingEdge(self.dut.clk)
        await RisingEdge(self.dut.clk)
        await self.write(STATUS, DONE)

    async def collect(self, layer: Layer, *, spike_stream: bool = True) -> Result:
        """What a finished job sent."""
        acc = parse_acc(self._units("acc"), layer, self.shape)
        if spike_stream and layer.info.coding not in CAPPED_CODINGS:
            spikes = parse_spikes(self._units("spike"), layer, self.shape)
        else:
            assert self._file("spike").stat().st_size == 0, "the spike stream is off, yet spikes came"
            spikes = layer.spikes
        for name in ("membrane", "weight", "spike", "acc"):
            self._file(name).unlink()
        return Result(spikes, acc, await self.counters(), await self.errors())

    async def collect_both(self, *layers: Layer) -> list[Result]:
        """What two finished jobs sent, the second started while the first one ran."""
        streams, out = (self._units("spike"), self._units("acc")), []
        for layer in layers:
            counts = units_of(layer, self.shape)
            spikes, acc = (tuple(part[:n] for part in one) for one, n in zip(streams, counts, strict=True))
            capped = layer.info.coding in CAPPED_CODINGS
            fired = layer.spikes if capped else parse_spikes(spikes, layer, self.shape)
            out.append((fired, parse_acc(acc, layer, self.shape)))
            streams = tuple(tuple(part[n:] for part in one) for one, n in zip(streams, counts, strict=True))
        assert not any(len(data) for data, _ in streams)
        errors = await self.errors()
        return [Result(*streams, {}, errors) for streams in out]

    async def abort(self, hold: int = 0) -> None:
        """End all jobs, take what the sources still send, and what was on offer.

        Args:
            hold: cycles in which the outputs are not taken, if some are on offer.
        """
        for name in ("membrane", "weight", "spike", "acc"):
            getattr(self.dut, f"{name}_stall").value = 255 if hold and name in ("spike", "acc") else 0
        await self.write(ABORT, 1)
        await ClockCycles(self.dut.clk, hold)
        for name in ("spike", "acc"):
            getattr(self.dut, f"{name}_stall").value = 0
        for _ in range(PATIENCE):
            await ClockCycles(self.dut.clk, 16)
            if not await self.read(STATUS) & BUSY and not self.dut.sending.value:
                break
        else:
            raise MismatchError("the abort does not end")
        self.dut.flush.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.flush.value = 0
        await self.write(ABORT, 0)
        await self.write(STATUS, DONE)

    async def run(self, layer: Layer, stalls: Stalls | None = None, *, spike_stream: bool = True) -> Result:
        """Launch, finish, collect."""
        await self.launch(layer, stalls, spike_stream=spike_stream)
        await self.finish(limit(layer, self.shape, stalls))
        return await self.collect(layer, spike_stream=spike_stream)

    def _units(self, name: str) -> Units:
        """What an output stream sent. Raises MismatchError for beats that no core may send."""
        try:
            return (spike_units if name == "spike" else acc_units)(np.fromfile(self._file(name), "<u4"), self.shape)
        except BeatError as error:
            raise MismatchError(f"{name} stream: {error}") from error

    def _file(self, name: str) -> Path:
        return self.folder / f"job{self._job}.{name}.bin"


def shape_of(shape: int, limits: int, blocks: int, streams: int) -> Shape:
    """What a core was built for, out of its registers of these names."""
    return Shape(
        rows=shape & 255,
        columns=shape >> 8 & 255,
        lanes=shape >> 16 & 255,
        slots=limits >> 8 & 255,
        weight_inputs=shape >> 24,
        weight_bits=limits & 15,
        tmax=limits >> 4 & 15,
        blocks=blocks,
        csd=bool(limits >> 16 & 1),
        streams=Streams.of_register(streams),
        one_block=bool(limits >> 17 & 1),
        capped=bool(limits >> 18 & 1),
    )


def limit(layer: Layer, shape: Shape, stalls: Stalls | None = None) -> int:
    """Cycles after which a job counts as hung: the dense worst case, times what the stalls may cost, with room."""
    cut = plan(layer, shape)
    fire = layer.info.tokens * (1 + cut.row_units * (layer.info.steps + 1) + 32)
    beats = max(layer.info.steps, shape.lanes // shape.weight_inputs) + 1
    work = shape.rows * cut.row_blocks * (layer.info.steps * shape.slots + 2)
    passes = cut.row_tiles * cut.column_tiles * (work + 2 * cut.row_chunks * beats + cut.groups * (shape.rows + 4) + 8)
    worst = max(vars(stalls).values()) if stalls else 0
    return int((fire + passes + cut.groups + 1000) * 4 * 256 / (256 - worst))


def check_counters(
    layer: Layer, shape: Shape, counters: dict[str, int], errors: set[str], *, planes: int | None = None
) -> None:
    """Demand that the core counted what happened, and reports no error. Raises MismatchError.

    Args:
        planes: the counters are those of a dense baseline that has so many.
    """
    expected = expected_counters(layer, shape) if not shape.units else group_counters(layer, shape)
    if planes is not None:
        del expected["additions"]  # it multiplies
        expected["words"] = int(dense_words(layer, shape, planes).sum()) * plan(layer, shape).column_tiles
    for name, value in expected.items():
        if counters[name] != value:
            raise MismatchError(f"layer {layer.name}: counter {name}: expected {value}, got {counters[name]}")
    if errors:
        raise MismatchError(f"layer {layer.name}: the core reports errors: {', '.join(sorted(errors))}")
