"""What the flow needs of Liberty files: areas, pins, truth tables, flip-flops, delays and energies of usable cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import liberty_text
import numpy as np
from liberty_text import Group, Units, floats, truth_table
from spike_compressor.errors import InputError

MAX_INPUTS = 6  # what a truth table of the simulator holds


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


def mean(tables: Sequence[Table], load: float, slew: float) -> float:
    """Mean of tables at one point; 0 for none."""
    return sum(table.at(load, slew) for table in tables) / max(1, len(tables))


@dataclass(frozen=True)
class Pin:
    """A pin of a cell: capacitance in pF; of outputs the truth table, bit i for input j at bit j of i.

    `delays` and `slews` are in ns. `energies`, in pJ a transition, are what the cell itself takes when the pin changes;
    an input's do not hang on a load. `inverts` tells of a flip-flop's output whether it shows the opposite of what went
    in; `role` of a clock gate's pin what it is there: enable, clock, test or out.
    """

    name: str
    output: bool
    capacitance: float
    clock: bool
    table: int | None
    delays: tuple[Table, ...]
    energies: tuple[Table, ...]
    slews: tuple[Table, ...] = ()
    inverts: bool = False
    role: str = ""


@dataclass(frozen=True)
class Cell:
    """A standard cell: area in um2; `ff` names a flip-flop's data and clock pins, `latch` a latch's data and enable.

    `kind` is the value of `clock_gating_integrated_cell`, "latch", or "" for all others; `unfit` says why synthesis
    must not use the cell, and is empty where it may.
    """

    name: str
    area: float
    pins: dict[str, Pin]
    ff: tuple[str, str] | None
    kind: str = ""
    unfit: str = ""
    latch: tuple[str, str] | None = None

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, in the file's order."""
        return [pin.name for pin in self.pins.values() if not pin.output]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in the file's order."""
        return [pin.name for pin in self.pins.values() if pin.output]

    @property
    def load(self) -> float:
        """Mean capacitance of its inputs, pF."""
        return sum(self.pins[name].capacitance for name in self.inputs) / max(1, len(self.inputs))


class Library:
    """Cells by name, and the supply voltage, of one or several Liberty files of equal voltage."""

    def __init__(self, files: Sequence[liberty_text.LibertyFile]) -> None:
        voltages = {float(one.library.attributes.get("nom_voltage", "nan")) * one.units.voltage for one in files}
        if len(voltages) != 1 or not next(iter(voltages)) > 0:
            raise InputError(f"Liberty files of one library need the same nom_voltage, these have {sorted(voltages)}")
        self.files = tuple(files)
        self.voltage = next(iter(voltages))
        self._groups: dict[str, tuple[Group, liberty_text.LibertyFile]] = {}
        for one in files:
            for group in one.library.all("cell"):
                if group.name in self._groups:
                    raise InputError(f"cell {group.name} is in {self._groups[group.name][1].path} and in {one.path}: "
                                     "give files of one corner alone")  # fmt: skip
                self._groups[group.name] = (group, one)

    @property
    def paths(self) -> list[Path]:
        """Its files."""
        return [one.path for one in self.files]

    @cached_property
    def cells(self) -> Mapping[str, Cell]:
        """All cells, by name."""
        return {name: _cell(group, one) for name, (group, one) in self._groups.items()}

    def usable(self) -> Iterator[Cell]:
        """Cells that synthesis may choose from."""
        return (cell for cell in self.cells.values() if not cell.unfit)


def read(paths: Sequence[Path]) -> Library:
    """The cells of Liberty files. Raises InputError that names the file and the remedy."""
    if not paths:
        raise InputError("no Liberty file: name one or several, as in LIBERTY='a.lib b.lib.gz'")
    return Library([liberty_text.read(Path(path)) for path in paths])


def smallest(cells: Iterable[Cell], inputs: int, tables: Sequence[int]) -> Cell | None:
    """The smallest cell with one output that has one of these truth tables."""
    fit = [
        cell
        for cell in cells
        if len(cell.inputs) == inputs and len(cell.outputs) == 1 and cell.pins[cell.outputs[0]].table in tables
    ]
    return min(fit, key=lambda cell: (cell.area, cell.load), default=None)


