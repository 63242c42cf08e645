"""The whole verification campaign of the core, with floors; what `make rtl-full` runs.

    .venv/bin/python tb/full.py [--seeds 3] [--faults 150] [--out tb/full.json]

Every bench on every build with line, branch and toggle coverage and all assertions, for several seeds; the core at the
limits of its parameters; all proofs; faults in the netlist. What is finished is kept: after a kill, the same command
goes on where it was, as long as no source that matters has changed. The exit code is 1 if anything failed or a floor
was missed, 2 if a tool is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import code_coverage
import functional_coverage
import mutate
import shapes
from formal.prove import FORMAL, PROOFS, prove
from ledger import Ledger, benches, design, digest
from regression import REPLAYS, SHAPES, UNITS, core, replay, unit
from toolchain import BUILD, ROOT, RTL, TB, ToolError

OUT = TB / "full.json"
PAGE = ROOT / "docs" / "results" / "rtl_full.md"
#: Per cent that must be reached.
FLOORS = {"functional": 100.0, "line": 95.0, "branch": 95.0, "toggle": 90.0, "faults": 95.0}
#: Lines that no simulation can run, by file: what stands in the line, and why.
WAIVED = {
    "spike_csa.sv": {
        "function automatic": "a constant function: it runs when the design is elaborated",
    },
    "spike_neuron_array.sv": {"default:": "no state is left for it; it is there for what a particle may do"},
    "spike_sequencer.sv": {"default:": "no state is left for it; it is there for what a particle may do"},
}


@dataclass(frozen=True)
class Run:
    """A bench on a build with a seed.

    Attributes:
        failure: what the simulator said; empty if all tests passed.
    """

    name: str
    seed: int
    seconds: float
    folder: str = ""
    failure: str = ""


def _timed(name: str, seed: int, run: Callable[[], Path]) -> Run:
    started = time.monotonic()
    try:
        folder = str(run())
        return Run(name, seed, time.monotonic() - started, folder)
    except AssertionError as error:
        return Run(name, seed, time.monotonic() - started, failure=str(error))


def run_core(name: str, seed: int) -> Run:
    return _timed(f"core {name}", seed, lambda: core(name, seed, coverage=True))


def run_unit(index: int, seed: int) -> Run:
    return _timed(_unit_name(index), seed, lambda: unit(*UNITS[index], seed, coverage=True))


def _unit_name(index: int) -> str:
    bench, _, parameters = UNITS[index]
    shown = ", ".join(f"{key} {value}" for key, value in parameters.items())
    return f"{bench} ({shown})" if shown else bench


def run_replay(case: tuple[int, str, bool, bool], seed: int) -> Run:
    return replace(_timed(_replay_name(case), seed, lambda: replay(*case, seed)), folder="")  # it counts no coverage


def _replay_name(case: tuple[int, str, bool, bool]) -> str:
    width, memory, dense, user = case
    return f"{'dense ' * dense}replay, streams of {width} bits, memory {memory or 'default'}{', T in TUSER' * user}"


def simulations(seeds: Sequence[int], jobs: int) -> list[Run]:
    """All benches with all seeds."""
    parts: list[tuple[Callable[..., Run], Any, str, int]]
    parts = [(run_core, name, f"core {name}", seed) for seed in seeds for name in SHAPES]
    parts += [(run_unit, index, _unit_name(index), seed) for seed in seeds for index in range(len(UNITS))]
    parts += [(run_replay, case, _replay_name(case), seeds[0]) for case in REPLAYS]
    used = benches("regression", "bench_core", "bench_trace", *(f"bench_{one[0]}" for one in UNITS))
    ledger = Ledger("runs", [*design(), *used])
    done: dict[tuple[str, int], Run] = {}
    for _, _, name, seed in parts:
        known = ledger.get(f"{name}, seed {seed}")
        # coverage is in the folder of the run
        if known and (not known["folder"] or (Path(known["folder"]) / "coverage.dat").is_file()):
            done[name, seed] = Run(**known)
    if done:
        print(f"{len(done)} of {len(parts)} benches are known from an earlier run, see {ledger.path}", flush=True)
    with ProcessPoolExecutor(jobs) as pool:
        waiting = [pool.submit(run, what, seed) for run, what, name, seed in parts if (name, seed) not in done]
        for future in waiting:
            run = future.result()
            done[run.name, run.seed] = run
            state = "FAILED" if run.failure else "passed"
            print(f"{state} {run.seconds:6.1f} s  {run.name}, seed {run.seed}", flush=True)
            if run.failure:
                print(run.failure, flush=True)
            else:
                ledger.add(f"{run.name}, seed {run.seed}", asdict(run))
                shapes.note(run.name.removeprefix("core "), run.seed, run.seconds)
    return [done[name, seed] for _, _, name, seed in parts]


def proofs() -> list[dict[str, Any]]:
    """Verdicts of all proofs."""
    ledger = Ledger("proofs", [*RTL.glob("*.sv*"), *FORMAL.glob("*.sv")])
    found = []
    for proof in PROOFS:
        known = ledger.get(proof.name)
        if known is None:
            verdict = prove(proof)
            known = {"name": verdict.name, "proven": verdict.proven, "seconds": verdict.seconds}
            if verdict.proven:
                ledger.add(proof.name, known)
            print(f"{'proven' if verdict.proven else 'FAILED'} {verdict.seconds:6.1f} s  {verdict.name}", flush=True)
        found.append(known)
    return found


def _waived(file: str, line: int) -> str:
    """Why a line need not run; empty if it must."""
    source = (RTL / file).read_text(encoding="utf-8").splitlines()
    # what a function has inside belongs to it
    start = line
    while start > 1 and source[start - 1].startswith("    "):
        start -= 1
    texts = source[start - 1 : line]
    for mark, reason in WAIVED.get(file, {}).items():
        if any(mark in text for text in (texts if "function" in mark else texts[-1:])):
            return reason
    return ""


def code(runs: Sequence[Run]) -> dict[str, Any]:
    """Line, branch and toggle coverage over all runs."""
    files = [Path(run.folder) / "coverage.dat" for run in runs if run.folder]
    counts = {point: n for point, n in code_coverage.merged(files, RTL).items() if "/" not in point.file}
    missed = sorted(code_coverage.missed_lines(counts))
    waived = {f"{file}:{line}": reason for file, line in missed if (reason := _waived(file, line))}
    result: dict[str, Any] = {"waived lines": waived, "missed lines": []}
    for kind in code_coverage.KINDS:
        hit, of = code_coverage.share(counts, kind)
        if kind == "line":
            of -= len(waived)
        result[kind] = {"hit": hit, "of": of, "percent": 100 * hit / of}
    result["missed lines"] = [f"{file}:{line}" for file, line in missed if f"{file}:{line}" not in waived]
    result["missed branches"] = [
        f"{p.file}:{p.line} {p.what}" for p in sorted(counts) if p.kind == "branch" and not counts[p]
    ]
    return result


def functional(runs: Sequence[Run]) -> dict[str, Any]:
    """Coverage of the defined bins."""
    files = [path for run in runs if run.folder and (path := Path(run.folder) / "functional.yaml").is_file()]
    if not files:
        raise RuntimeError("no run of the core left functional coverage; see their failures above")
    target = BUILD / "coverage" / "functional.yaml"
    counts = functional_coverage.merged(files, target)
    missing = functional_coverage.missing(counts)
    of = sum(len(bins) for bins in counts.values())
    items = {name: [sum(map(bool, bins.values())), len(bins)] for name, bins in counts.items()}
    return {
        "hit": of - len(missing),
        "of": of,
        "percent": 100 * (of - len(missing)) / of,
        "items": items,
        "missing": missing,
    }


def shortfalls(result: Mapping[str, Any]) -> list[str]:
    """What failed, and which floors were missed."""
    found = [f"bench {run['name']}, seed {run['seed']} failed" for run in result["runs"] if run["failure"]]
    found += [f"shape {name} failed" for name in result.get("shapes", {}).get("failed", ())]
    found += [f"proof {proof['name']} failed" for proof in result["proofs"] if not proof["proven"]]
    reached = {kind: result["code"][kind]["percent"] for kind in code_coverage.KINDS}
    reached["functional"] = result["functional"]["percent"]
    mutation = result["mutation"]
    reached["faults"] = 100 * mutation["killed"] / (mutation["faults"] - mutation["equal"])
    return found + [
        f"{name}: {reached[name]:.1f} %, at least {floor:g} % is wanted"
        for name, floor in FLOORS.items()
        if reached[name] < floor
    ]


def _minutes(result: Mapping[str, Any]) -> float:
    return float(sum(one["seconds"] for part in ("runs", "proofs") for one in result[part])) / 60


def markdown(result: Mapping[str, Any]) -> str:
    """The report as a page."""
    mutation, found = result["mutation"], result["code"]
    changing = mutation["faults"] - mutation["equal"]
    rows = [
        ["functional coverage, bins", result["functional"]["hit"], result["functional"]["of"], FLOORS["functional"]],
        *([f"{kind} coverage", found[kind]["hit"], found[kind]["of"], FLOORS[kind]] for kind in code_coverage.KINDS),
        ["faults killed, of those that change something", mutation["killed"], changing, FLOORS["faults"]],
    ]
    of = f", of the sources {result['sources']}" if "sources" in result else ""
    lines = [
        "# The verification campaign",
        "",
        f"Label: simulated and proven by `{result['command']}`, {result['machine']}, "
        f"{_minutes(result):.0f} minutes of benches and proofs{of}. "
        "What it does: [verification.md](../verification.md).",
        "",
        "| | reached | of | % | floor, % |",
        "| --- | --: | --: | --: | --: |",
        *(f"| {name} | {hit:,} | {of:,} | {100 * hit / of:.1f} | {floor:g} |" for name, hit, of, floor in rows),
        "",
        f"Benches: {len(result['runs'])} runs, {sum(bool(run['failure']) for run in result['runs'])} failed. "
        f"Proofs: {len(result['proofs'])}, {sum(not proof['proven'] for proof in result['proofs'])} failed.",
        "",
        "Bins by item:",
        "",
        "| item | hit | of |",
        "| --- | --: | --: |",
        *(f"| {name} | {hit} | {of} |" for name, (hit, of) in result["functional"]["items"].items()),
        "",
        "Lines that need not run:",
        "",
        *(f"- {place}: {reason}" for place, reason in found["waived lines"].items()),
        "",
        f"Lines that did not run: {', '.join(found['missed lines']) or 'none'}. "
        f"Branches not taken: {', '.join(found['missed branches']) or 'none'}.",
        "",
        f"Faults that survived, of {mutation['faults']} (`{mutation['command']}`):",
        "",
        "| fault | where | source | why |",
        "| --- | --- | --- | --- |",
        *(
            f"| {one['number']}: {one['mode']} | `{one['wire'] or one['where']}` | {one['source']} | {one['reason']} |"
            for one in mutation["survivors"]
        ),
    ]
    return "\n".join(lines) + "\n"


def campaign(seeds: int, faults: int, jobs: int) -> dict[str, Any]:
    """All of it, as plain values. Raises ToolError."""
    runs = simulations(range(1, seeds + 1), jobs)
    corners = shapes.run(shapes.parts())
    proven = proofs()
    broken = mutate.campaign(faults, 1, jobs)
    return {
        "label": "simulated and proven",
        "command": f"make rtl-full FULL='--seeds {seeds} --faults {faults}'",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "sources": digest(design()),
        "runs": [asdict(run) | {"folder": ""} for run in runs],
        "functional": functional(runs),
        "code": code(runs),
        "shapes": {"passed": sorted(shapes.passed()), "failed": corners},
        "proofs": proven,
        "mutation": mutate.summary(broken, faults, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of every bench (default: 3)")
    parser.add_argument("--faults", type=int, default=150, help="in the netlist (default: 150)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--out", type=Path, default=OUT, help="the report, as JSON")
    parser.add_argument("--page", type=Path, default=PAGE, help="the report, as Markdown")
    args = parser.parse_args()
    try:
        result = campaign(args.seeds, args.faults, args.jobs)
    except (ToolError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    args.page.write_text(markdown(result), encoding="utf-8")
    shapes.PAGE.write_text(shapes.markdown(shapes.passed(), shapes.PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    short = shortfalls(result)
    print(markdown(result))
    print(*(short or ["every floor was reached"]), sep="\n")
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
