"""What the flow needs of a Liberty file: areas, pins, truth tables, flip-flops, delays and energies.

The file is parsed by the package liberty-parser.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Pin:
    """A pin of a cell: capacitance in pF; of outputs the truth table, bit i for input j at bit j of i.

    `delays` are in ns. `energies`, in pJ a transition, are what the cell itself takes when the pin changes; an input's
    do not hang on a load.
    """

    name: str
    output: bool
    capacitance: float
    clock: bool
    table: int | None
    delays: tuple[Table, ...]
    energies: tuple[Table, ...]


@dataclass(frozen=True)
class Table:
    """One look-up table over load in pF and input slew in ns."""

    loads: tuple[float, ...]
    slews: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]

    def at(self, load: float, slew: float) -> float:
        """Bilinear; outside the table, its edge."""
        rows = [float(np.interp(slew, self.slews, row)) for row in self.values]
        return float(np.interp(load, self.loads, rows))


@dataclass(frozen=True)
class Cell:
    """A standard cell: area in um2; `ff` names a flip-flop's data and clock pins."""

    name: str
    area: float
    pins: dict[str, Pin]
    ff: tuple[str, str] | None

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, in the file's order."""
        return [pin.name for pin in self.pins.values() if not pin.output]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in the file's order."""
        return [pin.name for pin in self.pins.values() if pin.output]


@dataclass(frozen=True)
class Library:
    """Cells by name, and the supply voltage."""

    path: Path
    cells: dict[str, Cell]
    voltage: float


def read(path: Path) -> Library:
    """The cells of a Liberty file."""
    from liberty.parser import parse_liberty

    library = parse_liberty(path.read_text())
    cells = (_cell(group) for group in library.get_groups("cell"))
    return Library(path, {cell.name: cell for cell in cells}, float(library["nom_voltage"]))


def _cell(group: Any) -> Cell:
    entries = {str(entry.args[0]): entry for entry in group.get_groups("pin")}
    inputs = [name for name, entry in entries.items() if entry["direction"] == "input"]
    ff = group.get_groups("ff")
    pins = {
        name: Pin(
            name,
            name not in inputs,
            float(entry.get("capacitance", 0)),
            entry.get("clock", "false") in (True, "true"),
            None if name in inputs or ff else _table(entry.get_boolean_function("function"), inputs),
            # a tri-state's way to Z has no load
            tuple(_tables(entry, "timing", ("cell_rise", "cell_fall"), loads=True)),
            tuple(_tables(entry, "internal_power", ("rise_power", "fall_power"), loads=name not in inputs)),
        )
        for name, entry in entries.items()
    }
    state = (_text(ff[0]["next_state"]), _text(ff[0]["clocked_on"])) if ff else None
    return Cell(str(group.args[0]), float(group.get("area", 0)), pins, state)


def _text(value: Any) -> str:
    return str(getattr(value, "value", value)).strip('"')


def _table(function: Any, inputs: Sequence[str]) -> int | None:
    """Truth table of a sympy expression; None if it hangs on something else, as a latch's does."""
    if {str(symbol) for symbol in function.free_symbols} - set(inputs):
        return None
    table = 0
    for i, bits in enumerate(itertools.product((False, True), repeat=len(inputs))):
        values = dict(zip(reversed(inputs), bits, strict=True))  # the first input is the lowest bit of i
        table |= int(bool(function.subs(values))) << i
    return table


def _tables(pin: Any, kind: str, names: Sequence[str], *, loads: bool) -> Iterator[Table]:
    """Tables of a pin's groups; of those with loads, or of those without."""
    for group in pin.get_groups(kind):
        for name in names:
            for table in group.get_groups(name):
                if (table.get("index_2") is not None) == loads:
                    yield _read_table(table, loads=loads)


def _read_table(group: Any, *, loads: bool) -> Table:
    def index(name: str) -> tuple[float, ...]:
        return tuple(float(value) for value in np.ravel(group.get_array(name)))

    values = tuple(tuple(float(v) for v in row) for row in np.atleast_2d(group.get_array("values")))
    return Table(index("index_1"), index("index_2"), values) if loads else Table((0.0,), index("index_1"), values)