ROLES = ("enable", "clock", "test", "out")
MARKS = {
    "is_level_shifter": "shifts levels",
    "is_isolation_cell": "isolates",
    "always_on": "for a supply that is always on",
    "retention_cell": "keeps its state",
    "is_filler_cell": "a filler",
    "is_decap_cell": "a decoupling cell",
    "dont_use": "dont_use",
    "dont_touch": "dont_touch",
}


def _unfit(group: Group, pins: Mapping[str, Group], cell_ff: tuple[str, str] | None) -> str:
    """Why synthesis must leave a cell alone; empty if it need not."""
    for mark, why in MARKS.items():
        if group.flag(mark) or (mark == "retention_cell" and mark in group.attributes):
            return why
    outputs = [pin for pin in pins.values() if pin.attributes.get("direction") == "output"]
    if not outputs or not any("function" in pin.attributes for pin in outputs):
        return "no output with a function"
    if any("three_state" in pin.attributes for pin in outputs):
        return "tri-state"
    scan = any(pin.attributes.get("nextstate_type", "").startswith("scan") for pin in pins.values())
    if scan or any(group.all("test_cell")):
        return "scan"
    if any(pin.flag("always_on") for pin in pins.values()):
        return MARKS["always_on"]
    if any(pin.attributes.get("direction") in ("inout", "internal") for pin in pins.values()):
        return "an inner or two-way pin"
    if any(group.all("ff")):
        return "" if cell_ff else "a flip-flop that is no plain D flip-flop"
    if any(group.groups and one.kind in ("latch", "ff_bank", "latch_bank", "statetable") for one in group.groups):
        return "holds state"
    if len(pins) - len(outputs) > MAX_INPUTS:
        return f"more than {MAX_INPUTS} inputs"
    if float(group.attributes.get("area", 0)) <= 0:
        return "no area"
    timed = {
        one for pin in outputs for arc in pin.all("timing") for one in arc.attributes.get("related_pin", "").split()
    }
    if {name for name, pin in pins.items() if pin not in outputs} - timed:
        return "an input without delays"
    return ""


def _cell(group: Group, one: liberty_text.LibertyFile) -> Cell:
    entries = {name.strip().strip('"'): entry for entry in group.all("pin") for name in entry.arguments.split(",")}
    inputs = [name for name, entry in entries.items() if entry.attributes.get("direction") == "input"]
    state, ff = {}, None
    flop = next(group.all("ff"), None)
    if flop is not None:
        names = [name.strip().strip('"') for name in flop.arguments.split(",")]
        found = _flip_flop(flop, inputs)
        if found is not None:
            data, clock, inverted = found
            ff = (data, clock)
            state = {names[0]: inverted, names[1]: not inverted} if len(names) > 1 else {names[0]: inverted}
    kind = group.attributes.get("clock_gating_integrated_cell", "") or ("latch" if any(group.all("latch")) else "")
    unfit = _unfit(group, entries, ff)
    priced = not unfit or bool(kind)  # delays and energies of others are of no use
    grounds = {
        pin.name for pin in group.all("pg_pin") if "ground" in pin.attributes.get("pg_type", "") or pin.name == "VSS"
    }
    templates = {entry.name: entry for entry in one.library.groups if entry.kind.endswith("_template")}
    pins = {}
    for name, entry in entries.items():
        function = entry.attributes.get("function", "")
        table, inverts = None, False
        if name not in inputs and function:
            plain = function.strip("() ")
            if flop is None:
                try:
                    table = truth_table(function, inputs)
                except ValueError as error:
                    raise InputError(f"{one.path}, cell {group.name}, pin {name}: {error}") from None
            elif plain.strip("!'") in state:
                inverts = state[plain.strip("!'")] ^ (plain != plain.strip("!'"))
        timing = [arc for arc in entry.all("timing") if priced and _is_delay(arc)]
        power = [use for use in entry.all("internal_power") if use.attributes.get("related_pg_pin") not in grounds]
        power = power if priced else []

        def tables(arcs: Sequence[Group], *kinds: str, scale: float, loads: bool) -> tuple[Table, ...]:
            return tuple(
                table
                for arc in arcs
                for kind in kinds
                for entry in arc.all(kind)
                if (table := _table(entry, templates, one.units, scale)) is not None and (len(table.loads) > 1) == loads
            )

        pins[name] = Pin(
            name,
            name not in inputs,
            float(entry.attributes.get("capacitance", 0)) * one.units.capacitance,
            entry.flag("clock") or entry.flag("clock_gate_clock_pin"),
            table,
            tables(timing, "cell_rise", "cell_fall", scale=one.units.time, loads=True),
            tables(power, "rise_power", "fall_power", scale=one.units.energy, loads=name not in inputs),
            tables(timing, "rise_transition", "fall_transition", scale=one.units.time, loads=True),
            inverts,
            next((role for role in ROLES if entry.flag(f"clock_gate_{role}_pin")), ""),
        )
    area = float(group.attributes.get("area", 0))
    return Cell(group.name, area, pins, ff, kind, unfit, _latch(group, inputs))


