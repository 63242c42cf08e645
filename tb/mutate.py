"""Faults in a core's netlist, one at a time: does the regression of the whole core notice each of them?

    .venv/bin/python tb/mutate.py [--core group] [--count 150] [--seed 1] [--jobs 2] [--out FILE]

Yosys lists faults all over the flattened core (`mutate`: a bit inverted, stuck, or crossed with another) and puts
them behind a control input, so that one compiled simulator has them all. The netlist has no assertions: only what the
benches compare, and the streams' own rules in their sinks, can kill a fault. What is known of a fault is kept: a
campaign that was killed goes on where it was. Of the group core faults lie in the modules that only it has, of the core
that caps (`--core capped`) in those that only capped firing needs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ledger import Ledger, benches
from netlist import yosys
from targets import TARGETS, Target
from toolchain import BUILD, HARNESS, RTL, TB, ToolError, build, simulate

CONTROL = TB / "hdl" / "mutant.vlt"
WORK = BUILD / "mutation"
LIMIT = 1023  # what the control input can choose
SPARE = 2  # times as many candidates are drawn as are wanted: some cannot change anything
MOST = 20_000  # candidates, where many lie outside what is looked at


@dataclass(frozen=True)
class Fault:
    """A fault and what became of it.

    Attributes:
        number: that chooses it.
        mode: Yosys' name of what is done: inv, const0, const1, cnot0, cnot1.
        where: port and bit of the cell.
        wire: the signal next to it, with its bit, where Yosys knows one.
        source: file and line.
        killed_by: tests that failed, or the simulator's complaint; empty for a survivor.
    """

    number: int
    mode: str
    where: str
    wire: str
    source: str
    killed_by: str = ""


def wrapper(source: str) -> str:
    """A module with name, parameters and ports of a core, `source`, around the netlist `mutant_core`.

    `+mutation=N` chooses the fault; 0 is none.
    """
    head = re.search(r"^module \w+_core\b.*?^\);", source, re.DOTALL | re.MULTILINE)
    assert head is not None
    ports = re.findall(r"^  (?:input|output) .*?(\w+),?(?: +//.*)?$", head[0], re.MULTILINE)
    connections = "".join(f", .{port}" for port in ports)
    return f"""{head[0]}
  logic [9:0] mutation;
  initial if ($value$plusargs("mutation=%d", mutation) == 0) mutation = '0;
  mutant_core u_mutant (.mutation{connections});
