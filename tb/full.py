"""The whole verification campaign of spike core and group core, with floors; what `make rtl-full` runs.

    .venv/bin/python tb/full.py [--core spike group] [--seeds 3] [--faults 150] [--whole] [--out tb/full.json]

Every bench on every build with line, branch and toggle coverage and all assertions, for several seeds; the spike core
at the limits of its parameters; all proofs; faults in the netlist. What is finished is kept: after a kill, the same
command goes on where it was, as long as no source that matters has changed. A campaign of one core leaves what the
report has of the other one. The exit code is 1 if anything failed or a floor was missed, 2 if a tool is missing.
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

import bins
import code_coverage
import mutate
import shapes
from formal.prove import FORMAL, PROOFS, Proof, prove
from ledger import Ledger, benches, design, digest
from regression import GROUP_SHAPES, REPLAYS, SHAPES, UNITS, core, group, replay, unit
from toolchain import BUILD, ROOT, RTL, TB, ToolError

OUT = TB / "full.json"
PAGE = ROOT / "docs" / "results" / "rtl_full.md"
#: Per cent that must be reached.
FLOORS = {"functional": 100.0, "line": 95.0, "branch": 95.0, "toggle": 90.0, "faults": 95.0}
#: What the report calls the cores.
TITLES = {"spike": "The spike core", "group": "The group core"}
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


def run_group(name: str, seed: int) -> Run:
    return _timed(f"core {name}", seed, lambda: group(name, seed, coverage=True))


def of_group(bench: str, module: str) -> bool:
    """Whether a module's bench is of the group core."""
    return bench.startswith("group") or module.startswith("group")


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


def simulations(which: str, seeds: Sequence[int], jobs: int, whole: bool) -> list[Run]:
    """All benches of a core with all seeds; `whole`: but for those of its modules."""
    run_whole, names = (run_core, SHAPES) if which == "spike" else (run_group, GROUP_SHAPES)
    units = [i for i, (bench, module, _) in enumerate(UNITS) if of_group(bench, module) == (which == "group")]
    parts: list[tuple[Callable[..., Run], Any, str, int]]
    parts = [(run_whole, name, f"core {name}", seed) for seed in seeds for name in names]
    if not whole:
        parts += [(run_unit, index, _unit_name(index), seed) for seed in seeds for index in units]
    if which == "spike":
        parts += [(run_replay, case, _replay_name(case), seeds[0]) for case in REPLAYS]
    used = benches("regression", "bench_core", "bench_group", "bench_trace", *(f"bench_{one[0]}" for one in UNITS))
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


def proofs(which: str) -> list[dict[str, Any]]:
    """Verdicts of all proofs of a core's modules."""
    ledger = Ledger("proofs", [*RTL.rglob("*.sv*"), *FORMAL.rglob("*.sv")])
    found = []
    for proof in proofs_of(which):
        known = ledger.get(proof.name)
        if known is None:
            verdict = prove(proof)
            known = {"name": verdict.name, "proven": verdict.proven, "seconds": verdict.seconds}
            if verdict.proven:
                ledger.add(proof.name, known)
            print(f"{'proven' if verdict.proven else 'FAILED'} {verdict.seconds:6.1f} s  {verdict.name}", flush=True)
        found.append(known)
    return found


def proofs_of(which: str) -> list[Proof]:
    """Those of a core's modules."""
    return [proof for proof in PROOFS if proof.harness.startswith("group") == (which == "group")]


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


