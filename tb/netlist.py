"""Yosys (the `pyosys` package, with its slang front end) for the proofs and the mutation test."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolchain import ToolError

REMEDY = "`make verify-setup` installs it"

# Runs Yosys commands from standard input.
DRIVER = "import sys\nfrom pyosys import libyosys\nfor line in sys.stdin: libyosys.run_pass(line.strip())"


def yosys(script: Sequence[str], log: Path) -> str:
    """Run Yosys commands in a process of its own; returns what it printed. Raises ToolError when one fails."""
    if importlib.util.find_spec("pyosys") is None:
        raise ToolError(f"pyosys is missing; {REMEDY}")
    command = [sys.executable, "-c", DRIVER]
    result = subprocess.run(command, input="\n".join(script), capture_output=True, text=True, check=False)
    log.write_text(result.stdout + result.stderr)
    if result.returncode:
        telling = [line for line in log.read_text().splitlines() if re.search(r"ERROR|error:|Error", line)]
        raise ToolError("\n".join([f"yosys failed, see {log}", *telling[:10]]))
    return result.stdout


def program(name: str) -> str:
    """Path of a tool that a Python package brought, or of the system's. Raises ToolError when there is neither."""
    homes = [Path(sys.executable).parent]
    spec = importlib.util.find_spec("pyosys")
    if spec and spec.origin:
        homes.append(Path(spec.origin).parent)
    for home in homes:
        if (home / name).is_file():
            return str(home / name)
    found = shutil.which(name)
    if found is None:
        raise ToolError(f"{name} is missing; {REMEDY}")
    return found


def combinational_paths(design: Mapping[str, Any], top: str) -> set[tuple[str, str]]:
    """Pairs of an input and an output of a flat module between which no register lies.

    Args:
        design: what Yosys' `write_json` writes; every bit is followed on its own.
        top: the module.
    """
    module = design["modules"][top]
    readers: dict[int, list[Mapping[str, Any]]] = {}
    for cell in module["cells"].values():
        if "CLK" in cell["connections"] and not cell["type"].startswith("$memrd"):
            continue
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    readers.setdefault(bit, []).append(cell)
    ports = module["ports"].items()
    outputs = {bit: name for name, port in ports if port["direction"] == "output" for bit in port["bits"]}
    found = set()
    for name, port in ports:
        reached, front = set(), list(port["bits"]) if port["direction"] == "input" else []
        while front:
            bit = front.pop()
            if bit in reached or isinstance(bit, str):
                continue
            reached.add(bit)
            if bit in outputs:
                found.add((name, outputs[bit]))
            for cell in readers.get(bit, ()):
                for side, bits in cell["connections"].items():
                    if cell["port_directions"][side] == "output":
                        front.extend(bits)
    return found
