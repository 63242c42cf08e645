"""A mapped netlist, flat: cells with global nets, fan-out buffers, and the forms that other tools read."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cells import Library
from mapping import GATE, MEMORY
from sram import Memory, memory

ZERO, ONE = 0, 1
SLEW = 0.12  # ns: input slew at which delays and energies are read
MAX_LOAD = 0.35  # pF that a net may have before buffers are put in
BUFFER = "BUFX4"
GATE_CELLS = ("LATCH", "AND2X2", "INVX1")  # what a clock gate is made of
LATCH_AREA = 56.0  # um2; the Liberty file says 0, the LEF file 5.6 x 10
MEMORY_PIN = 0.02  # pF, an input of a memory
MEMORY_SETUP = 0.2  # ns


@dataclass
class Instance:
    """A cell, a clock gate or a memory; `pins` maps a pin to its net (a memory's to a list of nets)."""

    name: str
    type: str
    owner: str  # the instance path of the module it stands in
    module: str  # that module's name
    pins: dict[str, list[int]]


@dataclass
class Netlist:
    """Flat netlist of one design."""

    top: str
    library: Library
    nets: int
    inputs: list[tuple[str, list[int]]]
    outputs: list[tuple[str, list[int]]]
    cells: list[Instance] = field(default_factory=list)

    def memories(self) -> list[Instance]:
        """Its memories."""
        return [cell for cell in self.cells if cell.type.startswith(MEMORY)]

    def area(self, cell: Instance) -> float:
        """Area of a cell in um2; a memory's is estimated."""
        if cell.type == GATE:
            return LATCH_AREA + sum(self.library.cells[name].area for name in GATE_CELLS)
        if cell.type.startswith(MEMORY):
            return shape(cell).area
        return self.library.cells[cell.type].area


def shape(cell: Instance) -> Memory:
    """What a memory would be built of. All but the accumulators' have halves never written and read at once."""
    depth, width, _ = dimensions(cell)
    return memory(depth, width, halves=cell.module != "spike_accumulator")


def dimensions(cell: Instance) -> tuple[int, int, int]:
    """Depth, width, parts of a memory."""
    match = re.fullmatch(rf"{MEMORY}_(\d+)x(\d+)_(\d+)", cell.type)
    assert match is not None, cell.type
    return int(match[1]), int(match[2]), int(match[3])


def flatten(modules: dict[str, Any], top: str, library: Library) -> Netlist:
    """Dissolve what hierarchy Yosys left."""
    out = Netlist(top, library, 2, [], [])
    joined: dict[int, int] = {}  # a net that turned out to be another, or a constant

    def real(net: int) -> int:
        while net in joined:
            net = joined[net]
        return net

    def join(one: int, other: int) -> None:
        low, high = sorted((real(one), real(other)))
        if low != high:
            joined[high] = low

    def plain(name: str) -> str:
        return name.lstrip("\\").split("$")[0] or name

    def walk(module: str, path: str, ports: dict[str, list[int]]) -> None:
        entry = modules[module]
        local: dict[int, int] = {}
        for name, port in entry["ports"].items():
            for bit, net in zip(port["bits"], ports[name], strict=True):
                if not isinstance(bit, int):  # the module's output is a constant
                    join(net, ONE if bit == "1" else ZERO)
                elif bit in local:  # it comes out by several ports, or goes straight through
                    join(net, local[bit])
                else:
                    local[bit] = net

        def net(bit: Any) -> int:
            if bit == "1":
                return ONE
            if isinstance(bit, str):
                return ZERO  # 0, x, z
            if bit not in local:
                local[bit] = out.nets
                out.nets += 1
            return local[bit]

        for name, cell in entry["cells"].items():
            pins = {pin: [net(bit) for bit in bits] for pin, bits in cell["connections"].items()}
            kind = cell["type"]
            child = modules.get(kind)
            if child is not None and child["cells"]:
                walk(kind, f"{path}.{name}" if path else name, pins)
            else:
                out.cells.append(Instance(f"{path}.{name}" if path else name, kind, path, plain(module), pins))

    entry = modules[top]
    ports: dict[str, list[int]] = {}
    for name, port in entry["ports"].items():
        ports[name] = []
        for _ in port["bits"]:
            ports[name].append(out.nets)
            out.nets += 1
    walk(top, "", ports)
    for cell in out.cells:
        cell.pins = {pin: [real(net) for net in nets] for pin, nets in cell.pins.items()}
    for name, port in entry["ports"].items():
        (out.inputs if port["direction"] == "input" else out.outputs).append((name, [real(n) for n in ports[name]]))
    return out


def sinks(netlist: Netlist) -> dict[int, list[tuple[Instance, str, int]]]:
    """Cells and pins that each net feeds; memories too."""
    out: dict[int, list[tuple[Instance, str, int]]] = defaultdict(list)
    for cell in netlist.cells:
        for pin, nets in cell.pins.items():
            if is_output(netlist, cell, pin):
                continue
            for i, net in enumerate(nets):
                if net > ONE:
                    out[net].append((cell, pin, i))
    return out


def is_output(netlist: Netlist, cell: Instance, pin: str) -> bool:
    """Whether the cell drives this pin."""
    if cell.type == GATE:
        return pin == "GCLK"
    if cell.type.startswith(MEMORY):
        return pin == "rdata_o"
    return netlist.library.cells[cell.type].pins[pin].output


def pin_load(netlist: Netlist, cell: Instance, pin: str) -> float:
    """Capacitance of an input pin, pF."""
    if cell.type == GATE:
        return netlist.library.cells["LATCH"].pins["D" if pin == "EN" else "CLK"].capacitance
    if cell.type.startswith(MEMORY):
        return MEMORY_PIN
    return netlist.library.cells[cell.type].pins[pin].capacitance


def is_clock(netlist: Netlist, cell: Instance, pin: str) -> bool:
    """Whether the pin is a clock's."""
    if cell.type == GATE:
        return pin == "CLK"
    if cell.type.startswith(MEMORY):
        return pin == "clk_i"
    return netlist.library.cells[cell.type].pins[pin].clock


def buffer(netlist: Netlist) -> int:
    """Put trees of buffers where a net feeds too much; returns how many. Clocks are ideal and left alone."""
    own = netlist.library.cells[BUFFER].pins["A"].capacitance
    added = 0
    for net, feeds in list(sinks(netlist).items()):
        data = [
            (cell, pin, i, pin_load(netlist, cell, pin)) for cell, pin, i in feeds if not is_clock(netlist, cell, pin)
        ]
        while sum(item[3] for item in data) > MAX_LOAD and len(data) > 1:
            groups: list[list[tuple[Instance, str, int, float]]] = [[]]
            load = 0.0
            for item in data:
                if groups[-1] and load + item[3] > MAX_LOAD:
                    groups.append([])
                    load = 0.0
                groups[-1].append(item)
                load += item[3]
            if len(groups) >= len(data):
                break
            upper = []
            for group in groups:
                copy = netlist.nets
                netlist.nets += 1
                owner = group[0][0]
                cell = Instance(f"fanout_{added}", BUFFER, owner.owner, owner.module, {"A": [net], "Y": [copy]})
                added += 1
                netlist.cells.append(cell)
                for sink, pin, i, _ in group:
                    sink.pins[pin][i] = copy
                upper.append((cell, "A", 0, own))
            data = upper
    return added


def loads(netlist: Netlist) -> list[float]:
    """Capacitance that each net's driver sees, pF; pins only, no wires."""
    out = [0.0] * netlist.nets
    for net, feeds in sinks(netlist).items():
        out[net] = sum(pin_load(netlist, cell, pin) for cell, pin, _ in feeds)
    return out


def clock_enables(netlist: Netlist) -> tuple[int, dict[int, int]]:
    """The clock's net, and for each gated clock the net that lets it through."""
    clock = next(nets[0] for name, nets in netlist.inputs if name in ("clk_i", "clk"))
    return clock, {cell.pins["GCLK"][0]: cell.pins["EN"][0] for cell in netlist.cells if cell.type == GATE}


def write_toggle(netlist: Netlist, path: Path, valid: dict[str, str]) -> None:
    """The form that toggle.cpp reads. `valid` names, for an output, the output bit that must be 1 for it to count."""
    clock, gated = clock_enables(netlist)
    load = loads(netlist)
    ports = dict(netlist.outputs)
    lines = [f"nets {netlist.nets}"]
    lines += [f"in {net}" for name, nets in netlist.inputs if nets[0] != clock for net in nets]
    for name, nets in netlist.outputs:
        guard = ports[valid[name]][0] if name in valid else ONE
        lines += [f"out {net} {guard}" for net in nets]
    for cell in netlist.cells:
        if cell.type == GATE:
            continue
        if cell.type.startswith(MEMORY):
            depth, width, parts = dimensions(cell)
            p = cell.pins
            fields = [width, depth, parts, p["re_i"][0], *p["we_i"], len(p["waddr_i"]), *p["waddr_i"], *p["wdata_i"]]
            fields += [len(p["raddr_i"]), *p["raddr_i"], *p["rdata_o"]]
            lines.append("ram " + " ".join(map(str, fields)))
            continue
        model = netlist.library.cells[cell.type]
        if model.ff is not None:
            out = model.outputs[0]
            q = cell.pins[out][0]
            enable = gated.get(cell.pins[model.ff[1]][0], ONE)
            delay = _delay(netlist, cell.type, out, load[q])
            lines.append(f"ff {q} {cell.pins[model.ff[0]][0]} {enable} {delay}")
            continue
        ins = [cell.pins[pin][0] for pin in model.inputs]
        for pin in model.outputs:
            table = model.pins[pin].table
            assert table is not None, cell.type
            if pin in cell.pins:
                net = cell.pins[pin][0]
                delay = _delay(netlist, cell.type, pin, load[net])
                lines.append(f"gate {net} {delay} {table:x} {len(ins)} {' '.join(map(str, ins))}")
    path.write_text("\n".join(lines) + "\n")


def _delay(netlist: Netlist, kind: str, pin: str, load: float) -> int:
    """Mean delay of an output in units of 10 ps, at least one."""
    tables = netlist.library.cells[kind].pins[pin].delays
    return max(1, round(100 * sum(table.at(load, SLEW) for table in tables) / max(1, len(tables))))


def areas(netlist: Netlist) -> dict[str, float]:
    """um2 by module; a module's memories apart."""
    found: Counter[str] = Counter()
    for cell in netlist.cells:
        found[part(cell)] += netlist.area(cell)
    return dict(found.most_common())


def part(cell: Instance) -> str:
    """What a report files a cell under."""
    return f"{cell.module} memory" if cell.type.startswith(MEMORY) else cell.module


def write_verilog(netlist: Netlist, path: Path, clock: str = "clk_i") -> None:
    """Structural Verilog for OpenSTA.

    A clock gate is taken apart. A memory becomes a cell for each bit that goes in or out: see `memory_liberty`.
    """
    clock_net = next(nets[0] for name, nets in netlist.inputs if name == clock)
    lines = []
    ports = [(f"{name}_{i}", net) for name, nets in netlist.inputs for i, net in enumerate(nets) if net != clock_net]
    names = {clock_net: clock, ZERO: "1'b0", ONE: "1'b1", **{net: name for name, net in ports}}
    outputs = [(f"{name}_{i}", net) for name, nets in netlist.outputs for i, net in enumerate(nets)]

    def wire(net: int) -> str:
        return names.setdefault(net, f"n{net}")

    def place(kind: str, name: str, **pins: str) -> None:
        lines.append(f"  {kind} {name} ({', '.join(f'.{pin}({net})' for pin, net in pins.items())});")

    for index, cell in enumerate(netlist.cells):
        name = f"u{index}"
        pins = {pin: [wire(net) for net in nets] for pin, nets in cell.pins.items()}
        if cell.type == GATE:
            place("INVX1", f"{name}_inv", A=pins["CLK"][0], Y=f"{name}_low")
            place("LATCH", f"{name}_latch", CLK=f"{name}_low", D=pins["EN"][0], Q=f"{name}_open")
            place("AND2X2", f"{name}_and", A=pins["CLK"][0], B=f"{name}_open", Y=pins["GCLK"][0])
        elif cell.type.startswith(MEMORY):
            for pin, nets in pins.items():
                for i, net in enumerate(nets):
                    if pin == "rdata_o":
                        place(f"OUT_{cell.type}", f"{name}_q{i}", CLK=pins["clk_i"][0], Q=net)
                    elif pin != "clk_i":
                        place("MEMORY_IN", f"{name}_{pin}{i}", CLK=pins["clk_i"][0], D=net)
        else:
            place(cell.type, name, **{pin: nets[0] for pin, nets in pins.items()})
    wires = sorted({name for name in names.values() if re.fullmatch(r"n\d+", name)})
    gates = [f"u{i}" for i, cell in enumerate(netlist.cells) if cell.type == GATE]
    head = [
        f"module {netlist.top} ({', '.join([clock, *(name for name, _ in ports), *(name for name, _ in outputs)])});",
        *(f"  input {name};" for name in [clock, *(name for name, _ in ports)]),
        *(f"  output {name};" for name, _ in outputs),
        *(f"  wire {name};" for name in [*wires, *(f"{gate}_{kind}" for gate in gates for kind in ("low", "open"))]),
    ]
    feeds = [f"  assign {name} = {wire(net)};" for name, net in outputs]
    path.write_text("\n".join([*head, *lines, *feeds, "endmodule"]) + "\n")


def memory_liberty(netlist: Netlist, path: Path) -> None:
    """Timing of the memories' bits as a Liberty file: access time from clock to data, set-up at the inputs."""
    shapes = {cell.type: shape(cell).access_ns for cell in netlist.memories()}
    one = 'values("{value}");'
    text = [
        "library (memories) {",
        '  delay_model : table_lookup; time_unit : "1ns"; capacitive_load_unit (1, pf); voltage_unit : "1V";',
        '  current_unit : "1mA"; leakage_power_unit : "1nW"; nom_voltage : 1.8; nom_process : 1; nom_temperature : 25;',
        "  input_threshold_pct_rise : 50; input_threshold_pct_fall : 50; output_threshold_pct_rise : 50;",
        "  output_threshold_pct_fall : 50; slew_lower_threshold_pct_rise : 20; slew_upper_threshold_pct_rise : 80;",
        "  slew_lower_threshold_pct_fall : 20; slew_upper_threshold_pct_fall : 80;",
        "  cell (MEMORY_IN) { area : 0;",
        "    pin (CLK) { direction : input; capacitance : 0; clock : true; }",
        f"    pin (D) {{ direction : input; capacitance : {MEMORY_PIN};",
        '      timing () { related_pin : "CLK"; timing_type : setup_rising;',
        f"        rise_constraint (scalar) {{ {one.format(value=MEMORY_SETUP)} }}",
        f"        fall_constraint (scalar) {{ {one.format(value=MEMORY_SETUP)} }} }} }}",
        "  }",
    ]
    for kind, access in sorted(shapes.items()):
        delays = [
            f"        {name} (scalar) {{ {one.format(value=value)} }}"
            for name, value in (
                ("cell_rise", access),
                ("cell_fall", access),
                ("rise_transition", SLEW),
                ("fall_transition", SLEW),
            )
        ]
        text += [
            f"  cell (OUT_{kind}) {{ area : 0;",
            "    pin (CLK) { direction : input; capacitance : 0; clock : true; }",
            '    ff (IQ, IQN) { clocked_on : "CLK"; next_state : "IQ"; }',
            '    pin (Q) { direction : output; function : "IQ"; max_capacitance : 10;',
            '      timing () { related_pin : "CLK"; timing_type : rising_edge;',
            *delays,
            "      } }",
            "  }",
        ]
    path.write_text("\n".join([*text, "}"]) + "\n")