endmodule
"""


def prepare(target: Target, count: int, seed: int) -> tuple[list[Path], list[Fault]]:
    """What takes the core's place, with `count` faults, and the faults. Raises ToolError."""
    if not 1 <= count <= LIMIT:
        raise ToolError(f"{count} faults; one simulator holds from 1 to {LIMIT}")
    work, top = target.work(WORK), target.top
    work.mkdir(parents=True, exist_ok=True)
    settings = " ".join(f"-G {name}={value}" for name, value in target.parameters.items())
    listed, netlist = work / "faults.ys", work / "mutant_core.v"
    healthy, core = work / "core.il", work / "core.json"
    drawn = MOST if target.within or target.modules else SPARE * count
    yosys(
        [
            f"read_slang -D SYNTHESIS=1 -I {RTL} {settings} --top {top} {' '.join(map(str, target.sources))}",
            f"hierarchy -check -top {top}",
            "proc",
            "flatten",
            # a bit that nothing reads, or that never changes, is no place for a fault
            "opt -full",
            "wreduce",
            "opt -full",
            "clean -purge",
            "rename -top mutant_core",
            f"write_rtlil {healthy}",
            f"write_json {core}",
            f"mutate -list {drawn} -seed {seed} -o {listed}",
        ],
        work / "choose.log",
    )
    cells = json.loads(core.read_text())["modules"]["mutant_core"]["cells"]
    candidates = [
        line for line in listed.read_text().splitlines() if _within(target, line) and not _idle(_fields(line), cells)
    ]
    if len(candidates) < count:
        raise ToolError(f"there are {len(candidates)} places for faults, too few for {count}")
    # an even choice of an even choice
    chosen = [candidates[i * len(candidates) // count] for i in range(count)]
    commands = [line.replace("mutate ", f"mutate -ctrl mutation 10 {i} ", 1) for i, line in enumerate(chosen, 1)]
    listed.write_text("\n".join(commands) + "\n")
    yosys(
        [f"read_rtlil {healthy}", f"script {listed}", "opt_clean", f"write_verilog -noattr {netlist}"],
        work / "break.log",
    )
    outer = work / f"{top}.sv"
    outer.write_text(wrapper(target.path.read_text(encoding="utf-8")), encoding="utf-8")
    return [CONTROL, netlist, outer], [_parse(i, line) for i, line in enumerate(chosen, 1)]


def _within(target: Target, line: str) -> bool:
    """Whether a fault lies in modules that are looked at, and in no other one, as registers that they share would."""
    found = re.findall(r"rtl/(\S+?)\.sv", line)
    if target.modules:
        return bool(found) and all(one in target.modules for one in found)
    return not target.within or bool(found and all(one.startswith(f"{target.within}/") for one in found))


def _fields(line: str) -> dict[str, str]:
    return dict(re.findall(r"-(mode|cell|port|portbit|ctrlbit|wire|wirebit) (\S+)", line))


def _idle(fields: Mapping[str, str], cells: Mapping[str, Any]) -> bool:
    """Whether a fault cannot change anything, whatever the inputs.

    That is one at an input bit that is constant (where Yosys has `x`, no value is ever chosen), or one of a comparison
    with a constant that only shows when a bit differs from the constant anyway. Nor is a clock a place for a fault: it
    is no logic, and every bench notices that it stands still.
    """
    if fields["port"].endswith("CLK"):
        return True
    cell = cells[fields["cell"]]
    bits = cell["connections"][fields["port"]]
    if cell["port_directions"][fields["port"]] == "output":
        return False
    if isinstance(bits[int(fields["portbit"])], str):
        return True
    if cell["type"] == "$eq" and fields["mode"].startswith("cnot"):
        other = cell["connections"]["B" if fields["port"] == "A" else "A"]
        at = int(fields["ctrlbit"])
        want = other[at] if at < len(other) else "0"
        # cnot0 acts where the other bit is 0, cnot1 where it is 1
        return want in ("0", "1") and want != fields["mode"][-1]
    # one of the bits is set, whichever: so it is where another bit is
    return cell["type"] in ("$reduce_or", "$reduce_bool", "$logic_not") and fields["mode"] == "cnot1"


def _parse(number: int, line: str) -> Fault:
    fields = _fields(line)
    sources = re.findall(r"-src \S*?rtl/(\S+?)\.\d", line)
    where = f"{fields['cell']}.{fields['port']}[{fields['portbit']}]"
    if "ctrlbit" in fields:
        where += f" with [{fields['ctrlbit']}]"
    wire = f"{fields['wire']}[{fields['wirebit']}]" if "wire" in fields else ""
    return Fault(number, fields["mode"], where, wire, ", ".join(dict.fromkeys(sources)))


def attack(core: str, folder: Path, fault: Fault, seed: int) -> Fault:
    """Run the regression on a fault, up to the first stage that notices it."""
    target = TARGETS[core]
    work = target.work(WORK) / f"fault{fault.number}"
    shutil.rmtree(work, ignore_errors=True)
    killed = ""
    for stage in target.stages:
        killed = regression(target.bench, folder, work, stage, fault.number, seed)
        if killed:
            break
    shutil.rmtree(work, ignore_errors=True)
    return Fault(**{**asdict(fault), "killed_by": killed})


def regression(bench: str, folder: Path, work: Path, tests: Sequence[str], number: int, seed: int) -> str:
    """What failed of these tests on a fault; empty if nothing did."""
    images = work / "images"
    try:
        simulate(
            folder,
            "core_harness",
            bench,
            work,
            seed=seed,
            testcase=list(tests),
            plusargs=[f"+images={images}", f"+mutation={number}"],
            env={"SPIKE_IMAGES": str(images)},
        )
    except AssertionError as error:
        names = re.findall(rf"{bench}\.(\w+) +FAIL", (work / "sim.log").read_text(errors="replace"))
        return ", ".join(names) or str(error).splitlines()[0].split(";")[0]
    return ""


def campaign(core: str, count: int, seed: int, jobs: int) -> list[Fault]:
    """All faults of a core with what killed them.

    Args:
        core: of TARGETS.

    Raises ToolError, and RuntimeError if the netlist fails without a fault.
    """
    target = TARGETS[core]
    sources, faults = prepare(target, count, seed)
    folder = build("core_harness", target.harness, fast=True, replaced={target.path: sources})
    ledger = Ledger(f"{core}-faults", [*sources, *HARNESS, *benches(target.bench)])
    known = {fault: ledger.get(f"{fault.number}, seed {seed}") for fault in faults}
    waiting = [fault for fault, result in known.items() if result is None]
    if len(waiting) < count:
        print(f"{count - len(waiting)} of {count} faults are known from an earlier run, see {ledger.path}", flush=True)
    elif (healthy := attack(core, folder, Fault(0, "none", "", "", ""), seed)).killed_by:
        raise RuntimeError(f"the netlist fails without any fault: {healthy.killed_by}")
    started = time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        for fault in pool.map(attack, [core] * len(waiting), [folder] * len(waiting), waiting, [seed] * len(waiting)):
            ledger.add(f"{fault.number}, seed {seed}", asdict(fault))
            state = f"killed by {fault.killed_by}" if fault.killed_by else f"SURVIVED: {fault.wire} {fault.source}"
            print(f"{fault.number:4}/{count} {time.monotonic() - started:5.0f} s  {fault.mode:6} {state}", flush=True)
    return [Fault(**(ledger.get(f"{fault.number}, seed {seed}") or {})) for fault in faults]


def reason(core: str, fault: Fault) -> str:
    """Why a fault of a core survived, as far as we know."""
    place = f"{fault.mode} {fault.wire} {fault.where} {' '.join(map(_text, fault.source.split(', ')))}"
    return next((why for pattern, why in TARGETS[core].reasons if re.search(pattern, place)), "not explained")


def _text(source: str) -> str:
    """The line of a source that `file:number` names."""
    file, _, number = source.partition(":")
    return f"{file} {(RTL / file).read_text(encoding='utf-8').splitlines()[int(number) - 1].strip()}"


def summary(core: str, faults: Sequence[Fault], count: int, seed: int) -> dict[str, object]:
    """The result as plain values; `equal` counts survivors that do not change what the core does."""
    killed = sum(bool(fault.killed_by) for fault in faults)
    survivors = [asdict(fault) | {"reason": reason(core, fault)} for fault in faults if not fault.killed_by]
    return {
        "label": "simulated",
        "command": f"python tb/mutate.py --core {core} --count {count} --seed {seed}",
        "shape": asdict(TARGETS[core].shape),
        "faults": len(faults),
        "killed": killed,
        "equal": sum(one["reason"].startswith("equal") for one in survivors),
        "survivors": survivors,
        "killed_by": {fault.number: fault.killed_by for fault in faults if fault.killed_by},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", choices=list(TARGETS), default="spike", help="which (default: spike)")
    parser.add_argument("--count", type=int, default=150, help="faults (default: 150)")
    parser.add_argument("--seed", type=int, default=1, help="of their choice, and of the benches (default: 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--out", type=Path, help="where the result goes, as JSON")
    args = parser.parse_args()
    try:
        faults = campaign(args.core, args.count, args.seed, args.jobs)
    except (ToolError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    result = summary(args.core, faults, args.count, args.seed)
    out = args.out or TARGETS[args.core].work(WORK) / "result.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{result['killed']} of {result['faults']} faults killed, {result['equal']} equal; see {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
