"""The shapes in which core and baseline were verified, and what parameters allow: docs/results/rtl_shapes.md.

    .venv/bin/python tb/shapes.py [NAME …] [--list]

Runs the benches of the shapes that are named, or of all, where they have not passed since a source changed, and writes
what has passed. A part of `make rtl-full`, which runs the same benches.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from images import Shape
from ledger import Ledger, benches, design, digest
from regression import CORNER_TESTS, CORNERS, DENSE_SHAPES, SHAPES, core, dense
from toolchain import ROOT, ToolError

PAGE = ROOT / "docs" / "results" / "rtl_shapes.md"
SEED = 1
#: What `spike_core` accepts, by parameter: as its own checks have it.
ALLOWED = {
    "Rows": "1 … 255",
    "Columns": "1 … 255",
    "Lanes": "4 … 128, a power of two",
    "Slots": "1 … 128, a power of two",
    "WeightInputs": "divides Lanes",
    "WeightBits": "2 … 8",
    "Tmax": "1 … 7",
    "MaxInputs": "a multiple of Lanes x Slots",
    "Csd": "0, 1",
    "Capped": "0, 1",
    "OneBlock": "0, 1",
}


def ledger() -> Ledger:
    """Of the shapes that have passed."""
    return Ledger("shapes", [*design(), *benches("regression", "bench_core", "bench_dense")])


def parts() -> dict[str, Callable[[], Path]]:
    """What runs the benches of each shape."""
    found: dict[str, Callable[[], Path]] = {name: lambda name=name: core(name, SEED) for name in (*SHAPES, *CORNERS)}
    return found | {f"dense {name}": lambda name=name: dense(name, SEED) for name in DENSE_SHAPES}


def note(name: str, seed: int, seconds: float) -> None:
    """Keep that a shape has passed in another campaign; other names and seeds are of no interest."""
    if name in parts() and seed == SEED:
        ledger().add(name, {"seconds": round(seconds, 1)})


def passed() -> dict[str, float]:
    """Seconds that the benches of a shape took, of those that have passed."""
    kept = ledger()
    return {name: result["seconds"] for name in parts() if (result := kept.get(name))}


def run(names: Iterable[str]) -> list[str]:
    """Run the benches of shapes that have not passed yet; names of those that failed. Raises ToolError."""
    kept, failed = ledger(), []
    for name in names:
        if kept.get(name):
            continue
        started = time.monotonic()
        try:
            parts()[name]()
        except AssertionError as error:
            failed.append(name)
            print(f"FAILED {name}\n{error}", flush=True)
            continue
        kept.add(name, {"seconds": round(time.monotonic() - started, 1)})
        print(f"passed {time.monotonic() - started:6.1f} s  {name}", flush=True)
    return failed


def _row(name: str, parameters: Mapping[str, object], tests: str, sources: str) -> str:
    values = " | ".join(str(parameters.get(parameter, "")) for parameter in ALLOWED)
    return f"| {name} | {values} | {tests} | {sources} |"


def _core_row(name: str, shape: Shape, sources: str) -> str:
    return _row(name, shape.parameters(), "all" if name in SHAPES else ", ".join(CORNER_TESTS), sources)


def earlier(page: str) -> dict[str, str]:
    """Shapes that a page has, with the sources of which each passed last."""
    core, _, dense = page.partition("The dense baseline")
    found = {}
    for text, prefix in ((core, ""), (dense, "dense ")):
        for name, sources in re.findall(r"^\| ([^|*]+?) \| \d.*\| ([0-9a-f]{12}) \|$", text, re.MULTILINE):
            found[prefix + name] = sources
    return found


def markdown(done: Mapping[str, float], before: str = "") -> str:
    """The page, of the shapes that have passed.

    Args:
        before: the page as it was: shapes that passed on earlier sources stay, with those.
    """
    last = earlier(before) | dict.fromkeys(done, digest(design()))
    shown = [_core_row(name, shape, last[name]) for name, shape in (SHAPES | CORNERS).items() if name in last]
    baseline = [
        _row(name, {"WeightBits": 4, "Tmax": 4} | parameters, "all", last[f"dense {name}"])
        for name, parameters in DENSE_SHAPES.items()
        if f"dense {name}" in last
    ]
    missing = [name for name in parts() if name not in done]
    head = [
        f"| shape | {' | '.join(ALLOWED)} | tests | sources |",
        f"| --- | {' | '.join('--:' for _ in ALLOWED)} | --- | --- |",
    ]
    lines = [
        "# Verified shapes",
        "",
        f"Label: simulated by `.venv/bin/python tb/shapes.py`, seed {SEED}; `sources` is a digest of all SystemVerilog",
        f"that it ran on, {digest(design())} when this was written: others are earlier ones.",
        "Every spike and every accumulator was compared, with random pauses on all streams. Tests are those of",
        "`tb/bench_core.py` and `tb/bench_dense.py`. Limits were tried one at a time, not all at once.",
        "",
        *head,
        _row("*allowed*", ALLOWED, "", ""),
        *shown,
        "",
        "The dense baseline (`dense_core`):",
        "",
        *head,
        *baseline,
    ]
    if missing:
        lines += ["", f"Not run yet on these sources: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="*", metavar="NAME", help="shapes to run (default: all)")
    parser.add_argument("--list", action="store_true", help="run nothing; write what has passed")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page goes")
    args = parser.parse_args()
    if unknown := set(args.name) - set(parts()):
        parser.error(f"there is no shape {', '.join(sorted(unknown))}; there are: {', '.join(parts())}")
    try:
        failed = [] if args.list else run(args.name or parts())
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    before = args.page.read_text(encoding="utf-8") if args.page.is_file() else ""
    args.page.write_text(markdown(passed(), before), encoding="utf-8")
    print(f"{len(passed())} of {len(parts())} shapes have passed, see {args.page}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
