"""Run cases in a process of its own, which is ended where one takes too long, and say what was wrong with any."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
#: Seconds that a case may take, and address space beside what the process has when it begins, in bytes.
LIMIT_S = 60.0
ADDRESS_SPACE = 3 << 30


def main() -> int:
    """The program; its exit code is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="what they follow from, with their numbers (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (default: 0)")
    parser.add_argument("--target", help="one alone (default: all of them, the quick ones more often)")
    parser.add_argument("--keep", action="store_true", help="put what fails into the corpus, which tests read again")
    args = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1", HF_HUB_OFFLINE="1")
    counts: Counter[str] = Counter()
    faults: list[str] = []
    number, last, started = args.first, args.first + args.cases, time.monotonic()
    while number < last:
        number = _some(args, number, last, counts, faults)
    for fault in faults:
        print(fault)
    shown = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
    print(f"seed {args.seed}, cases {args.first} to {last - 1}: {shown}")
    print(f"{sum(counts.values()):,} cases, {len(faults)} faults, {time.monotonic() - started:.0f} s")
    return bool(faults)


def _some(args: argparse.Namespace, number: int, last: int, counts: Counter[str], faults: list[str]) -> int:
    """Run cases from a number on in a new process until it is through, or ends or stalls at one; the next number."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_work, args=(theirs, args.seed, number, last, args.target, args.keep), daemon=True)
    worker.start()
    theirs.close()
    target = "none"
    try:
        ready = False
        while number < last:
            if not ours.poll(LIMIT_S if ready else 600):
                faults.append(f"case {args.seed}:{number} ({target}): more than {LIMIT_S:.0f} s")
                break
            ready = True
            kind, value = ours.recv()
            if kind == "target":
                target = value
                continue
            counts[target] += 1
            if value is not None:
                faults.append(f"case {args.seed}:{number} ({target}): {value}")
                print(faults[-1], file=sys.stderr, flush=True)
            number += 1
            if sum(counts.values()) % 1000 == 0:
                print(f"{sum(counts.values()):,} cases, {len(faults)} faults", file=sys.stderr, flush=True)
        else:
            return number
    except EOFError:
        faults.append(f"case {args.seed}:{number} ({target}): the process ended")
    finally:
        worker.kill()
        worker.join()
    print(faults[-1], file=sys.stderr, flush=True)
    counts[target] += 1
    return number + 1


def _work(pipe: Connection, seed: int, first: int, last: int, only: str | None, keeping: bool) -> None:
    import torch
    from spike_compressor.quiet import quiet_libraries

    from fuzz.cases import Bench, chosen, keep
    from fuzz.targets import TARGETS

    quiet_libraries()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        bench = Bench(Path(folder).resolve() / "files")
        for name in [only] if only else TARGETS.names():
            bench.target(name)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE,) * 2)
        bench.watch()
        for number in range(first, last):
            name, random = chosen(seed, number, only)
            pipe.send(("target", name))
            target = bench.target(name)
            file, data = target.damage(random)
            fault = bench.run(target, file, data)
            if fault is not None and keeping:
                keep(CORPUS, name, file, data)
            pipe.send(("done", fault))
