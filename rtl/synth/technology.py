"""A cell library as the flow uses it: its buffer, full adder and clock gate among its cells; memories; wires.

What libraries.json, or a file given beside it, says of a library is taken; the rest is found:

- the *unit* is the smallest inverter, FO4 its delay into four of its own, and the slew at which delays and energies are
  read is what it then gives to the next;
- a net may load its driver with MAX_FANOUT units before buffers are put in; the buffer is the one whose area times
  delay into that load is the least;
- the full adder is the smallest cell with a sum and a carry, either of them inverted or not, unless two XOR gates and a
  majority gate (or four NAND gates) are smaller still;
- the clock gate is the smallest integrated one that opens at the rising edge, else a latch, an AND gate and an
  inverter. `dont_use` is no obstacle there: libraries mark cells that no logic optimiser may choose.
"""

from __future__ import annotations

import fnmatch
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cells import Cell, Library, mean, read, smallest
from clock_gates import ClockGate, find_gate
from spike_compressor.errors import InputError
from sram import BITCELL_RUN, Node

HERE = Path(__file__).resolve().parent
LIBRARIES = HERE / "libraries.json"
# From the OSU library, for which they were chosen by hand: 0.35 pF behind a BUFX4, inputs of 9.325 fF, FO4 of 99.5 ps.
MAX_FANOUT = 37.5
OSU_LOAD, OSU_FO4 = 0.009325, 0.0995
FULL_SUM, FULL_CARRY = 0x96, 0xE8  # truth tables of three inputs

# Wires: see wire_load.
RENT = 0.6
UTILISATION = 0.7
WIRE_PF_PER_UM = 0.2e-3
PLACED = 0.5


@dataclass(frozen=True)
class Adder:
    """A full adder: three inputs, carry and sum; whether these two come inverted."""

    cell: str
    inputs: tuple[str, str, str]
    carry: str
    sum: str
    carry_inverts: bool
    sum_inverts: bool

    @property
    def verilog(self) -> str:
        """One bit of `$fa`, with Yosys' names: X the carry, Y the sum."""
        pins = ", ".join(f".{pin}({net}[i])" for pin, net in zip(self.inputs, "ABC", strict=True))
        return (
            f"wire carry, sum; {self.cell} fa ({pins}, .{self.carry}(carry), .{self.sum}(sum)); "
            f"assign X[i] = {'~' * self.carry_inverts}carry; assign Y[i] = {'~' * self.sum_inverts}sum;"
        )


@dataclass(frozen=True)
class Technology:
    """A library and what the flow made out in it. Times in ns, capacitances in pF, areas in um2."""

    name: str
    slug: str
    library: Library
    description: Mapping[str, Any]
    unit: str
    slew: float
    fo4: float
    max_load: float
    buffer: str
    adder: Adder | None
    gate: ClockGate
    node: Node

    @property
    def memory_pin(self) -> float:
        """Of a memory's input, pF: 0.02 at OSU 180 nm, elsewhere in proportion to the unit."""
        return 0.02 * self.max_load / 0.35

    @property
    def memory_setup(self) -> float:
        """Of a memory's inputs, ns: 0.2 at OSU 180 nm, elsewhere in proportion to FO4."""
        return 0.2 * self.node.speed

    @property
    def tick(self) -> float:
        """Unit of the netlist simulator's delays, ns."""
        return self.slew / 12

    def usable(self) -> Iterator[Cell]:
        """Cells that synthesis may choose from."""
        banned = self.description.get("dont_use", ())
        return (cell for cell in self.library.usable() if not any(fnmatch.fnmatch(cell.name, one) for one in banned))

    def write(self, folder: Path, used: Iterable[str] | None = None) -> list[Path]:
        """The Liberty files that other tools get: usable cells, or those used, and the clock gate's, nothing else."""
        names = {cell.name for cell in self.usable()} if used is None else set(used)
        names |= set(self.gate.cells)
        paths = []
        for index, one in enumerate(self.library.files):
            path = folder / f"{'cells' if used is None else 'used'}{index}.lib"
            path.write_text(one.only(sorted(names)))
            paths.append(path)
        return paths

    def wire_load(self, cells: int, area: float) -> float:
        """Capacitance of wire for each input that a net feeds, pF: an ESTIMATE, see docs/synthesis.md.

        Mean length of Donath's hierarchical placement (IEEE Trans. Circuits Syst. 26(4), 1979) with Rent's exponent
        0.6, in pitches of the mean cell at 70 % utilisation; half of it, as placers do about twice as well as that
        bound; 0.2 fF a micrometre, which hardly changes from node to node (Ho, Mai, Horowitz, Proc. IEEE 89(4), 2001).

        Args:
            cells: of the block, without memories.
            area: theirs, um2.
        """
        return WIRE_PF_PER_UM * PLACED * donath(cells, RENT) * math.sqrt(area / max(1, cells) / UTILISATION)


def donath(cells: int, rent: float) -> float:
    """Mean length of a connection in pitches, by Donath's formula, for a square of `cells` cells."""
    n = max(4.0, float(cells))
    first = 7 * (n ** (rent - 0.5) - 1) / (4 ** (rent - 0.5) - 1)
    second = (1 - n ** (rent - 1.5)) / (1 - 4 ** (rent - 1.5))
    return 2 / 9 * (first - second) * (1 - 4 ** (rent - 1)) / (1 - n ** (rent - 1))


