"""A mapped netlist, flat: cells with global nets, fan-out buffers, and the forms that other tools read."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cells import mean
from mapping import GATE, MEMORY
from sram import Memory, memory, one_port
from technology import Technology

ZERO, ONE = 0, 1


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
    technology: Technology
    nets: int
    inputs: list[tuple[str, list[int]]]
    outputs: list[tuple[str, list[int]]]
    cells: list[Instance] = field(default_factory=list)
    wire: float = 0.0  # pF of wire for each input that a net feeds

    def memories(self) -> list[Instance]:
        """Its memories."""
        return [cell for cell in self.cells if cell.type.startswith(MEMORY)]

    def area(self, cell: Instance) -> float:
        """Area of a cell in um2; a memory's is estimated."""
        if cell.type == GATE:
            return self.technology.gate.area
        if cell.type.startswith(MEMORY):
            return shape(self, cell).area
        return self.technology.library.cells[cell.type].area

    def lay_wires(self) -> None:
        """Give nets the wires that `Technology.wire_load` estimates for a block of this size."""
        logic = [self.area(cell) for cell in self.cells if not cell.type.startswith(MEMORY)]
        self.wire = self.technology.wire_load(len(logic), sum(logic))


def shape(netlist: Netlist, cell: Instance) -> Memory:
    """What a memory would be built of: the accumulators' has one port, others halves never written and read at once."""
    depth, width, _ = dimensions(cell)
    kind = one_port if cell.module == "spike_accumulator" else memory
    return kind(depth, width, node=netlist.technology.node)


def dimensions(cell: Instance) -> tuple[int, int, int]:
    """Depth, width, parts of a memory."""
    match = re.fullmatch(rf"{MEMORY}_(\d+)x(\d+)_(\d+)", cell.type)
    assert match is not None, cell.type
    return int(match[1]), int(match[2]), int(match[3])


def flatten(modules: dict[str, Any], top: str, technology: Technology) -> Netlist:
    """Dissolve what hierarchy Yosys left."""
    out = Netlist(top, technology, 2, [], [])
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
    return netlist.technology.library.cells[cell.type].pins[pin].output


def pin_load(netlist: Netlist, cell: Instance, pin: str) -> float:
    """Capacitance of an input pin, pF."""
    if cell.type == GATE:
        return netlist.technology.gate.load(pin)
    if cell.type.startswith(MEMORY):
        return netlist.technology.memory_pin
    return netlist.technology.library.cells[cell.type].pins[pin].capacitance


def is_clock(netlist: Netlist, cell: Instance, pin: str) -> bool:
    """Whether the pin is a clock's."""
    if cell.type == GATE:
        return pin == "CLK"
    if cell.type.startswith(MEMORY):
        return pin == "clk_i"
    return netlist.technology.library.cells[cell.type].pins[pin].clock


def buffer(netlist: Netlist) -> int:
    """Put trees of buffers where a net feeds too much; returns how many. Clocks are ideal and left alone."""
    limit, kind = netlist.technology.max_load, netlist.technology.buffer
    model = netlist.technology.library.cells[kind]
    (into,), (out,) = model.inputs, model.outputs
    own = model.pins[into].capacitance + netlist.wire
    added = 0
    for net, feeds in list(sinks(netlist).items()):
        data = [
            (cell, pin, i, pin_load(netlist, cell, pin) + netlist.wire)
            for cell, pin, i in feeds
            if not is_clock(netlist, cell, pin)
        ]
        while sum(item[3] for item in data) > limit and len(data) > 1:
            groups: list[list[tuple[Instance, str, int, float]]] = [[]]
            load = 0.0
            for item in data:
                if groups[-1] and load + item[3] > limit:
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
                cell = Instance(f"fanout_{added}", kind, owner.owner, owner.module, {into: [net], out: [copy]})
                added += 1
                netlist.cells.append(cell)
                for sink, pin, i, _ in group:
                    sink.pins[pin][i] = copy
                upper.append((cell, into, 0, own))
            data = upper
    return added


def loads(netlist: Netlist) -> list[float]:
    """Capacitance that each net's driver sees, pF: pins, and what wires the netlist was given."""
    out = [0.0] * netlist.nets
    for net, feeds in sinks(netlist).items():
        out[net] = sum(pin_load(netlist, cell, pin) + netlist.wire for cell, pin, _ in feeds)
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
        model = netlist.technology.library.cells[cell.type]
        if model.ff is not None:
            enable = gated.get(cell.pins[model.ff[1]][0], ONE)
            for out in model.outputs:
                if out in cell.pins:
                    q = cell.pins[out][0]
                    delay = _delay(netlist, cell.type, out, load[q])
                    inverts = int(model.pins[out].inverts)
                    lines.append(f"ff {q} {cell.pins[model.ff[0]][0]} {enable} {delay} {inverts}")
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
    """Mean delay of an output in the simulator's units, at least one."""
    technology = netlist.technology
    delays = technology.library.cells[kind].pins[pin].delays
    return max(1, round(mean(delays, load, technology.slew) / technology.tick))


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

    A clock gate is one of the library, or taken apart. A memory becomes a cell for each bit that goes in or out: see
    `memory_liberty`.
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
            nets = (pins["CLK"][0], pins["EN"][0], pins["GCLK"][0])
            for kind, own, used in netlist.technology.gate.instances(name, *nets):
                place(kind, own, **used)
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
    technology = netlist.technology
    shapes = {cell.type: shape(netlist, cell).access_ns for cell in netlist.memories()}
    one = 'values("{value}");'
    text = [
        "library (memories) {",
        '  delay_model : table_lookup; time_unit : "1ns"; capacitive_load_unit (1, pf); voltage_unit : "1V";',
        '  current_unit : "1mA"; leakage_power_unit : "1nW"; nom_process : 1; nom_temperature : 25;',
        f"  nom_voltage : {technology.library.voltage};",
        '  wire_load ("estimate") { resistance : 0; capacitance : 1; area : 0;',
        f"    slope : {netlist.wire:.9f}; fanout_length (1, {netlist.wire:.9f}); }}",
        "  input_threshold_pct_rise : 50; input_threshold_pct_fall : 50; output_threshold_pct_rise : 50;",
        "  output_threshold_pct_fall : 50; slew_lower_threshold_pct_rise : 20; slew_upper_threshold_pct_rise : 80;",
        "  slew_lower_threshold_pct_fall : 20; slew_upper_threshold_pct_fall : 80;",
        "  cell (MEMORY_IN) { area : 0;",
        "    pin (CLK) { direction : input; capacitance : 0; clock : true; }",
        f"    pin (D) {{ direction : input; capacitance : {technology.memory_pin};",
        '      timing () { related_pin : "CLK"; timing_type : setup_rising;',
        f"        rise_constraint (scalar) {{ {one.format(value=technology.memory_setup)} }}",
        f"        fall_constraint (scalar) {{ {one.format(value=technology.memory_setup)} }} }} }}",
        "  }",
    ]
    for kind, access in sorted(shapes.items()):
        delays = [
            f"        {name} (scalar) {{ {one.format(value=value)} }}"
            for name, value in (
                ("cell_rise", access),
                ("cell_fall", access),
                ("rise_transition", technology.slew),
                ("fall_transition", technology.slew),
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
