"""Energy of a mapped netlist from the transitions of its nets: a simulation's, not a guess for all of them.

A transition of a net charges or discharges the pins on it, 1/2 C V^2, and takes the energy that the Liberty file
gives for the pin that drives it and for input pins that take some of their own (a register's clock and data). A
rise and a fall of a table are taken as alike: each counts by half. Clock nets have two transitions a cycle while
their gate is open. There is no clock tree and no leakage, in no design (100,000 cells of the 180 nm library leak some
20 uW), and wires only where the netlist was given some. Memories take what sram.py estimates, an access at a time.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cells import Pin, mean
from gates import ONE, Netlist, clock_enables, loads, part, shape
from mapping import GATE, MEMORY


class Counts:
    """Result of a netlist's simulation: cycles; by net transitions and cycles at 1; by memory reads and writes."""

    def __init__(self, path: Path) -> None:
        self.cycles = 0
        self.toggles: dict[int, int] = {}
        self.ones: dict[int, int] = {}
        self.reads: list[int] = []
        self.writes: list[int] = []
        for line in path.read_text().splitlines():
            fields = line.split()
            if fields[0] == "cycles":
                self.cycles = int(fields[1])
            elif fields[0] == "ram":
                self.reads.append(int(fields[2]))
                self.writes.append(int(fields[3]))
            else:
                net = int(fields[0])
                self.toggles[net], self.ones[net] = int(fields[1]), int(fields[2])


def energy(netlist: Netlist, counts: Counts) -> dict[str, float]:
    """pJ of all counted cycles together, by module; memories apart."""
    technology = netlist.technology
    cells, voltage = technology.library.cells, technology.library.voltage
    clock, gated = clock_enables(netlist)
    load = loads(netlist)
    toggles: dict[int, float] = {net: float(count) for net, count in counts.toggles.items()}
    toggles[clock] = 2.0 * counts.cycles
    for net, enable in gated.items():
        toggles[net] = 2.0 * (counts.cycles if enable == ONE else counts.ones.get(enable, 0))
    known: dict[tuple[str, str, float], float] = {}

    def own(kind: str, pin: Pin, at: float) -> float:
        """pJ that a transition of a pin takes inside the cell."""
        key = (kind, pin.name, at)
        if key not in known:
            known[key] = mean(pin.energies, at, technology.slew)
        return known[key]

    found: Counter[str] = Counter()
    memories = iter(zip(counts.reads, counts.writes, strict=True))
    for cell in netlist.cells:
        here = part(cell)
        if cell.type.startswith(MEMORY):
            # written in parts, it is written as a whole, its other parts held back
            (reads, writes), cost = next(memories), shape(netlist, cell)
            found[here] += reads * cost.read_pj + writes * cost.write_pj
            charged = {pin: nets for pin, nets in cell.pins.items() if pin == "rdata_o"}
        elif cell.type == GATE:
            out = cell.pins["GCLK"][0]
            found[here] += technology.gate.energy(toggles[clock], toggles.get(out, 0.0), load[out])
            charged = {"GCLK": cell.pins["GCLK"]}
        else:
            model = cells[cell.type]
            for name, nets in cell.pins.items():
                pin = model.pins[name]
                if nets[0] in toggles:
                    found[here] += toggles[nets[0]] * own(cell.type, pin, load[nets[0]] if pin.output else 0.0)
            charged = {name: cell.pins[name] for name in model.outputs if name in cell.pins}
        for nets in charged.values():
            for net in nets:
                found[here] += toggles.get(net, 0.0) * 0.5 * load[net] * voltage**2
    # what comes in from outside charges its nets too, the clock above all
    for _, nets in netlist.inputs:
        for net in nets:
            found["inputs and clock"] += toggles.get(net, 0.0) * 0.5 * load[net] * voltage**2
    return dict(found.most_common())