def described(library: Library, more: Path | None) -> Mapping[str, Any]:
    """What is said of a library. Raises InputError where nothing is, or what is said is no description."""
    known: list[Mapping[str, Any]] = []
    for path in (more, LIBRARIES):
        if path is None:
            continue
        try:
            known += json.loads(path.read_text())["libraries"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no description of libraries ({error}): see rtl/synth/libraries.json") from None
    names = [one.library.name for one in library.files]
    for entry in known:
        if all(re.fullmatch(entry["library"], name) for name in names):
            return entry
    raise InputError(f"nothing is known of the library {', '.join(names)}: name it and its memory cell in a file "
                     "(DESCRIPTION=file.json, in the form of rtl/synth/libraries.json)")  # fmt: skip


def find_adder(cells: Sequence[Cell], inverter: Cell) -> Adder | None:
    """The library's full adder, if it has one that is worth its area."""

    def outputs(cell: Cell, table: int) -> list[tuple[str, bool]]:
        return [(pin, False) for pin in cell.outputs if cell.pins[pin].table == table] + [
            (pin, True) for pin in cell.outputs if cell.pins[pin].table == table ^ 0xFF
        ]

    found: list[tuple[float, Adder]] = []
    for cell in cells:
        if len(cell.inputs) != 3 or len(cell.outputs) != 2:
            continue
        carries, sums = outputs(cell, FULL_CARRY), outputs(cell, FULL_SUM)
        if carries and sums:
            a, b, c = cell.inputs
            adder = Adder(cell.name, (a, b, c), carries[0][0], sums[0][0], carries[0][1], sums[0][1])
            found.append((cell.area + inverter.area * (adder.carry_inverts + adder.sum_inverts), adder))
    if not found:
        return None
    area, adder = min(found, key=lambda item: item[0])
    xor, nand = smallest(cells, 2, [0x6, 0x9]), smallest(cells, 2, [0x7])
    majority = smallest(cells, 3, [FULL_CARRY, FULL_CARRY ^ 0xFF])
    if xor is None or nand is None:
        return adder
    carry = min([4 * nand.area, *([majority.area] if majority else [])])
    return adder if area <= 2 * xor.area + carry else None


def settle(unit: Cell) -> tuple[float, float]:
    """FO4 and the slew that a chain of inverters, each feeding four, ends with; ns."""
    out = unit.pins[unit.outputs[0]]
    slew = 0.1
    for _ in range(20):
        slew = mean(out.slews, 4 * unit.load, slew)
    return mean(out.delays, 4 * unit.load, slew), slew


def find(paths: Sequence[Path], description: Path | None = None) -> Technology:
    """A library's technology.

    Args:
        paths: its Liberty files, plain or gzipped.
        description: a file in the form of libraries.json, looked at first.

    Raises InputError, naming what is wrong or missing and the remedy.
    """
    library = read(paths)
    given = described(library, description)
    banned = given.get("dont_use", ())
    cells = [cell for cell in library.usable() if not any(fnmatch.fnmatch(cell.name, one) for one in banned)]
    unit = smallest(cells, 1, [0x1])
    if unit is None or not unit.pins[unit.outputs[0]].delays:
        raise InputError(f"{', '.join(map(str, paths))}: no inverter with delays; give all files of the library")
    for what, fit in (("flip-flop", any(cell.ff for cell in cells)), ("NAND gate", smallest(cells, 2, [0x7]))):
        if not fit:
            raise InputError(f"{', '.join(map(str, paths))}: no {what} that can be used; give all files of the library")
    fo4, slew = settle(unit)
    slew = given.get("slew_ns", slew)
    max_load = given.get("max_load_pf", MAX_FANOUT * unit.load)
    buffers = [cell for cell in cells if len(cell.inputs) == len(cell.outputs) == 1 and not cell.ff]
    buffers = [cell for cell in buffers if cell.pins[cell.outputs[0]].table == 0x2]
    if not buffers:
        raise InputError(f"{', '.join(map(str, paths))}: no buffer; give all files of the library")
    best = min(buffers, key=lambda cell: cell.area * mean(cell.pins[cell.outputs[0]].delays, max_load, slew))
    latches = [cell.area for cell in library.cells.values() if cell.latch and cell.area > 0]
    nand = smallest(cells, 2, [0x7])
    assert nand is not None
    load = given.get("unit_load_pf", unit.load)
    node = Node(
        bitcell=given["bitcell_um2"],
        voltage=library.voltage,
        speed=given.get("speed", fo4 / OSU_FO4),
        latch_area=given.get("latch_area_um2", min(latches, default=given["bitcell_um2"] * 56.0 / BITCELL_RUN)),
        read_area=given.get("read_area_um2", nand.area * 26 / 24),
        latch_energy=load / OSU_LOAD * (library.voltage / 1.8) ** 2,
    )
    return Technology(
        name=given["name"],
        slug=given["slug"],
        library=library,
        description=given,
        unit=unit.name,
        slew=slew,
        fo4=fo4,
        max_load=max_load,
        buffer=given.get("buffer", best.name),
        adder=find_adder(cells, unit),
        gate=find_gate(library, slew, given, cells),
        node=node,
    )
