"""What all benchmarks share: arguments, the machine's name, goals, results as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spike_compressor.files import write_text

ROOT = Path(__file__).parents[1]
#: Models, checkpoints with quantized weights, and finished cells; git does not see it.
SCRATCH = ROOT / "out" / "bench"
RESULTS = ROOT / "docs" / "results"


@dataclass(frozen=True)
class Goal:
    """Something that a benchmark must show.

    Attributes:
        goal: what is demanded, in a sentence.
        found: what was measured, in words.
        passed: whether it holds.
    """

    goal: str
    found: str
    passed: bool


def parser(description: str, result: str) -> argparse.ArgumentParser:
    """Arguments that every benchmark has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--json", action="store_true", help="print the result as JSON")
    made.add_argument("--out", type=Path, default=SCRATCH / result, help="file for the result")
    made.add_argument("--scratch", type=Path, default=SCRATCH, help="folder for models and finished cells")
    made.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="CPU threads of each process")
    return made


def prepare(threads: int) -> None:
    """Set torch's threads, and let libraries say only what matters. Progress bars stay: runs are long."""
    from spike_compressor.quiet import quiet_libraries
    from spike_compressor.runtime.memory import give_memory_back

    quiet_libraries(bars=True)
    import torch

    torch.set_num_threads(threads)
    give_memory_back()


class Once:
    """A model that is made when it is first needed and serves several cells: `with once() as model`.

    Args:
        make: makes the model.
        within: a context to use it in, `weights_only` for one.
    """

    def __init__(self, make: Callable[[], Any], within: Callable[[Any], Any] = nullcontext) -> None:
        self._make, self._within = make, within
        self._model: Any = None

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        if self._model is None:
            self._model = self._make()
        with self._within(self._model):
            yield self._model


def progress(label: str) -> Callable[[int, int], None]:
    """A bar with remaining time, driven by (done, total)."""
    from tqdm import tqdm

    bar: list[Any] = []

    def report(done: int, total: int) -> None:
        if not bar:
            bar.append(tqdm(total=total, desc=label, dynamic_ncols=True, leave=False))
        bar[0].update(done - bar[0].n)
        if done >= total:
            bar[0].close()

    return report


def machine(threads: int) -> dict[str, Any]:
    """The machine that measures, and the packages."""
    from spike_compressor.fingerprint import versions

    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": versions(),
    }


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def finish(result: dict[str, Any], goals: Sequence[Goal], args: argparse.Namespace) -> int:
    """Write the result, print it; the exit code says whether every goal was reached."""
    result = {**result, "goals": [asdict(goal) for goal in goals]}
    write_text(args.out, json.dumps(result, indent=1) + "\n")
    if args.json:
        print(json.dumps(result))
    else:
        from tables import markdown

        print(markdown(result))
    sys.stdout.flush()
    return 0 if all(goal.passed for goal in goals) else 1
