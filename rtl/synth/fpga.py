"""The spike core and its dense baseline on an FPGA: Lattice ECP5-85, placed and routed.

    python rtl/synth/fpga.py [--design NAME …] [--seeds N] [--out FILE] [--work DIR]

Yosys (`synth_ecp5`) maps a core, nextpnr places and routes it by itself, without pins: streams and registers are the
device's inside. The clock is the best of `--seeds` placements, as one would ship it, and all of them are listed.
Figures are *synthesised*: nothing ran on a board.

The results go to a JSON file and, as a table, to a Markdown file beside it; designs not asked for stay there.
Placements are kept in the work folder until their design changes, so a run that was ended goes on where it was. Exit
codes: 0 done; 2 bad arguments, a missing tool, or a design that does not fit.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tb"), str(ROOT / "plugin")]

from designs import Design, dense, spike  # noqa: E402
from netlist import program, yosys  # noqa: E402
from report import save  # noqa: E402
from synth import fingerprint  # noqa: E402
from toolchain import BASELINE, RTL, SOURCES, ToolError  # noqa: E402

RESULTS = HERE / "fpga.json"
DEVICE = "Lattice ECP5-85 (LFE5U-85F), speed grade 6"
PLACER = "nextpnr-ecp5"
#: What nextpnr is told to aim for; it stops improving where this is met.
TARGET_MHZ = 100
#: 256 adder slots or products each; 128 for `*`, whose products take one each of the device's 156 multipliers.
DESIGNS = {
    "spike 16x16, 16 slots": spike(16, 16, 16),
    "dense 8x4x8": dense(4, 8),
    "dense 8x2x8, *": dense(2, 8, multiply=True),
}
#: nextpnr's names of what is counted, and ours.
RESOURCES = {
    "TRELLIS_COMB": "lut4",
    "TRELLIS_FF": "registers",
    "TRELLIS_RAMW": "lut_memories",
    "DP16KD": "block_memories",
    "MULT18X18D": "multipliers",
}


def placer() -> str:
    """nextpnr for ECP5: the Python package's, else the system's. Raises ToolError if there is none."""
    try:
        return program(f"yowasp-{PLACER}")
    except ToolError:
        return program(PLACER)


def mapped(design: Design, work: Path) -> Path:
    """The design's netlist of ECP5 cells; mapped anew, and its placements forgotten, only if its sources or this file
    changed. Raises ToolError.
    """
    netlist, stamp = work / "netlist.json", work / "digest"
    digest = fingerprint(design, Path(__file__))
    if not (stamp.is_file() and stamp.read_text() == digest):
        work.mkdir(parents=True, exist_ok=True)
        for old in (stamp, *work.glob("report-*.json")):
            old.unlink(missing_ok=True)
        settings = " ".join(f"-G {name}={value}" for name, value in design.parameters.items())
        files = " ".join(map(str, [*SOURCES, *BASELINE]))
        yosys(
            [
                f"read_slang -D SYNTHESIS -I {RTL} {settings} --top {design.top} {files}",
                f"synth_ecp5 -top {design.top} -json {netlist}",
            ],
            work / "map.log",
        )
        stamp.write_text(digest)
    return netlist


def placed(netlist: Path, seed: int) -> dict[str, Any]:
    """nextpnr's report on one placement, made or kept: `utilization` by kind of cell, `fmax` by clock.

    Raises ToolError.
    """
    kept = netlist.with_name(f"report-{seed}.json")
    if kept.is_file():
        return json.loads(kept.read_text())
    # the packaged nextpnr sees the folder that it runs in
    report = netlist.with_name(f"placing-{seed}.json")
    command = [
        placer(), "--85k", "--package", "CABGA756", "--out-of-context", "--timing-allow-fail",
        "--json", netlist.name, "--freq", str(TARGET_MHZ), "--seed", str(seed), "--report", report.name,
    ]  # fmt: skip
    result = subprocess.run(command, cwd=netlist.parent, capture_output=True, text=True, check=False)
    log = netlist.with_name(f"place-{seed}.log")
    log.write_text(result.stdout + result.stderr)
    if result.returncode:
        errors = [line for line in log.read_text().splitlines() if line.startswith("ERROR")]
        raise ToolError("\n".join([f"{PLACER} failed, see {log}", *errors[:5]]))
    report.replace(kept)  # complete
    return json.loads(kept.read_text())


def clock(report: dict[str, Any]) -> float:
    """MHz of the design's only clock. Raises ToolError if there are more, or none."""
    clocks = report["fmax"]
    if len(clocks) != 1:
        raise ToolError(f"{PLACER} reports {len(clocks)} clocks ({', '.join(clocks)}); the cores have one")
    return float(next(iter(clocks.values()))["achieved"])