def _is_delay(arc: Group) -> bool:
    """A tri-state's way to Z, a reset and a preset are no delays that decide anything here."""
    return not arc.attributes.get("timing_type", "").startswith(("three_state", "clear", "preset"))


def _latch(group: Group, inputs: Sequence[str]) -> tuple[str, str] | None:
    """Data and enable pins of a latch that is open while its enable is 1; None for all else."""
    latch = next(group.all("latch"), None)
    if latch is None or {"clear", "preset"} & latch.attributes.keys():
        return None
    found = [latch.attributes.get(name, "").strip("() ") for name in ("data_in", "enable")]
    return (found[0], found[1]) if set(found) <= set(inputs) else None


def _flip_flop(flop: Group, inputs: Sequence[str]) -> tuple[str, str, bool] | None:
    """Data pin, clock pin and whether the state is the opposite of the data; None unless a plain one, rising edge."""
    plain = {1 << 1: False, 1: True}  # truth tables of x and !x
    try:
        if "clocked_on_also" in flop.attributes:
            return None
        clock = [name for name in inputs if truth_table(flop.attributes["clocked_on"], [name]) == 1 << 1]
        data = [
            (name, plain[table])
            for name in inputs
            if (table := truth_table(flop.attributes["next_state"], [name])) in plain
        ]
    except (KeyError, ValueError):
        return None
    return (data[0][0], clock[0], data[0][1]) if data and clock else None


def _table(group: Group, templates: Mapping[str, Group], units: Units, scale: float) -> Table | None:
    """A look-up table, load before slew whichever a file gives first; None for one that hangs on something else."""
    template = templates.get(group.name)
    attributes = {**(template.attributes if template else {}), **group.attributes}
    kinds = [attributes.get(f"variable_{i}", "") for i in (1, 2)]
    axes = {"load": (0.0,), "slew": (0.0,)}
    order = []
    for i, kind in enumerate(kinds):
        if not kind:
            continue
        name = "load" if "capacitance" in kind else "slew" if "transition" in kind else ""
        if not name:
            return None
        axes[name] = floats(attributes.get(f"index_{i + 1}", ""))
        order.append(name)
    values = np.array(floats(group.attributes.get("values", "")))
    sizes = [len(axes[name]) for name in order]
    if values.size != np.prod(sizes, dtype=int) or not values.size or "variable_3" in attributes:
        return None
    values = values.reshape(sizes) if sizes else values.reshape(1, 1)
    if order == ["slew", "load"]:
        values = values.T
    elif order == ["slew"]:
        values = values[None, :]
    elif order == ["load"]:
        values = values[:, None]
    return Table(
        tuple(value * units.capacitance for value in axes["load"]),
        tuple(value * units.time for value in axes["slew"]),
        tuple(tuple(float(value) * scale for value in row) for row in values),
    )
