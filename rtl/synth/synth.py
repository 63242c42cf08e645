"""Area, clock, power and energy of the cores and their dense baseline, at several array sizes.

    python rtl/synth/synth.py [--liberty FILE …] [--wires] [--trace BUNDLE …] [--normal INPUTSxOUTPUTS …]
                              [--design NAME …] [--out FILE]

Every design is mapped to a cell library (OSU 180 nm, or the Liberty files given) by Yosys and timed by OpenSTA. With a
trace bundle, each of its layers runs on the RTL (and is compared, bit for bit), the same cycles are replayed on the
mapped netlist with cell delays, which has to show the same outputs, and the transitions of every net become energy.
`--normal` makes layers of normally distributed numbers (normal.py). Memories are estimates (sram.py).

The results go to a JSON file and, as tables, to a Markdown file beside it. Results of designs and layers that are not
asked for stay there. Exit codes: 0 done; 1 RTL, netlist and bundle
differ; 2 bad arguments or a missing tool.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tb"), str(ROOT / "plugin")]

import gates  # noqa: E402
import mapping  # noqa: E402
import normal  # noqa: E402
import numpy as np  # noqa: E402
import power  # noqa: E402
import report  # noqa: E402
import sta  # noqa: E402
import technology  # noqa: E402
from designs import DESIGNS, PARTS, Design  # noqa: E402
from images import dense_products  # noqa: E402
from run_trace import run  # noqa: E402
from spike_compressor.errors import InputError  # noqa: E402
from spike_compressor.trace import Layer, TraceError, open_bundle  # noqa: E402
from toolchain import BASELINE, GROUP, RTL, SOURCES, ToolError, sources_of  # noqa: E402

LIBRARY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
LIBRARY_REMEDY = "Debian and Ubuntu have it: apt install qflow-tech-osu018"
RESULTS = HERE / "results.json"
FLOW = [
    HERE / name
    for name in ("mapping.py", "technology.py", "clock_gates.py", "cells.py", "liberty_text.py", "libraries.json")
]


def fingerprint(design: Design, *flow: Path) -> str:
    """Changes with the design, its sources, or a file of the flow that maps it."""
    digest = hashlib.sha256(json.dumps([design.top, design.parameters]).encode())
    for path in (*sources_of(design.top), *flow):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def mapped(design: Design, cells: technology.Technology, work: Path, *, wires: bool = False) -> gates.Netlist:
    """The design's netlist, with wires or without; mapped anew only if sources, library or flow changed."""
    digest, stamp = fingerprint(design, *FLOW, *cells.library.paths), work / "digest"
    if not (stamp.is_file() and stamp.read_text() == digest):
        sources = [*SOURCES, *BASELINE, *GROUP]
        mapping.synthesise(design.top, design.parameters, sources, RTL, cells, work, keep=PARTS)
        stamp.write_text(digest)
    modules = json.loads((work / "netlist.json").read_text())["modules"]
    flat = gates.flatten(modules, design.top, cells)
    if wires:
        flat.lay_wires()
    gates.buffer(flat)
    return flat