def code(which: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Line, branch and toggle coverage of a core's modules over all runs."""
    files = [Path(run.folder) / "coverage.dat" for run in runs if run.folder]
    folder = "group" if which == "group" else "."
    merged = code_coverage.merged(files, RTL)
    counts = {point: n for point, n in merged.items() if Path(point.file).parent == Path(folder)}
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


def functional(which: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Coverage of the bins that are defined for a core."""
    files = [path for run in runs if run.folder and (path := Path(run.folder) / "functional.yaml").is_file()]
    if not files:
        raise RuntimeError("no run of the core left functional coverage; see their failures above")
    target = BUILD / "coverage" / f"{which}.yaml"
    counts = bins.merged(files, target)
    missing = bins.missing(counts)
    of = sum(map(len, counts.values()))
    items = {name: [sum(map(bool, one.values())), len(one)] for name, one in counts.items()}
    return {
        "hit": of - len(missing),
        "of": of,
        "percent": 100 * (of - len(missing)) / of,
        "items": items,
        "missing": missing,
    }


def shortfalls(result: Mapping[str, Any]) -> list[str]:
    """What failed of a core's campaign, and which floors were missed."""
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


def markdown(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The report as a page, of the campaigns of cores."""
    lines = ["# The verification campaign", "", "What it does: [verification.md](../verification.md)."]
    for which, result in results.items():
        lines += ["", f"## {TITLES[which]}", "", *section(result)]
    return "\n".join(lines) + "\n"


def section(result: Mapping[str, Any]) -> list[str]:
    """Lines of the page, of one core's campaign."""
    mutation, found = result["mutation"], result["code"]
    changing = mutation["faults"] - mutation["equal"]
    rows = [
        ["functional coverage, bins", result["functional"]["hit"], result["functional"]["of"], FLOORS["functional"]],
        *([f"{kind} coverage", found[kind]["hit"], found[kind]["of"], FLOORS[kind]] for kind in code_coverage.KINDS),
        ["faults killed, of those that change something", mutation["killed"], changing, FLOORS["faults"]],
    ]
    of = f", of the sources {result['sources']}" if "sources" in result else ""
    return [
        f"Label: simulated and proven by `{result['command']}`, {result['machine']}, "
        f"{_minutes(result):.0f} minutes of benches and proofs{of}.",
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


def campaign(which: str, seeds: int, faults: int, jobs: int, whole: bool = False) -> dict[str, Any]:
    """All of it for a core, as plain values; `whole`: without the benches of its modules. Raises ToolError."""
    runs = simulations(which, range(1, seeds + 1), jobs, whole)
    corners = shapes.run(shapes.parts()) if which == "spike" else []
    proven = proofs(which)
    broken = mutate.campaign(which, faults, 1, jobs)
    return {
        "label": "simulated and proven",
        "command": f"make rtl-full FULL='--core {which} --seeds {seeds} --faults {faults}{' --whole' * whole}'",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "sources": digest(design()),
        "runs": [asdict(run) | {"folder": ""} for run in runs],
        "functional": functional(which, runs),
        "code": code(which, runs),
        **({"shapes": {"passed": sorted(shapes.passed()), "failed": corners}} if which == "spike" else {}),
        "proofs": proven,
        "mutation": mutate.summary(which, broken, faults, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", nargs="+", choices=TITLES, default=list(TITLES), help="which (default: both)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of every bench (default: 3)")
    parser.add_argument("--faults", type=int, default=150, help="in the netlist (default: 150)")
    parser.add_argument("--whole", action="store_true", help="without the benches of single modules")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--out", type=Path, default=OUT, help="the report, as JSON")
    parser.add_argument("--page", type=Path, default=PAGE, help="the report, as Markdown")
    args = parser.parse_args()
    results = json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else {}
    short = []
    for which in args.core:
        try:
            results[which] = campaign(which, args.seeds, args.faults, args.jobs, args.whole)
        except (ToolError, RuntimeError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        short += [f"{which} core: {text}" for text in shortfalls(results[which])]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        args.page.write_text(markdown(results), encoding="utf-8")
    if "spike" in args.core:
        before = shapes.PAGE.read_text(encoding="utf-8")
        shapes.PAGE.write_text(shapes.markdown(shapes.passed(), before), encoding="utf-8")
    print(markdown(results))
    print(*(short or ["every floor was reached"]), sep="\n")
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
