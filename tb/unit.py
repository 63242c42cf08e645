"""Small parts that the module benches share: clock and reset, stream drivers and monitors, packing, the seed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly, RisingEdge, Timer

SEED = int(os.environ.get("COCOTB_RANDOM_SEED", "1"))


def rng(dut: Any) -> np.random.Generator:
    """The bench's randomness; the seed stands in the log."""
    cocotb.log.info("SEED=%d", SEED)
    return np.random.default_rng(SEED)


async def start(dut: Any, **inputs: int) -> None:
    """Set inputs, start the clock, reset. Modules without a reset just get the clock."""
    if hasattr(dut, "rst_ni"):
        dut.rst_ni.value = 0
    dut.clk_i.value = 0
    await Timer(1, unit="ns")
    Clock(dut.clk_i, 10, unit="ns").start()
    await reset(dut, **inputs)


async def reset(dut: Any, **inputs: int) -> None:
    """Set inputs, reset."""
    for name, value in inputs.items():
        getattr(dut, name).value = value
    if hasattr(dut, "rst_ni"):
        dut.rst_ni.value = 0
        await ClockCycles(dut.clk_i, 3)
        dut.rst_ni.value = 1
    await RisingEdge(dut.clk_i)


def pack(values: Iterable[int], width: int) -> int:
    """Fields of `width` bits into one number, the first lowest; negative ones in two's complement."""
    out = 0
    for i, value in enumerate(values):
        out |= (int(value) & ((1 << width) - 1)) << (width * i)
    return out


def unpack(number: int, width: int, count: int, signed: bool = False) -> list[int]:
    """The inverse of `pack`."""
    fields = [number >> (width * i) & ((1 << width) - 1) for i in range(count)]
    return [f - (1 << width) if signed and f >> (width - 1) else f for f in fields]


async def total(dut: Any, signal: str, sums: dict[str, int]) -> None:
    """Add up an event port while the test runs."""
    while True:
        await RisingEdge(dut.clk_i)
        sums[signal] = sums.get(signal, 0) + int(getattr(dut, signal).value)


class Source:
    """Drives valid, data (and last) and takes its time: `stall` is the chance of a pause before a beat."""

    def __init__(self, dut: Any, valid: str, ready: str, data: Sequence[str], stall: float, seed: int = 0) -> None:
        self.clock, self.valid, self.ready = dut.clk_i, getattr(dut, valid), getattr(dut, ready)
        self.data = [getattr(dut, name) for name in data]
        self.stall, self.random = stall, random.Random(SEED + seed)
        self.valid.value = 0

    async def send(self, beats: Iterable[Sequence[int]]) -> None:
        """Send beats, one value for each data signal."""
        for beat in beats:
            while self.random.random() < self.stall:
                await RisingEdge(self.clock)
            for signal, value in zip(self.data, beat, strict=True):
                signal.value = int(value)
            self.valid.value = 1
            await RisingEdge(self.clock)
            while not self.ready.value:
                await RisingEdge(self.clock)
            self.valid.value = 0


class Sink:
    """Takes a stream with random refusals and keeps what it saw in `beats`; fails if an offer is withdrawn."""

    def __init__(self, dut: Any, valid: str, ready: str, data: Sequence[str], stall: float, seed: int = 0) -> None:
        self.clock, self.valid, self.ready = dut.clk_i, getattr(dut, valid), getattr(dut, ready)
        self.data = [getattr(dut, name) for name in data]
        self.stall, self.random = stall, random.Random(SEED + 1000 + seed)
        self.beats: list[tuple[int, ...]] = []
        self.ready.value = 0
        self.task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        offered = None
        while True:
            await RisingEdge(self.clock)
            if self.valid.value:
                beat = tuple(int(signal.value) for signal in self.data)
                assert offered is None or offered == beat, f"an offer changed: {offered} became {beat}"
                offered = beat
                if self.ready.value:
                    self.beats.append(beat)
                    offered = None
            else:
                assert offered is None, f"an offer was withdrawn: {offered}"
            self.ready.value = self.random.random() >= self.stall

    async def expect(self, count: int, patience: int = 100_000) -> list[tuple[int, ...]]:
        """Wait for `count` beats."""
        for _ in range(patience):
            if len(self.beats) >= count:
                return self.beats
            await RisingEdge(self.clock)
        raise AssertionError(f"expected {count} beats, got {len(self.beats)}")


class Monitor:
    """Collects the values of signals in each cycle in which `valid` is high."""

    def __init__(self, dut: Any, valid: str, data: Sequence[str]) -> None:
        self.clock, self.valid = dut.clk_i, getattr(dut, valid)
        self.data = [getattr(dut, name) for name in data]
        self.seen: list[tuple[int, ...]] = []
        self.task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        while True:
            await RisingEdge(self.clock)
            if self.valid.value:
                self.seen.append(tuple(int(signal.value) for signal in self.data))


async def broken(dut: Any, idle: Mapping[str, int], *cycles: Mapping[str, int]) -> int:
    """What a checker's rules say of inputs, cycle by cycle: a bit for each rule that is broken.

    Args:
        dut: checker with `broken_o`.
        idle: inputs where a cycle does not say otherwise.
        cycles: inputs by name.
    """
    found = 0
    for inputs in (*cycles, {}, {}):
        for name, value in {**idle, **inputs}.items():
            getattr(dut, name).value = value
        await RisingEdge(dut.clk_i)
        await ReadOnly()
        found |= int(dut.broken_o.value)
        await FallingEdge(dut.clk_i)
    return found
