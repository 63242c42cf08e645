"""From SystemVerilog to a netlist of library cells: Yosys with the slang front end, and abc.

Instances of one module with the same contents are mapped once. Memories (`spike_ram`) stay black boxes. Registers with
an enable get a clock gate where eight or more bits share it. Adders of up to 28 bits are ripple chains, the smallest;
longer ones, as the counters', have a carry tree. All of this is the same for every design and library.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netlist import yosys
from technology import Technology

MEMORY = "spike_ram"
GATE = "spike_clock_gate"  # pins CLK, EN, GCLK; a latch and an AND gate of the library
TARGET_NS = 3.0  # what abc aims for in the 180 nm library, in others in proportion to FO4
GATED_BITS = 8  # registers of fewer bits keep a multiplexer

# Carry chains of short adders; Yosys' own map takes the long ones.
TECHMAP = """
(* techmap_celltype = "$lcu" *)
module _spike_ripple (P, G, CI, CO);
  parameter WIDTH = 2;
  (* force_downto *) input [WIDTH-1:0] P, G;
  input CI;
  (* force_downto *) output [WIDTH-1:0] CO;
  wire _TECHMAP_FAIL_ = WIDTH > 28;
  genvar i;
  generate
    assign CO[0] = G[0] | (P[0] & CI);
    for (i = 1; i < WIDTH; i = i + 1) begin : bits
      assign CO[i] = G[i] | (P[i] & CO[i-1]);
    end
  endgenerate
endmodule
"""
# Yosys' full adder onto the library's.
ADDERS = """
(* techmap_celltype = "$fa" *)
module _spike_fa (A, B, C, X, Y);
  parameter WIDTH = 1;
  (* force_downto *) input [WIDTH-1:0] A, B, C;
  (* force_downto *) output [WIDTH-1:0] X, Y;
  genvar i;
  generate
    for (i = 0; i < WIDTH; i = i + 1) begin : bits
      @BIT@
    end
  endgenerate
endmodule
"""


def read_command(top: str, parameters: Mapping[str, int], sources: Sequence[Path], include: Path) -> str:
    """The front end's command: hierarchy kept, memories left out."""
    options = " ".join(f"-G{name}={value}" for name, value in parameters.items())
    files = " ".join(str(path) for path in sources)
    what = f"--keep-hierarchy --blackboxed-module {MEMORY} -DSYNTHESIS -I {include}"
    return f"read_slang {what} --top {top} {options} {files}"


def fold(rtlil: str) -> str:
    """Let equal modules be one: the front end writes one for each instance."""
    head, *parts = re.split(r"^end\n", rtlil, flags=re.MULTILINE)  # a module ends at the margin
    start = re.search(r"^(attribute|module) ", head, re.MULTILINE)
    assert start is not None
    head, first = head[: start.start()], head[start.start() :]
    blocks = {}
    for part in [first, *parts]:
        name = re.search(r"^module (\S+)", part, re.MULTILINE)
        if name is not None:
            blocks[name[1]] = part + "end\n"
    blocks.pop(f"\\{MEMORY}", None)
    while True:
        seen: dict[str, str] = {}
        found: dict[str, str] = {}
        for name, text in blocks.items():
            key = hashlib.sha256(_canonical(text, name).encode()).hexdigest()
            if key in seen:
                found[name] = seen[key]
            else:
                seen[key] = name
        if not found:
            text, memories = _memories("".join(blocks.values()))
            return head + text + memories
        for name in found:
            del blocks[name]

        def rename(match: re.Match[str], found: dict[str, str] = found) -> str:
            return f"{match[1]}{found.get(match[2], match[2])}{match[3]}"

        for name, text in blocks.items():
            blocks[name] = re.sub(r"^(  cell )(\S+)( )", rename, text, flags=re.MULTILINE)


def _canonical(text: str, name: str) -> str:
    """A module's lines without what differs from instance to instance: its name, and where running numbers begin."""
    text = text.replace(name, "module_name")
    text = re.sub(r"^\s*attribute [^\n]*\n", "", text, flags=re.MULTILINE)
    numbered = re.compile(r"(\$(?:[^\s$\[\]{}]+\$)?)(\d+)")
    base: dict[str, int] = {}
    for prefix, number in numbered.findall(text):
        base[prefix] = min(base.get(prefix, int(number)), int(number))
    text = numbered.sub(lambda m: f"{m[1]}{int(m[2]) - base[m[1]]}", text)
    # statements may come in any order; the lines of one (a cell and its connections) belong together
    return "\n".join(sorted(re.split(r"\n(?=  (?!end\b)\S)", text)))


