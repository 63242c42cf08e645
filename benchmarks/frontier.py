"""Accuracy against synaptic operations and against timesteps: statistic x ratio x transform x quantizer x budget.

    python benchmarks/frontier.py smollm2 --out docs/results/frontier_smollm2.json
    python benchmarks/frontier.py embedded --out docs/results/frontier_embedded.json

The weights of a transform and a quantizer are quantized once and kept; a code (`frontier_codes.py`) is put on them
without a recipe, so that it costs an evaluation alone. What is evaluated comes in chunks, each kept by itself: a killed
run goes on where it was, and `--chunks` may grow. Kept chunks do not depend on the package's code, for docs/numerics.md
fixes what it computes to the bit; `--scratch` elsewhere computes all of them anew. Those of codes under a budget do.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator
from concurrent.futures import as_completed
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from frontier_codes import WEIGHTS_ALONE, Code
from frontier_judges import JUDGES, Judge
from frontier_report import rows_of_cells
from frontier_weights import weights_recipe
from harness import finish, parser, prepare

FLOAT = "float"
#: The uniform grid: one statistic and ratio, or T, for all layers.
GRID = (
    *(f"rms@{ratio}" for ratio in ("0.25", "0.3", "0.35", "0.4", "0.5", "0.6", "0.7")),
    *(f"absmax@T{T}" for T in (3, 4, 5)),
)


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__.splitlines()[0], "frontier.json")
    made.add_argument("model", choices=sorted(JUDGES), help="what is quantized and judged")
    made.add_argument("--weights", nargs="+", default=["none+gptq_g64"], help="transform+quantizer, each")
    made.add_argument("--codes", nargs="+", default=[WEIGHTS_ALONE, *GRID], help="as frontier_codes.py reads them")
    made.add_argument("--seeds", nargs="+", type=int, default=[0], help="of rotations and calibration data")
    made.add_argument("--chunks", type=int, help="how much is judged; all there is if left out")
    made.add_argument("--jobs", type=int, default=1, help="processes, each with one set of weights at a time")
    made.add_argument(
        "--only-kept", action="store_true", help="report what is there, rows of fewer chunks too; compute nothing"
    )
    return made


def main() -> int:
    args = arguments().parse_args()
    prepare(args.threads)
    judge = JUDGES[args.model](args.scratch)
    args.chunks = min(args.chunks or judge.chunks, judge.chunks)
    codes = [Code.parse(label) for label in args.codes]
    sets = [(FLOAT, 0), *((name, seed) for name in args.weights for seed in args.seeds)]
    if not args.only_kept:
        _run(args, sets, codes)
    cells = {
        (name, code.label, seed): found
        for name, seed in sets
        for code in ([Code(FLOAT)] if name == FLOAT else codes)
        if (found := _kept(judge, name, code, seed, args.chunks)) is not None
    }
    rows = rows_of_cells(judge, cells)
    settings = {**judge.settings(args.chunks), "seeds": args.seeds}
    return finish(_name(args.model, args.out), args, settings, rows, command=_command(args))


def _name(model: str, out: Path) -> str:
    """Of the result: the file's, if it is one of this model's pages (`frontier_smollm2_rotated.json`)."""
    name = f"frontier_{model}"
    return out.stem if out.stem.startswith(name) else name


def _command(args: argparse.Namespace) -> str:
    parts = ["python", "benchmarks/frontier.py", args.model, "--weights", *args.weights, "--codes", *args.codes]
    return shlex.join([*parts, "--seeds", *map(str, args.seeds), "--chunks", str(args.chunks)])


def _run(args: argparse.Namespace, sets: list[tuple[str, int]], codes: list[Code]) -> None:
    work = partial(_one_set, args.model, args.scratch, codes, args.chunks, args.threads)
    if args.jobs == 1:
        for name, seed in sets:
            work(name, seed)
        return
    from spike_compressor.processes import processes

    with processes(args.jobs, threads=args.threads, verbose=True) as pool:
        for done in as_completed([pool.submit(work, name, seed) for name, seed in sets]):
            done.result()


def _one_set(model: str, scratch: Path, codes: list[Code], chunks: int, threads: int, name: str, seed: int) -> None:
    """Everything that is missing of one set of weights."""
    prepare(threads)
    judge = JUDGES[model](scratch)
    for chunk, code, compute in _missing(judge, name, codes, seed, chunks):
        started = time.monotonic()
        judge.store.put(judge.key(name, code, seed, chunk), compute())
        shown = f"{name} {code.label} seed {seed}, chunk {chunk}: {time.monotonic() - started:.0f} s"
        print(shown, file=sys.stderr, flush=True)


def _missing(judge: Judge, name: str, codes: list[Code], seed: int, chunks: int) -> Iterator[tuple[Any, Code, Any]]:
    """(chunk, code, what computes it) of all that is not kept; a model is opened when the first one is asked for."""
    if name == FLOAT:
        left = [chunk for chunk in range(chunks) if judge.get(FLOAT, Code(FLOAT), seed, chunk) is None]
        model = judge.open() if left else None
        for chunk in left:
            yield chunk, Code(FLOAT), partial(judge.judge, model, chunk)
        return
    model = None
    for code in codes:
        spikes = [] if code.label == WEIGHTS_ALONE else ["spikes"]
        parts: list[int | str] = [*range(chunks), *spikes]
        missing = [part for part in parts if judge.get(name, code, seed, part) is None]
        if not missing:
            continue
        recipe = code.recipe(weights_recipe(name))
        if recipe is not None:
            own = judge.bench(seed).spiking(recipe)
        else:
            model = own = judge.exact(name, seed) if model is None else model
        with judge.coded(own, code):
            for part in missing:
                yield (
                    part,
                    code,
                    partial(judge.count, own) if isinstance(part, str) else partial(judge.judge, own, part),
                )


def _kept(judge: Judge, name: str, code: Code, seed: int, chunks: int) -> dict[str, Any] | None:
    """What is known of one row: its spikes, and its chunks up to the first that is missing; None if there is none."""
    found = [judge.get(name, code, seed, chunk) for chunk in range(chunks)]
    found = list(takewhile(lambda one: one is not None, found))
    return {"chunks": found, "spikes": judge.get(name, code, seed, "spikes")} if found else None


if __name__ == "__main__":
    raise SystemExit(main())
