"""RTL regression on a trace bundle: fires, accumulates and compares every layer of it on the Verilated core.

    python tb/run_trace.py BUNDLE [--layer NAME …] [--stalls] [--dense] [--stream-width BITS] [--memory NAME]
                           [--user-timesteps] [--seed N] [--json]

Layers of `group4_beam4` run on the group core, those of capped firing on a spike core of their lanes, others on the
default one.

Exit codes: 0 all equal; 1 the core and the bundle differ, or the bundle contradicts itself; 2 malformed bundle, bad
arguments or a missing tool. WAVES=1 leaves a waveform and prints where.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

import numpy as np  # noqa: E402
from beats import Streams  # noqa: E402
from images import Shape, plan  # noqa: E402
from spike_compressor.trace import CODINGS, Bundle, TraceError, open_bundle  # noqa: E402
from spike_compressor.trace.golden_capped import BLOCK  # noqa: E402
from spike_compressor.trace.schema import CAPPED_CODINGS  # noqa: E402
from toolchain import BUILD, TB, VARIANTS, ToolError, build, simulate, variant_sources, wants_waves  # noqa: E402

#: Steps of a row in the group core, at most.
GROUP_STEPS = 7
#: Widths that a core's streams may have, in bits; 0 is a beat of one unit.
WIDTHS = (0, 32, 64, 128, 256, 512, 1024)
#: Memories that may take the place of the core's.
MEMORIES = tuple(sorted(path.name for path in VARIANTS.iterdir() if path.is_dir()))


def check_form(bundle: Bundle, names: list[str], shape: Shape) -> tuple[dict[str, dict[str, int]], int]:
    """Check the layers' arrays; returns what to print about each, and the blocks the core must hold."""
    facts, blocks = {}, 0
    for name in names:
        layer = bundle.layer(name)
        layer.check_form()
        facts[name] = {
            "rows": layer.info.tokens,
            "vision": int(np.count_nonzero(layer.modality == 1)),
            "in": layer.info.in_features,
            "out": layer.info.out_features,
            "spikes": int(np.count_nonzero(layer.spikes)),
            "low": int(layer.timesteps.min()),
            "high": int(layer.timesteps.max()),
        }
        blocks = max(blocks, plan(layer, shape).row_blocks)
    return facts, blocks


#: What the group core computes: the search of its encoders keeps four states.
GROUP_CODING = "group4_beam4"
#: What hardware here computes.
RTL_CODINGS = (*CODINGS, *CAPPED_CODINGS, GROUP_CODING)


def require_core_coding(bundle: Bundle, names: list[str], codings: Sequence[str] = CODINGS) -> None:
    """Refuse layers that no hardware here computes, or not the one that knows `codings`. Raises TraceError."""
    for name in names:
        coding = bundle.layer(name).info.coding
        if coding not in codings:
            raise TraceError(
                f"layer {name} is coded in {coding}, which no RTL here computes: it has {', '.join(codings)}"
            )


def group_shape(bundle: Bundle, names: list[str]) -> Shape:
    """A group core that can compute these layers. Raises TraceError for rows or scale groups that none has."""
    layers = [bundle.layer(name) for name in names]
    for layer in layers:
        if layer.info.max_timesteps > GROUP_STEPS:
            raise TraceError(
                f"layer {layer.name}: rows of {layer.info.max_timesteps} steps; the group core has up to {GROUP_STEPS}"
            )
        size = layer.info.in_features // layer.groups
        if layer.groups > 1 and size % 4:
            raise TraceError(
                f"layer {layer.name}: scales for {size} inputs each; groups of four that belong to two scales "
                "have no place in the group core: let a scale's inputs be a multiple of 4"
            )
    return Shape(
        rows=4,
        columns=16,
        lanes=64,
        slots=1,
        weight_inputs=16,
        weight_bits=max(layer.info.weight_bits for layer in layers),
        tmax=GROUP_STEPS,
        blocks=8,
        csd=False,
        units=4,
    )


