"""Clock gates: one cell of the library, or a latch, an AND gate and an inverter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cells import Cell, Library, mean, smallest
from spike_compressor.errors import InputError


class ClockGate(Protocol):
    """What lets a clock through while an enable is 1."""

    @property
    def cells(self) -> tuple[str, ...]:
        """Cells that it is made of."""

    @property
    def area(self) -> float:
        """In um2."""

    def load(self, pin: str) -> float:
        """Of its EN or CLK, pF."""

    def energy(self, ticks: float, pulses: float, load: float) -> float:
        """pJ inside, for so many transitions of its clock and of what it lets through, into a load in pF."""

    def instances(self, name: str, clock: str, enable: str, out: str) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Cells, names and pins in Verilog."""


def own(library: Library, cell: str, pin: str, load: float, slew: float) -> float:
    """pJ that a transition of a pin takes inside its cell."""
    return mean(library.cells[cell].pins[pin].energies, load, slew)


@dataclass(frozen=True)
class IntegratedGate:
    """One cell of the library."""

    library: Library
    slew: float
    cell: str

    @property
    def cells(self) -> tuple[str, ...]:
        """Itself."""
        return (self.cell,)

    @property
    def area(self) -> float:
        """In um2."""
        return self.library.cells[self.cell].area

    def _pin(self, role: str) -> str:
        return next(pin.name for pin in self.library.cells[self.cell].pins.values() if pin.role == role)

    def load(self, pin: str) -> float:
        """Of its EN or CLK, pF."""
        return self.library.cells[self.cell].pins[self._pin("enable" if pin == "EN" else "clock")].capacitance

    def energy(self, ticks: float, pulses: float, load: float) -> float:
        """pJ: its clock pin's at each transition of the clock, its output's at each that comes through."""
        taken = ticks * own(self.library, self.cell, self._pin("clock"), 0.0, self.slew)
        return taken + pulses * own(self.library, self.cell, self._pin("out"), load, self.slew)

    def instances(self, name: str, clock: str, enable: str, out: str) -> Iterator[tuple[str, str, dict[str, str]]]:
        """The cell; a test pin rests at 0."""
        nets = {"clock": clock, "enable": enable, "out": out, "test": "1'b0"}
        pins = self.library.cells[self.cell].pins.values()
        yield self.cell, f"{name}_gate", {pin.name: nets[pin.role] for pin in pins if pin.role}


@dataclass(frozen=True)
class LatchGate:
    """Inverter, latch and AND gate."""

    library: Library
    slew: float
    latch: str
    gate: str
    inverter: str
    latch_area: float

    @property
    def cells(self) -> tuple[str, ...]:
        """The three."""
        return (self.latch, self.gate, self.inverter)

    @property
    def area(self) -> float:
        """In um2."""
        return self.latch_area + sum(self.library.cells[name].area for name in (self.gate, self.inverter))

    def load(self, pin: str) -> float:
        """Of its EN or CLK, pF; the AND gate and the inverter are taken as one input like the latch's."""
        return self.library.cells[self.latch].pins[self._latch("D" if pin == "EN" else "CLK")].capacitance

    def _latch(self, pin: str) -> str:
        pins = self.library.cells[self.latch].latch
        assert pins is not None
        return pins[0] if pin == "D" else pins[1]

    def energy(self, ticks: float, pulses: float, load: float) -> float:
        """pJ: inverter and latch follow the clock, the AND gate is the gated clock."""
        clock = self._latch("CLK")
        opening = self.load("CLK")
        inverted = self.library.cells[self.inverter].outputs[0]
        taken = ticks * own(self.library, self.inverter, inverted, opening, self.slew)
        taken += ticks * (
            own(self.library, self.latch, clock, 0.0, self.slew) + 0.5 * opening * self.library.voltage**2
        )
        return taken + pulses * own(self.library, self.gate, self.library.cells[self.gate].outputs[0], load, self.slew)

    def instances(self, name: str, clock: str, enable: str, out: str) -> Iterator[tuple[str, str, dict[str, str]]]:
        """The three cells."""
        cells = self.library.cells
        inverter, gate, latch = cells[self.inverter], cells[self.gate], cells[self.latch]
        yield (
            self.inverter,
            f"{name}_inv",
            {inverter.inputs[0]: clock, inverter.outputs[0]: f"{name}_low"},
        )
        q = next(pin for pin in latch.outputs if "N" not in pin)
        yield (
            self.latch,
            f"{name}_latch",
            {self._latch("CLK"): f"{name}_low", self._latch("D"): enable, q: f"{name}_open"},
        )
        a, b = gate.inputs
        yield self.gate, f"{name}_and", {a: clock, b: f"{name}_open", gate.outputs[0]: out}


def find_gate(library: Library, slew: float, given: Mapping[str, Any], cells: Sequence[Cell]) -> ClockGate:
    """The clock gate. Raises InputError where a library has neither one nor what one is built of."""
    integrated = [
        cell
        for cell in library.cells.values()
        if cell.kind in ("latch_posedge", "latch_posedge_precontrol")
        and {"enable", "clock", "out"} <= {pin.role for pin in cell.pins.values()}
    ]
    if integrated and "clock_gate" not in given:
        return IntegratedGate(library, slew, min(integrated, key=lambda cell: cell.area).name)
    names = given.get("clock_gate")
    if names is None:
        latches = [cell for cell in library.cells.values() if cell.latch and cell.area > 0]
        latch = min(latches, key=lambda cell: cell.area, default=None)
        parts = [latch, smallest(cells, 2, [0x8]), smallest(cells, 1, [0x1])]
        if None in parts:
            raise InputError("the library has no integrated clock gate, and not a latch, an AND gate and an inverter "
                             "that make one: name one in its description")  # fmt: skip
        names = [cell.name for cell in parts if cell is not None]
    if missing := [name for name in names if name not in library.cells]:
        raise InputError(f"the description names the clock gate {missing[0]}, which the library does not have")
    if len(names) == 1:
        return IntegratedGate(library, slew, names[0])
    area = given.get("latch_area_um2", library.cells[names[0]].area)
    return LatchGate(library, slew, *names, area)
