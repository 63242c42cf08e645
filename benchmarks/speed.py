"""How fast spiking layers and models are: against float, bfloat16, torch's int8, quanto, and the machine's limits.

    python benchmarks/speed.py --quick                   # a few minutes
    python benchmarks/speed.py --parts generate --keep   # one part anew, the other rows as they stand in --out

All calls of a case run in turn in one process; a figure is the median over rounds of the rival's time over ours, above
1 where spikes are faster. Before anything is timed, outputs are held against plain arithmetic, and models against
torch, to the bit. Figures are only as good as the machine is quiet: its load stands in the result.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from harness import Goal, finish, parser, prepare
from timing.limits import Limits

PARTS = ("limits", "linear", "generate", "memory", "encode", "python", "oneshot")
Rows = Iterator[dict[str, Any]]


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__.splitlines()[0], "speed.json")
    made.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="what to measure")
    made.add_argument("--quick", action="store_true", help="fewer rounds: minutes")
    made.add_argument("--seconds", type=float, help="of each case; 8 unless given, 3 with --quick")
    made.add_argument("--shapes", nargs="+", metavar="KxN", help="layers to time; all unless given")
    made.add_argument("--rows", nargs="+", type=int, help="M of the layers; 1, 16, 256 and 1024 unless given")
    made.add_argument("--models", nargs="+", choices=("smollm2", "embedded"), help="models to time; all there are")
    made.add_argument("--no-quanto", action="store_true", help="leave optimum-quanto out: it takes half a minute")
    made.add_argument("--keep", action="store_true", help="keep the other rows that stand in --out")
    made.add_argument("--memory-of", help=argparse.SUPPRESS)
    return made


class Speed:
    """The parts of the benchmark, each giving rows of the result."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.seconds = args.seconds or (3.0 if args.quick else 8.0)
        self.threads = tuple(range(1, args.threads + 1))
        self.limits_of: Callable[[int], Limits] = cache(
            lambda threads: Limits(args.scratch, threads, min(0.3, self.seconds / 4))
        )

    def limits(self) -> Rows:
        for threads in self.threads:
            yield self.limits_of(threads).row()

    def linear(self) -> Rows:
        from timing.layers import MAIN, ROWS, SHAPES, Bench, Case, cold_rows, level_rows

        wanted = self.args.shapes or [f"{K}x{N}" for K, N in SHAPES]
        for K, N in (tuple(int(size) for size in text.split("x")) for text in wanted):
            bench = Bench((K, N))
            for rows in self.args.rows or ROWS:
                for threads in self.threads if (K, N) == MAIN else (1,):
                    case = Case((K, N), rows, threads)
                    _say(case.key("*"))
                    rivals = case.rivals(quanto=not self.args.no_quanto)
                    yield from bench.rows_of(case, self.limits_of(threads), self.seconds, rivals)
                if (K, N) == MAIN or self.args.shapes:
                    yield from level_rows(bench, rows, self.seconds / 2)
            if 1 in (self.args.rows or ROWS):
                yield from cold_rows(bench, self.limits_of(1), self.seconds)

    def generate(self) -> Rows:
        from timing.models import Subject, generate_rows

        for name in self.models():
            _say(f"generating with {name}")
            yield from generate_rows(Subject(name, self.args.scratch), 3 * self.seconds, self.threads)

    def memory(self) -> Rows:
        from timing.models import Subject, memory_rows

        for name in self.models()[:1]:
            _say(f"memory of {name}")
            yield from memory_rows(Subject(name, self.args.scratch))

    def encode(self) -> Rows:
        from timing.overheads import encode_row

        yield encode_row(self.seconds)

    def python(self) -> Rows:
        from timing.overheads import python_rows

        _say("Python around layers")
        yield from python_rows(2 * self.seconds)

    def oneshot(self) -> Rows:
        from timing.overheads import oneshot_rows

        yield from oneshot_rows()

    def models(self) -> list[str]:
        """Names of the models; SmolLM2 where it is installed."""
        import smollm2

        if self.args.models:
            if "smollm2" in self.args.models:
                smollm2.require()
            return list(self.args.models)
        return ["smollm2", "embedded"] if smollm2.available() else ["embedded"]


def _say(what: str) -> None:
    print(f"speed: {what}", file=sys.stderr, flush=True)


