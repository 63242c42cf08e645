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
#: Address maps of the description, by name: where each begins in a core that has it.
MAPS = {"spike_core": 0, "spike_streamer": 0x100}
PAGE = ROOT / "docs" / "registers.md"


def compiled(name: str) -> AddrmapNode:
    """An address map of the description, elaborated. Raises RDLCompileError when it is wrong."""
    compiler = RDLCompiler()
    compiler.compile_file(str(SOURCE))
    return compiler.elaborate(top_def_name=name).top


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
    """A whole map: registers, counters in their order."""
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
    return {"registers": registers} | ({"counters": counters} if counters else {})


def header_path(name: str) -> Path:
    """Where the C header of a map is."""
    return ROOT / "rtl" / "driver" / f"{name}_regs.h"


def map_path(name: str) -> Path:
    """Where the map is that benches read."""
    return HERE / f"{name}.json"


def header(top: AddrmapNode) -> str:
    """The C header, by PeakRDL-cheader."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / header_path(top.inst_name).name
        CHeaderExporter().export(top, str(path), std=CStandard.gnu99)
        text = "\n".join(line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()).strip()
    licence = "// Copyright spike-compressor contributors.\n// SPDX-License-Identifier: Apache-2.0\n//\n"
    return f"{licence}// Made by rtl/registers/export.py from spike_core.rdl.\n{text}\n"


def table(base: int, found: dict[str, Any]) -> list[str]:
    """The registers of a map that begins at `base`, as a table."""
    lines = [
        "| address | register | bits | field | access | after reset | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in found["registers"]:
        for at, field in enumerate(one["fields"]):
            top = field["lsb"] + field["width"] - 1
            bits = f"{top}:{field['lsb']}" if field["width"] > 1 else str(top)
            reset = "" if field["reset"] is None or field["access"] == "W" else f"0x{field['reset']:X}"
            first = (f"0x{base + one['address']:02X}", one["name"]) if at == 0 else ("", "")
            text = "; ".join(filter(None, [one["text"] if at == 0 else "", field["text"]]))
            lines.append(
                f"| {first[0]} | {first[1]} | {bits} | {field['name']} | {field['access']} | {reset} | {text} |"
            )
    return lines


def counted(counters: dict[str, Any]) -> list[str]:
    """The counters of a map, as a section."""
    base, stride, high = counters["base"], counters["stride"], counters["high"]
    return [
        "## Counters",
        "",
        f"64 bits each: the low word of counter i is at 0x{base:02X} + {stride} i, the high word {high} bytes on.",
        "Read the low word first: it keeps the high word until the next low word is read, whatever is read in between.",
        "",
        "| i | counter | counts |",
        "| --- | --- | --- |",
        *(f"| {i} | {one['name']} | {one['text']} |" for i, one in enumerate(counters["names"])),
    ]


def page(maps: dict[str, dict[str, Any]]) -> str:
    """The page of the documentation."""
    core, streamer = maps["spike_core"], maps["spike_streamer"]
    lines = [
        "# Registers of the core",
        "",
        "Made by `make registers` from `rtl/registers/spike_core.rdl`, as are the C headers",
        "`rtl/driver/*_regs.h` and the maps that benches read, `rtl/registers/*.json`.",
        "`tb/bench_ports.py` checks core and dense baseline against it, address by address.",
        "[rtl.md](rtl.md#registers) says how the registers are used. Bits that are not listed read 0.",
        "",
        *table(MAPS["spike_core"], core),
        "",
        *counted(core["counters"]),
        "",
        "## Registers of the streamer",
        "",
        "A [streamed core](rtl.md#streamer) has them behind those of the core. `tb/bench_streamed.py` checks them.",
        "",
        *table(MAPS["spike_streamer"], streamer),
    ]
    return "\n".join(lines) + "\n"


def made() -> dict[Path, str]:
    """Every file that follows from the description, with its text."""
    files, maps = {}, {}
    for name in MAPS:
        top = compiled(name)
        maps[name] = mapped(top)
        files[header_path(name)] = header(top)
        files[map_path(name)] = json.dumps(maps[name], indent=1) + "\n"
    return files | {PAGE: page(maps)}


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