def _memories(text: str) -> tuple[str, str]:
    """Give each shape of memory a black box of its own; returns the text, and those modules."""
    shapes: dict[str, str] = {}

    def shaped(match: re.Match[str]) -> str:
        values = {key: int(value) for key, value in re.findall(r"parameter \\(\w+) (?:32')?(\d+)", match[3])}
        width, depth, parts = values.get("Width", 16), values.get("Depth", 1024), values.get("Parts", 1)
        name = f"\\{MEMORY}_{depth}x{width}_{parts}"
        address = max(1, (depth - 1).bit_length())
        ports = {"clk_i": 1, "we_i": parts, "waddr_i": address, "wdata_i": width, "re_i": 1, "raddr_i": address}
        lines = [f"  wire width {bits} input {i + 1} \\{port}\n" for i, (port, bits) in enumerate(ports.items())]
        lines.append(f"  wire width {width} output 7 \\rdata_o\n")
        shapes[name] = f"attribute \\blackbox 1\nmodule {name}\n{''.join(lines)}end\n"
        return f"{match[1]}{name}{match[2]}"

    text = re.sub(rf"^(  cell )\\{MEMORY}( \S+\n)((?:    parameter [^\n]*\n)*)", shaped, text, flags=re.MULTILINE)
    return text, "".join(shapes.values())


def synthesise(
    top: str,
    parameters: Mapping[str, int],
    sources: Sequence[Path],
    include: Path,
    technology: Technology,
    work: Path,
    *,
    keep: Sequence[str] = (),
) -> dict[str, Any]:
    """Map a design; returns Yosys' JSON netlist (not flattened: modules of `keep` and the top).

    Args:
        keep: names of the modules that stay modules.

    Raises ToolError if pyosys is missing, or if Yosys gives up.
    """
    work.mkdir(parents=True, exist_ok=True)
    (work / "ripple.v").write_text(TECHMAP)
    period_ps = max(1, round(1000 * TARGET_NS * technology.node.speed))
    adder = technology.adder
    files = technology.write(work)
    liberty = " ".join(f"-liberty {path}" for path in files)
    (work / "adders.v").write_text(ADDERS.replace("@BIT@", adder.verilog if adder else ""))
    (work / "gate.v").write_text(f"module {GATE} (input CLK, input EN, output GCLK); endmodule\n")
    (work / "constraint").write_text(f"set_driving_cell {technology.buffer}\nset_load 0.1\n")
    yosys(
        [read_command(top, parameters, sources, include), f"write_rtlil {work / 'read.il'}"],
        work / "read.log",
    )
    (work / "fold.il").write_text(fold((work / "read.il").read_text()))
    yosys(
        [
            *(f"read_liberty -lib -ignore_miss_func {path}" for path in files),
            f"read_verilog -lib {work / 'gate.v'}",
            f"read_rtlil {work / 'fold.il'}",
            f"hierarchy -top {top}",
            *(f"setattr -mod -set keep_hierarchy 1 {name}$*" for name in keep),
            "flatten",
            "opt -full",
            "wreduce",
            "peepopt",
            "opt_clean",
            "alumacc",
            "share",
            "opt",
            "memory -nomap",
            "memory_map",
            "opt -full",
            "check -assert",
            f"tee -o {work / 'operators.txt'} stat",  # a multiplier is looked for before it dissolves
            f"techmap -map {work / 'ripple.v'}",
            "techmap",
            "opt -full",
            *(["extract_fa -fa", "opt_clean"] if adder else []),
            "dfflegalize -cell $_DFF_P_ 01 -cell $_DFFE_PP_ 01",
            f"clockgate -pos {GATE} EN:CLK:GCLK -min_net_size {GATED_BITS}",
            "dfflegalize -cell $_DFF_P_ 01",
            "opt -full",
            *([f"techmap -map {work / 'adders.v'}", "techmap"] if adder else []),
            f"dfflibmap {liberty}",
            "opt",
            f"abc {liberty} -D {period_ps} -constr {work / 'constraint'}",
            "opt_clean -purge",
            "check -assert",
            f"tee -q -o {work / 'stat.txt'} stat {liberty}",
            f"write_json {work / 'netlist.json'}",
        ],
        work / "map.log",
    )
    return json.loads((work / "netlist.json").read_text())