#: Key of a ratio, without threads -> what it must be at least; at most, where memory or overheads are compared.
AT_LEAST: dict[str, float] = {
    **{f"linear_{w}_m{m}_3584x3584_vs_fp32": 4.0 for w in ("w4_channel", "w4_g64") for m in (1, 16)},
    **{f"linear_w4_channel_m{m}_3584x3584_vs_fp32": 3.0 for m in (256, 1024)},
    **{f"linear_w4_g64_m{m}_3584x3584_vs_fp32": 2.5 for m in (256, 1024)},
    "generate_decode_smollm2_vs_float": 1.9,
    "generate_prefill_smollm2_vs_float": 1.9,
    "generate_unrolled_smollm2_vs_float": 0.6,
}
AT_MOST = {
    "memory_loaded_w4_vs_float": 0.2,
    "memory_generated_w4_vs_float": 0.2,
    "python_per_layer_us": 60.0,
    "oneshot_overhead": 1.5,
}


def goals(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    """Which of the demands are met, of those that were measured."""
    from timing.pages import ratios

    found, by_level = ratios(rows), {row["key"] for row in rows if row["part"] == "level"}
    made = [
        Goal(f"`{key}` at least {least:g}", f"{value:.2f}", value >= least)
        for key, value in found.items()
        for least in [AT_LEAST.get(key.partition("_threads")[0])]
        if least is not None
    ]
    made += [
        Goal(f"`{key}` at most {most:g}", f"{found[key]:.2f}", found[key] <= most)
        for key, most in AT_MOST.items()
        if key in found
    ]
    for rival in ("fp32", "int8"):
        fused = {
            key: value
            for key, value in found.items()
            if key.endswith(f"_vs_{rival}") and "_unrolled_" not in key and key not in by_level
        }
        if fused:
            worst = min(fused, key=fused.__getitem__)
            goal = f"no layer slower than {rival}: the smallest ratio at least 1"
            made.append(Goal(goal, f"{fused[worst]:.2f} (`{worst}`)", fused[worst] >= 1))
    return made


def settings(args: argparse.Namespace, before: tuple[float, ...]) -> dict[str, Any]:
    """What the figures were taken with."""
    from spike_compressor.kernels import active_level, available_levels
    from timing.layers import TIMESTEPS
    from timing.rivals import has_quanto

    found: dict[str, Any] = {
        "level": f"{active_level()}, of {', '.join(available_levels())}",
        "timesteps": TIMESTEPS,
        "load_of_the_machine": f"{before[0]:.2f} before, {os.getloadavg()[0]:.2f} after (over a minute, of "
        f"{os.cpu_count()} cores; the benchmark itself is 1)",
        "rounds": "quick" if args.quick else "all",
        "quanto": importlib.metadata.version("optimum-quanto") if has_quanto() else "not installed",
    }
    if not args.keep and list(args.parts) != list(PARTS):
        found["parts"] = ", ".join(args.parts)
    return found


def main() -> int:
    args = arguments().parse_args()
    prepare(1)
    if args.memory_of:
        from timing.models import Subject, memory_of

        name, _, kind = args.memory_of.partition(":")
        print(json.dumps(memory_of(Subject(name, args.scratch), kind)))
        return 0
    return run(args)


def run(args: argparse.Namespace) -> int:
    """Measure, write and print the result; the exit code says whether every goal was reached."""
    from timing.pages import place

    before, speed = os.getloadavg(), Speed(args)
    rows: dict[str, dict[str, Any]] = {}
    if args.keep and args.out.is_file():
        rows = {row["key"]: row for row in json.loads(args.out.read_text(encoding="utf-8"))["rows"]}
    try:
        for part in args.parts:
            for row in getattr(speed, part)():
                rows[row["key"]] = row
    except KeyboardInterrupt:
        _say("interrupted; what was measured is written")
    torch.set_num_threads(1)
    return publish(args, sorted(rows.values(), key=place), before)


def publish(args: argparse.Namespace, rows: list[dict[str, Any]], before: tuple[float, ...]) -> int:
    """Write and print a result of these rows; its exit code."""
    from timing.pages import quartiles, ratios

    more = {"ratios": ratios(rows), "quartiles": quartiles(rows)}
    return finish("speed", args, settings(args, before), rows, goals(rows), more=more)


if __name__ == "__main__":
    raise SystemExit(main())