def simulator(work: Path) -> Path:
    """The netlist's simulator, compiled. Raises ToolError without a compiler."""
    program, source = work / "toggle", HERE / "toggle.cpp"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        work.mkdir(parents=True, exist_ok=True)
        command = ["c++", "-O2", "-std=c++17", "-o", str(program), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise ToolError("c++ is missing: install g++") from error
        except subprocess.CalledProcessError as error:
            raise ToolError(f"toggle.cpp does not compile:\n{error.stderr}") from error
    return program


#: Outputs whose value means something only while another is 1
VALID = {
    **{
        f"m_axis_{stream}_{part}_o": f"m_axis_{stream}_tvalid_o"
        for stream in ("acc", "spike")
        for part in ("tdata", "tkeep", "tlast")
    },
    "s_axil_rdata_o": "s_axil_rvalid_o",
    "s_axil_rresp_o": "s_axil_rvalid_o",
    "s_axil_bresp_o": "s_axil_bvalid_o",
}


def energy(
    design: Design,
    flat: gates.Netlist,
    bundle_path: Path,
    name: str,
    work: Path,
    toggle: Path,
) -> dict[str, Any]:
    """Run one layer on RTL and netlist; energies in pJ by part of the design, and what happened.

    Raises AssertionError if bundle, RTL and netlist are not all equal.
    """
    bundle = open_bundle(bundle_path)
    record = work / "ports.txt"
    options: dict[str, Any] = {"shape": design.shape, "dense": design.dense, "multiply": design.multiply}
    options["planes"] = design.planes
    (verdict,) = run(bundle, [name], seed=1, stalls=False, quiet=True, spike_stream=False, record=record, **options)
    if verdict["error"]:
        raise AssertionError(verdict["error"])
    valid = {port: guard for port, guard in VALID.items() if any(port == out for out, _ in flat.outputs)}
    gates.write_toggle(flat, work / "netlist.txt", valid)
    command = [str(toggle), str(work / "netlist.txt"), str(record), str(work / "counts.txt")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    record.unlink()
    if result.returncode:
        raise AssertionError(f"{design.top}, layer {name}: netlist and RTL differ: {result.stderr.strip()}")
    counts = power.Counts(work / "counts.txt")
    parts = power.energy(flat, counts)
    layer = bundle.layer(name)
    macs = layer.info.tokens * layer.info.in_features * layer.info.out_features
    total = sum(parts.values())
    return {
        "bundle": bundle_path.name,
        "layer": name,
        "rows": layer.info.tokens,
        "inputs": layer.info.in_features,
        "outputs": layer.info.out_features,
        "spikes_per_input": float(np.count_nonzero(layer.spikes) / (layer.info.tokens * layer.info.in_features)),
        "cycles": counts.cycles,
        "core_cycles": verdict["cycles"],
        "words": verdict["counters"]["words"],
        **events(design, layer),
        "macs": macs,
        "energy_pj": total,
        "energy_per_mac_pj": total / macs,
        "power_mw_at_100_mhz": total / counts.cycles / 10,
        "energy_by_part_pj": {key: round(value, 1) for key, value in sorted(parts.items(), key=lambda item: -item[1])},
    }


def events(design: Design, layer: Layer) -> dict[str, int]:
    """What takes energy beside cycles: additions, and products, or steps of groups in an encoder."""
    outputs = layer.info.out_features
    if design.kind == "group":
        encoded = int(layer.timesteps.astype(np.int64).sum()) * layer.info.in_features // 4
        return {"encoded": encoded, "additions": encoded * outputs}  # whatever fires
    products = dense_products(layer, design.shape, design.planes or design.shape.tmax)
    return {"additions": int(np.count_nonzero(layer.spikes)) * outputs, "products": int(products.sum())}


def coefficients(runs: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[str, float]:
    """pJ of each event by least squares over the runs' energies, relative errors counting alike; none is negative."""
    left = list(keys)
    while left:
        a = np.array([[run[key] / run["energy_pj"] for key in left] for run in runs])
        found = np.linalg.lstsq(a, np.ones(len(runs)), rcond=None)[0]
        if (found >= 0).all():
            return dict(zip(left, map(float, found), strict=True))
        left.pop(int(np.argmin(found)))
    raise AssertionError("energies are not positive")


# The baseline does not add spikes, but a product of more of them changes more nets.
EVENTS = {
    "spike": ("cycles", "words", "additions"),
    "dense": ("cycles", "products", "additions"),
    "group": ("cycles", "encoded", "additions"),
}
# The word of a group core is what an encoder does in a step.
SINGULAR = {"cycles": "cycle", "words": "word", "additions": "addition", "products": "mac", "encoded": "word"}


def fitted(entry: dict[str, Any], kind: str) -> dict[str, Any]:
    """The model of energy that `make rtl-bench` uses, and how far it is from the runs that made it.

    Empty as long as there are fewer runs than kinds of events.
    """
    runs = entry["runs"]
    if len(runs) < len(EVENTS[kind]):
        return {}
    found = coefficients(runs, EVENTS[kind])
    wrong = [sum(found[key] * one[key] for key in found) / one["energy_pj"] - 1 for one in runs]
    return {
        "energy_pj": {SINGULAR[key]: value for key, value in found.items()},
        "energy_error": max(map(abs, wrong)),
    }


def measure(
    name: str,
    design: Design,
    layers: Sequence[tuple[Path, str]],
    work: Path,
    before: dict[str, Any],
    cells: technology.Technology,
    *,
    wires: bool = False,
) -> dict[str, Any]:
    """Everything about one design; `layers` are bundles and names to run."""
    folder = work / cells.slug / name.replace(" ", "_").replace(",", "").replace("*", "mul")
    start = time.monotonic()
    flat = mapped(design, cells, folder, wires=wires)
    print(f"{name}: {len(flat.cells):,} cells after {time.monotonic() - start:.0f} s", flush=True)
    period, path = sta.shortest_period(flat, folder)
    areas = gates.areas(flat)
    total = sum(areas.values())
    memory = sum(value for part, value in areas.items() if part.endswith(" memory"))
    entry: dict[str, Any] = {
        "name": name,
        "top": design.top,
        "shape": design.parameters,
        "macs_per_cycle": design.macs,
        "area_um2": round(total),
        "area_of_memories_um2": round(memory),
        "area_by_part_um2": {part: round(value) for part, value in areas.items()},
        "area_per_slot_um2": round(total / design.macs),
        "period_ns": round(period, 3),
        "fmax_mhz": round(1000 / period, 1),
        "critical_path": path,
        "cells": len(flat.cells),
        "runs": [],
    }
    print(
        f"  {total / 1e6:.2f} mm2 ({memory / 1e6:.2f} memories), {total / design.macs:,.0f} um2 a slot, "
        f"{1000 / period:.0f} MHz ({', '.join(path)})",
        flush=True,
    )
    same = before.get("area_by_part_um2") == entry["area_by_part_um2"]
    kept = {(one["bundle"], one["layer"]): one for one in before.get("runs", ()) if same}
    toggle = simulator(work)
    for trace, layer in layers:
        if (trace.name, layer) not in kept:
            found = energy(design, flat, trace, layer, folder, toggle)
            kept[trace.name, layer] = found
        one = kept[trace.name, layer]
        print(
            f"  {layer}: {one['spikes_per_input']:.2f} spikes an input, {one['cycles']:,} cycles, "
            f"{one['energy_per_mac_pj']:.2f} pJ a MAC after {time.monotonic() - start:.0f} s",
            flush=True,
        )
    entry["runs"] = list(kept.values())
    return entry


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="synth.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--trace", type=Path, action="append", default=[], help="bundle of a few rows; may be repeated")
    parser.add_argument(
        "--normal", type=normal.size, action="append", default=[], help="a layer of normal numbers, as 512x256"
    )
    parser.add_argument("--layer", action="append", help="only this layer of the bundles; may be repeated")
    parser.add_argument("--design", action="append", choices=list(DESIGNS), help="only this one; may be repeated")
    parser.add_argument("--liberty", type=Path, nargs="+", default=[], help="the library's files; default: OSU 180 nm")
    parser.add_argument("--description", type=Path, help="of a library that rtl/synth/libraries.json does not know")
    parser.add_argument("--wires", action="store_true", help="with wires, estimated")
    parser.add_argument("--out", type=Path, help="default: results.json, or results_LIBRARY.json, beside this file")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "synth", help="netlists and logs")
    options = parser.parse_args(arguments)
    if not options.liberty and not LIBRARY.is_file():
        print(f"error: no cell library at {LIBRARY}. {LIBRARY_REMEDY}, or name one with LIBERTY=", file=sys.stderr)
        return 2
    try:
        cells = technology.find(options.liberty or [LIBRARY], options.description)
        wires = "wires estimated" if options.wires else "no wires"
        known = RESULTS if not options.liberty else RESULTS.with_name(f"results_{cells.slug}.json")
        out = options.out or (known.with_stem(f"{known.stem}_wires") if options.wires else known)
        results: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
        given = [
            (path, info.name)
            for path in options.trace
            for info in open_bundle(path).infos
            if not options.layer or info.name in options.layer
        ]
        for name in options.design or DESIGNS:
            design = DESIGNS[name]
            key = design.kind
            layers = [*given, *(normal.layer(design, size, options.work) for size in options.normal)]
            others = {entry["name"]: entry for entry in results.get(key, ())}
            others[name] = measure(name, design, layers, options.work, others.get(name, {}), cells, wires=options.wires)
            results[key] = [others[known] for known in DESIGNS if known in others]
            for entry in results[key]:
                entry |= fitted(entry, key)
            results["label"] = "area, clock: synthesised; energy: simulated netlist; memories: estimated"
            results["library"] = f"{cells.name}; {wires}"
            report.save(results, report.table(results), out)
    except (InputError, TraceError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
