"""All benchmarks, one after the other, each in a process of its own; their tables, and which goals were reached.

    make bench
    python benchmarks/run.py --only overhead

A killed run goes on where it was: finished cells are kept under `--scratch`. Only times are measured anew. The exit
code is 1 if a goal was missed, 2 if a benchmark failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from harness import RESULTS, ROOT, SCRATCH
from tables import publish

BENCHMARKS = (
    "speed",
    "evolution",
    "overhead",
    "calibration",
    "msts_embedded",
    "msts_smollm2",
    "quantizers_embedded",
    "quantizers_smollm2",
    "fitted_smollm2",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="what to run")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for results and tables")
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="folder for models and finished cells")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="CPU threads of each process")
    args = parser.parse_args()
    failed: list[str] = []
    summary: list[str] = []
    for name in args.only:
        path = args.out / f"{name}.json"
        print(f"== {name}", file=sys.stderr, flush=True)
        command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--out", str(path), "--json"]
        command += ["--scratch", str(args.scratch), "--threads", str(args.threads)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode not in (0, 1):
            failed.append(name)
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        print(publish(result, path), flush=True)
        summary += [f"{'pass' if g['passed'] else 'FAIL'}  {g['goal']}: {g['found']}" for g in result["goals"]]
        cpu = result["machine"]["cpu"]
    if summary:
        print(f"goals, measured on {cpu}:", *summary, sep="\n  ")
    for name in failed:
        print(f"benchmark {name} failed, see its message above", file=sys.stderr)
    return 2 if failed else int(any(line.startswith("FAIL") for line in summary))


if __name__ == "__main__":
    raise SystemExit(main())