def capped_shape(bundle: Bundle, names: list[str], coding: str) -> Shape:
    """A spike core that caps, for these layers of one coding. Raises TraceError for scale groups that cut blocks."""
    for name in names:
        layer = bundle.layer(name)
        size = layer.info.in_features // layer.groups
        if layer.groups > 1 and size % BLOCK:
            raise TraceError(
                f"layer {name}: scales for {size} inputs each cut the blocks of {BLOCK} inputs in which {coding} caps; "
                f"the spike core begins a block with each scale: let a scale's inputs be a multiple of {BLOCK}"
            )
    lanes = CAPPED_CODINGS[coding]
    return Shape(lanes=lanes, slots=BLOCK // lanes, weight_inputs=lanes, blocks=128, csd=False, capped=True)


def shapes_for(bundle: Bundle, names: list[str], dense: bool) -> list[tuple[list[str], Shape]]:
    """Layers that one core computes, and that core, in turn. Raises TraceError for layers that no core computes."""
    require_core_coding(bundle, names, CODINGS if dense else RTL_CODINGS)
    if dense:
        return [(names, dense_shape(bundle, names))]
    found = []
    by_coding = {name: bundle.layer(name).info.coding for name in names}
    for codings in (CODINGS, *((one,) for one in RTL_CODINGS[len(CODINGS) :])):
        these = [name for name in names if by_coding[name] in codings]
        if not these:
            continue
        if codings == (GROUP_CODING,):
            shape = group_shape(bundle, these)
        elif codings[0] in CAPPED_CODINGS:
            shape = capped_shape(bundle, these, codings[0])
        else:
            shape = Shape()
        found.append((these, shape))
    return found


def dense_shape(bundle: Bundle, names: list[str]) -> Shape:
    """A dense baseline that can compute these layers. Raises TraceError for a coding that it does not know."""
    infos = [bundle.layer(name).info for name in names]
    for name, info in zip(names, infos, strict=True):
        if info.coding != "tc_lif":
            raise TraceError(f"layer {name} is coded in {info.coding}; the dense baseline computes tc_lif alone")
    return Shape(
        rows=8,
        columns=16,
        lanes=8,
        slots=1,
        weight_inputs=8,
        weight_bits=max(info.weight_bits for info in infos),
        tmax=max(info.max_timesteps for info in infos),
        blocks=64,
        csd=False,
    )


def line(verdict: dict, facts: dict[str, int], width: int) -> str:
    """One layer's line."""
    low, high = facts["low"], facts["high"]
    cycles = "-" if verdict["cycles"] is None else f"{verdict['cycles']:,}"
    return (
        f"{verdict['layer']:{width}}  {facts['in']:>5} x {facts['out']:<5} rows {facts['rows']:>4} "
        f"({facts['vision']} vision)  T {low if low == high else f'{low}-{high}':<3}  "
        f"spikes {facts['spikes']:>9,}  cycles {cycles:>11}  {'FAIL' if verdict['error'] else 'ok'}"
    )


class Follower(threading.Thread):
    """Prints verdicts as the simulation writes them."""

    def __init__(self, path: Path, facts: dict[str, dict[str, int]], quiet: bool) -> None:
        super().__init__(daemon=True)
        self.path, self.facts, self.quiet = path, facts, quiet
        self.verdicts: list[dict] = []
        self.width = max(map(len, facts))
        self.stop = threading.Event()

    def run(self) -> None:
        done = False
        while not done:
            done = self.stop.wait(0.2)
            lines = self.path.read_text().splitlines(keepends=True)
            for text in lines[len(self.verdicts) :]:
                if not text.endswith("\n"):
                    break
                verdict = json.loads(text)
                self.verdicts.append(verdict)
                if not self.quiet:
                    print(line(verdict, self.facts[verdict["layer"]], self.width), flush=True)
                    if verdict["error"]:
                        print(f"  {verdict['error']}", flush=True)


def run(
    bundle: Bundle,
    names: list[str],
    *,
    seed: int,
    stalls: bool,
    quiet: bool,
    shape: Shape | None = None,
    spike_stream: bool = True,
    dense: bool = False,
    multiply: bool = False,
    planes: int | None = None,
    memory: str = "",
    record: Path | None = None,
) -> list[dict]:
    """Simulate; returns a verdict a layer.

    Args:
        dense: on the dense baseline, which has no spike stream.
        multiply: on the baseline that multiplies with `*`.
        planes: bits of a magnitude that the baseline takes in a pass; None: all.
        memory: folder of `rtl/variants/` whose memories take the place of the core's.
        record: file for the core's ports, cycle by cycle: see tb/hdl/port_recorder.sv.

    Raises TraceError, ToolError, or AssertionError if the simulator dies."""
    shape = shape or Shape()
    facts, blocks = check_form(bundle, names, shape)
    while shape.blocks < blocks:
        shape = replace(shape, blocks=2 * shape.blocks)
    parameters = shape.parameters() | {"Dense": int(dense), "Multiply": int(multiply)}
    if planes is not None:
        parameters["Planes"] = planes
    folder = build("core_harness", parameters, fast=True, replaced=variant_sources(memory) if memory else None)
    (BUILD / "run").mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{bundle.path.resolve().name}-", dir=BUILD / "run"))
    results = work / "verdicts.jsonl"
    results.touch()
    follower = Follower(results, facts, quiet)
    follower.start()
    job = {
        "bundle": str(bundle.path.resolve()),
        "layers": names,
        "results": str(results),
        "seed": seed,
        "stalls": stalls,
        "spike_stream": spike_stream and not dense,
        "dense": dense,
    }
    try:
        simulate(
            folder,
            "core_harness",
            "bench_trace",
            work,
            seed=seed,
            plusargs=[f"+images={work}/images", *([f"+record={record.resolve()}"] if record else [])],
            env={"SPIKE_IMAGES": f"{work}/images", "SPIKE_JOB": json.dumps(job)},
        )
    finally:
        follower.stop.set()
        follower.join()
    for wave in work.glob("dump.*"):
        target = BUILD / "waves" / f"{bundle.path.resolve().name}{wave.suffix}"
        target.parent.mkdir(exist_ok=True)
        shutil.move(wave, target)
        print(f"waveform: {os.path.relpath(target)}", file=sys.stderr)
        if wave.suffix == ".vcd":
            print("as VCD, which is large: for FST install lz4 and zlib (liblz4-dev, zlib1g-dev)", file=sys.stderr)
        view = os.path.relpath(TB / "waves" / f"{'dense' if dense else 'spike'}_core")
        print(f"to look at it: gtkwave {os.path.relpath(target)} {view}.gtkw", file=sys.stderr)
        print(f"           or: surfer -c {view}.sucl {os.path.relpath(target)}", file=sys.stderr)
    shutil.rmtree(work)
    # The core agreed; what it has no part in (the codes, the modality) must agree as well.
    for verdict in follower.verdicts:
        verdict |= {key: facts[verdict["layer"]][key] for key in ("rows", "vision", "in", "out", "spikes")}
        if not verdict["error"]:
            try:
                bundle.layer(verdict["layer"]).check_numbers()
            except TraceError as error:
                verdict["error"] = str(error)
                if not quiet:
                    print(f"  FAIL  {error}", flush=True)
    return follower.verdicts


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="run_trace.py",
        description="Replay a trace bundle on the Verilated spike core and compare every spike and accumulator.",
        epilog="WAVES=1 leaves a waveform. Exit codes: 0 equal, 1 different, 2 malformed bundle or missing tool.",
    )
    parser.add_argument("bundle", help="directory with a manifest.json")
    parser.add_argument("--layer", action="append", help="only this layer (may be given several times)")
    parser.add_argument("--stalls", action="store_true", help="pause all streams at random")
    parser.add_argument("--dense", action="store_true", help="on the dense baseline (bundles of tc_lif alone)")
    parser.add_argument(
        "--stream-width",
        type=int,
        choices=WIDTHS,
        default=0,
        metavar="BITS",
        help=f"of all streams: {', '.join(map(str, WIDTHS[1:]))}; without it a beat is a unit, see docs/rtl.md",
    )
    parser.add_argument("--memory", choices=MEMORIES, default="", help="memories of rtl/variants/ instead of rtl/'s")
    parser.add_argument("--user-timesteps", action="store_true", help="T of a row in TUSER instead of a header")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "1")), help="of padding and stalls")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args(arguments)
    try:
        bundle = open_bundle(options.bundle)
        names = [bundle.layer(name).name for name in options.layer or [info.name for info in bundle.infos]]
        if wants_waves() and not options.json:
            print("recording a waveform; this is slow", file=sys.stderr)
        streams = Streams.of_width(options.stream_width, user=options.user_timesteps)
        verdicts = []
        for these, shape in shapes_for(bundle, names, options.dense):
            verdicts += run(
                bundle,
                these,
                seed=options.seed,
                stalls=options.stalls,
                quiet=options.json,
                shape=replace(shape, streams=streams),
                dense=options.dense,
                memory=options.memory,
            )
    except (TraceError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = [verdict for verdict in verdicts if verdict["error"]]
    if options.json:
        print(json.dumps({"bundle": str(bundle.path), "layers": verdicts, "failed": len(failed)}))
    elif failed:
        print(f"{len(failed)} of {len(verdicts)} layers differ from the RTL")
    else:
        rows = sum(verdict["rows"] for verdict in verdicts)
        silent = any(bundle.layer(name).info.coding in CAPPED_CODINGS for name in names)  # no core streams such spikes
        what = "every accumulator" if options.dense or silent else "every spike and every accumulator"
        print(f"{len(verdicts)} layers, {rows} rows: {what} equals the RTL's")
    return 1 if failed or len(verdicts) != len(names) else 0


if __name__ == "__main__":
    sys.exit(main())
