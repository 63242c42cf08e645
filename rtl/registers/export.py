"""Makes what others need of the registers from their one description, `spike_core.rdl`.

    python rtl/registers/export.py            write the C header, the map for the benches, the page of the documentation
    python rtl/registers/export.py --check    say which of them are not what the description gives; exit code 1 then

`make registers` runs it. The RTL itself is checked, not made: `tb/bench_ports.py` asks both cores for every register.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from peakrdl_cheader.c_standards import CStandard
    from peakrdl_cheader.exporter import CHeaderExporter
    from systemrdl import RDLCompiler
    from systemrdl.node import AddrmapNode, RegfileNode, RegNode
except ImportError as error:
    sys.exit(f"error: {error}; `make verify-setup` installs it")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = HERE / "spike_core.rdl"
HEADER = ROOT / "rtl" / "driver" / "spike_core_regs.h"
MAP = HERE / "spike_core.json"
PAGE = ROOT / "docs" / "registers.md"


def compiled() -> AddrmapNode:
    """The elaborated description. Raises RDLCompileError when it is wrong."""
    compiler = RDLCompiler()
    compiler.compile_file(str(SOURCE))
    return compiler.elaborate().top


def access(field: Any) -> str:
    """How software sees a field: R, R/W, W, or R/W1C."""
    if field.get_property("onwrite") is not None:
        return "R/W1C"
    return {"r": "R", "rw": "R/W", "w": "W"}[field.get_property("sw").name]


def register(node: RegNode) -> dict[str, Any]:
    """A register as plain values."""
    fields = [
        {
            "name": field.inst_name,
            "lsb": field.lsb,
            "width": field.width,
            "access": access(field),
            "reset": field.get_property("reset"),
            "text": field.get_property("desc"),
        }
        for field in node.fields()
    ]
    return {
        "name": node.inst_name,
        "address": node.raw_absolute_address,
        "text": node.get_property("desc"),
        "fields": fields,
    }


def mapped(top: AddrmapNode) -> dict[str, Any]:
    """The whole map: registers, counters in their order, codings."""
    registers, counters = [], {}
    for node in top.children():
        if isinstance(node, RegNode):
            registers.append(register(node))
        elif isinstance(node, RegfileNode):
            low, high = node.registers()
            names = [
                {"name": m.name, "text": m.rdl_desc}
                for m in sorted(next(iter(high.fields())).get_property("encode"), key=lambda m: m.value)
            ]
            counters = {
                "base": node.raw_address_offset,
                "stride": node.array_stride,
                "high": high.address_offset - low.address_offset,
                "names": names,
            }
            if node.array_dimensions != [len(names)]:
                raise SystemExit(
                    f"error: {node.inst_name} is no array of the {len(names)} counters that counter_e names"
                )
    return {"registers": registers, "counters": counters}


def header(top: AddrmapNode) -> str:
    """The C header, by PeakRDL-cheader."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / HEADER.name
        CHeaderExporter().export(top, str(path), std=CStandard.gnu99)
        text = "\n".join(line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()).strip()
    licence = "// Copyright spike-compressor contributors.\n// SPDX-License-Identifier: Apache-2.0\n//\n"
    return f"{licence}// Made by rtl/registers/export.py from spike_core.rdl.\n{text}\n"


def page(found: dict[str, Any]) -> str:
    """The page of the documentation."""
    lines = [
        "# Registers of the core",
        "",
        "Made by `make registers` from `rtl/registers/spike_core.rdl`, as are the C header",
        "`rtl/driver/spike_core_regs.h` and the map that benches read, `rtl/registers/spike_core.json`.",
        "`tb/bench_ports.py` checks core and dense baseline against it, address by address.",
        "[rtl.md](rtl.md#registers) says how the registers are used. Bits that are not listed read 0.",
        "",
        "| address | register | bits | field | access | after reset | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in found["registers"]:
        for at, field in enumerate(one["fields"]):
            top = field["lsb"] + field["width"] - 1
            bits = f"{top}:{field['lsb']}" if field["width"] > 1 else str(top)
            reset = "" if field["reset"] is None or field["access"] == "W" else f"0x{field['reset']:X}"
            first = (f"0x{one['address']:02X}", one["name"]) if at == 0 else ("", "")
            text = "; ".join(filter(None, [one["text"] if at == 0 else "", field["text"]]))
            lines.append(
                f"| {first[0]} | {first[1]} | {bits} | {field['name']} | {field['access']} | {reset} | {text} |"
            )
    counters = found["counters"]
    base, stride, high = counters["base"], counters["stride"], counters["high"]
    lines += [
        "",
        "## Counters",
        "",
        f"64 bits each: the low word of counter i is at 0x{base:02X} + {stride} i, the high word {high} bytes on.",
        "Read the low word first: it keeps the high word until the next low word is read, whatever is read in between.",
        "",
        "| i | counter | counts |",
        "| --- | --- | --- |",
        *(f"| {i} | {one['name']} | {one['text']} |" for i, one in enumerate(counters["names"])),
    ]
    return "\n".join(lines) + "\n"


def made() -> dict[Path, str]:
    """Every file that follows from the description, with its text."""
    top = compiled()
    found = mapped(top)
    return {HEADER: header(top), MAP: json.dumps(found, indent=1) + "\n", PAGE: page(found)}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="export.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    options = parser.parse_args(arguments)
    files = made()
    stale = [p for p, text in files.items() if not p.exists() or p.read_text(encoding="utf-8") != text]
    for path in stale:
        if options.check:
            print(f"{path.relative_to(ROOT)} is not what {SOURCE.name} gives; run `make registers`")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
