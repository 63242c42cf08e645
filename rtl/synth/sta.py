"""Timing of a mapped netlist with OpenSTA.

Clocks are ideal, nets are the pins that they connect and what wires the netlist was given, streams arrive and are taken
at the clock edge.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from gates import Netlist, memory_liberty, write_verilog
from toolchain import RTL, ToolError

CONSTRAINTS = RTL / "constraints" / "core.sdc"
REMEDY = "Debian and Ubuntu have it: apt install opensta"


def run(script: list[str], log: Path) -> str:
    """What OpenSTA prints. Raises ToolError if it is missing or fails."""
    program = shutil.which("sta")
    if program is None:
        raise ToolError(f"OpenSTA (sta) is missing. {REMEDY}")
    source = log.with_suffix(".tcl")
    source.write_text("\n".join(script) + "\n")
    result = subprocess.run([program, "-no_splash", "-exit", str(source)], capture_output=True, text=True, check=False)
    log.write_text(result.stdout + result.stderr)
    errors = [line for line in log.read_text().splitlines() if re.match(r"Error|.*[Ee]rror:", line)]
    if result.returncode or errors:
        raise ToolError("\n".join([f"OpenSTA failed, see {log}", *errors[:5]]))
    return result.stdout


def commands(netlist: Netlist, work: Path, period_ns: float) -> list[str]:
    """What reads a design that was written to `work` and gives it a clock."""
    return [
        *(f"read_liberty {path}" for path in netlist.technology.write(work, {cell.type for cell in netlist.cells})),
        f"read_liberty {work / 'memories.lib'}",
        f"read_verilog {work / 'netlist.v'}",
        f"link_design {netlist.top}",
        "set_cmd_units -time ns -capacitance pF",  # else those of the library that was read first
        *(["set_wire_load_model -name estimate -library memories"] if netlist.wire else []),
        f"set period {period_ns:.4f}",
        f"source {CONSTRAINTS}",
    ]


def shortest_period(netlist: Netlist, work: Path) -> tuple[float, list[str]]:
    """The clock's shortest period in ns, and the instances on the path that decides it, by module."""
    memory_liberty(netlist, work / "memories.lib")
    write_verilog(netlist, work / "netlist.v")
    period = 10.0 * netlist.technology.node.speed
    for _ in range(6):
        report = run([*commands(netlist, work, period), "report_checks -path_delay max -digits 4"], work / "timing.log")
        paths = re.split(r"(?=^Startpoint)", report, flags=re.MULTILINE)[1:]  # the worst of each group
        slacks = [float(slack[1]) for path in paths if (slack := re.search(r"(-?[\d.]+)\s+slack", path))]
        if not slacks or len(slacks) < len(paths):
            raise ToolError(f"OpenSTA found no path, see {work / 'timing.log'}")
        worst = min(slacks)
        if abs(worst) < 0.005 * netlist.technology.node.speed:
            break
        period -= worst
    names = re.findall(r"\bu(\d+)[\w]*/\w+ \(", paths[slacks.index(worst)])
    return period, list(dict.fromkeys(netlist.cells[int(name)].module for name in names))