def crossed(report: dict[str, Any]) -> list[str]:
    """Instances on the slowest path between registers, the top ones alone, in order."""
    paths = [path for path in report.get("critical_paths", ()) if path["from"].startswith("posedge clk_i")]
    inside = [path for path in paths if path["to"].startswith("posedge clk_i")]
    if not inside:
        return []
    cells = [step[end]["cell"] for step in inside[0]["path"] for end in ("from", "to")]
    return list(dict.fromkeys(re.sub(r"\[.*|\..*|\$.*", "", cell) or "top" for cell in cells))


def measure(name: str, design: Design, seeds: int, work: Path) -> dict[str, Any]:
    """Everything about one design."""
    netlist = mapped(design, work / re.sub(r"\W+", "_", name.replace("*", "mul")))
    clocks: dict[int, float] = {}
    best: dict[str, Any] = {}
    for seed in range(1, seeds + 1):
        report = placed(netlist, seed)
        clocks[seed] = round(clock(report), 2)
        print(f"{name}: {clocks[seed]:.1f} MHz with seed {seed}", flush=True)
        if clocks[seed] == max(clocks.values()):
            best = report
    used = {ours: int(best["utilization"][theirs]["used"]) for theirs, ours in RESOURCES.items()}
    fmax = max(clocks.values())
    return {
        "name": name,
        "top": design.top,
        "shape": design.parameters,
        "macs_per_cycle": design.macs,
        **used,
        "fmax_mhz": fmax,
        "mhz_by_seed": clocks,
        "critical_path": crossed(best),
        "lut4_per_slot": round(used["lut4"] / design.macs, 1),
        "gmacs_per_second": round(design.macs * fmax / 1000, 2),
        "mmacs_per_second_per_lut4": round(design.macs * fmax / used["lut4"], 3),
    }


def table(results: dict[str, Any]) -> Iterator[str]:
    """The results as Markdown."""
    yield "# The spike core and its dense baseline on an FPGA"
    yield ""
    yield f"Made by `make fpga`; {results['label']}. Device: {results['device']}. Flow: {results['flow']}."
    yield ""
    yield (
        "| design | slots | LUT4 | registers | LUT memories | block memories | multipliers | MHz (all seeds) "
        "| LUT4 a slot | peak: 10^9 slots/s | 10^6 slots/s a LUT4 |"
    )
    yield "| --- |" + " --: |" * 10
    for entry in results["designs"]:
        seeds = ", ".join(f"{value:.1f}" for value in entry["mhz_by_seed"].values())
        yield (
            f"| {entry['name']} | {entry['macs_per_cycle']} | {entry['lut4']:,} | {entry['registers']:,} "
            f"| {entry['lut_memories']} | {entry['block_memories']} | {entry['multipliers']} "
            f"| {entry['fmax_mhz']:.1f} ({seeds}) | {entry['lut4_per_slot']:.0f} | {entry['gmacs_per_second']:.1f} "
            f"| {entry['mmacs_per_second_per_lut4']:.2f} |"
        )
    yield ""
    yield (
        "A slot is an adder of the spike core, which one spike takes for one cycle, or a product of the baseline, "
        "which every input takes, zero or not. LUT4: logic, carries and LUT memories, as nextpnr counts them. "
        "LUT memories: of 16 x 4 bits; block memories: of 18 kbit."
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="fpga.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--design", action="append", choices=list(DESIGNS), help="only this one; may be repeated")
    parser.add_argument("--seeds", type=int, default=1, help="placements to choose from; default: %(default)s")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "fpga", help="netlists and logs")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds {options.seeds}: at least one placement is needed")
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    try:
        placer()  # before minutes of mapping
        known = {entry["name"]: entry for entry in results.get("designs", ())}
        for name in options.design or DESIGNS:
            known[name] = measure(name, DESIGNS[name], options.seeds, options.work)
            results = {
                "label": "synthesised, placed and routed; no board",
                "device": DEVICE,
                "flow": f"Yosys synth_ecp5, {PLACER} without pins, aiming for {TARGET_MHZ} MHz",
                "designs": [known[name] for name in DESIGNS if name in known],
            }
            save(results, table(results), options.out)
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
