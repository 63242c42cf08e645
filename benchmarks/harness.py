"""What all benchmarks share: arguments, the machine's name, goals, results as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drawings import drawing
from spike_compressor.files import write_text

ROOT = Path(__file__).parents[1]
#: Models, checkpoints with quantized weights, and finished cells; git does not see it.
SCRATCH = ROOT / "out" / "bench"
RESULTS = ROOT / "docs" / "results"
#: Those that differ in nothing but the quantizer.
RECIPES = ROOT / "recipes" / "compare"
#: The simplest there is: weights rounded by channel, one T for all rows; no data.
ONE_T_RECIPE = """
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      ignore: [lm_head]
      config_groups:
        w4: {targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: channel}}
  spike_modifiers:
    TCLIFModifier: {ignore: [lm_head], timesteps: 4}
"""


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


def measured(
    name: str,
    args: argparse.Namespace,
    model: Path,
    recipes: Mapping[str, Any],
    budgets: Sequence[Any],
    evaluations: Sequence[Any],
    calibration: Callable[[Any, int], Any],
    seeds: Sequence[int] = (0,),
) -> dict[str, Any]:
    """What `compare` finds; its weights and finished rows are kept under `--scratch` by the benchmark's name.

    Args:
        name: of the benchmark.
        args: of its command line.
        model: directory of the float model.
        recipes: label -> file or `SplitRecipe`.
        budgets: texts, or `SpikeBudget`s.
        evaluations: texts, or `Evaluation`s.
        calibration: makes `oneshot`'s data of (processor, seed).
        seeds: of rotations and calibration data.
    """
    from spike_compressor.comparison import compare

    folder = sweep_folder(name, args)
    jobs = getattr(args, "jobs", 1)
    return compare(
        model, recipes, budgets, evaluations, calibration, folder, seeds=seeds, jobs=jobs, threads=args.threads
    )


def sweep_folder(name: str, args: argparse.Namespace) -> Path:
    """Where a benchmark's comparison keeps weights and rows."""
    return Path(args.scratch) / "sweeps" / name


def rows_of(result: dict[str, Any], kind: str, **which: Any) -> list[dict[str, Any]]:
    """A comparison's rows of one kind (`float`, `weights`, `integer`, `spiking`), and of a recipe, budget or seed."""
    found = [row for row in result["rows"] if row["kind"] == kind]
    return [row for row in found if all(row[key] == value for key, value in which.items())]


def recipe_file(name: str) -> Path:
    """A recipe of the comparison, or else one that users copy. Raises SystemExit if there is neither."""
    for folder in (RECIPES, RECIPES.parent):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise SystemExit(f"no recipe {name!r} in recipes/compare/ or recipes/")


def machine(threads: int) -> dict[str, Any]:
    """The machine that measures, and the packages."""
    from spike_compressor.comparison.report import processor_name
    from spike_compressor.fingerprint import versions

    return {
        "cpu": processor_name(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": versions(),
    }


def finish(
    name: str,
    args: argparse.Namespace,
    settings: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    goals: Sequence[Goal] = (),
    command: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> int:
    """Write the result, and beside it its picture if it has one; print it. The exit code: was every goal reached?

    Args:
        name: of the benchmark.
        args: of its command line.
        settings: what it ran on, to be shown above the table.
        rows: of the table.
        goals: what it must show.
        command: that makes these rows again, where it is not the benchmark's by itself.
        more: further fields of the result.
    """
    result: dict[str, Any] = {"benchmark": name, "label": "measured"}
    if command is not None:
        result["command"] = command
    result |= {"machine": machine(args.threads), "settings": settings, **(more or {}), "rows": rows}
    result["goals"] = [asdict(goal) for goal in goals]
    write_text(args.out, json.dumps(result, indent=1) + "\n")
    picture = drawing(result)
    if picture is not None:
        write_text(args.out.with_suffix(".svg"), picture)
    if args.json:
        print(json.dumps(result))
    else:
        from tables import markdown

        print(markdown(result))
    sys.stdout.flush()
    return 0 if all(goal.passed for goal in goals) else 1
