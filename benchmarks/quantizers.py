"""What the two comparisons of quantizers share: one sweep each, its report, and the goals."""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import RECIPES, Goal, finish, measured, parser, recipe_file, rows_of, sweep_folder

BUDGETS = ("2/3", "3/4", "4/5", "7/7")
#: Of a report, what is kept with the results; the page and `comparison.json` stay under `--scratch`.
KEPT = ("report.md", "cells.csv")


def arguments(
    description: str, name: str, recipes: list[str], budgets: tuple[str, ...], seeds: tuple[int, ...] = (0,)
) -> argparse.ArgumentParser:
    made = parser(description, f"{name}.json")
    made.add_argument("--recipes", nargs="+", default=recipes, help="names of files in recipes/compare/ or recipes/")
    made.add_argument("--budgets", nargs="+", default=list(budgets), help="as `spike-compressor compare` takes them")
    made.add_argument("--seeds", nargs="+", type=int, default=list(seeds), help="of rotations and calibration data")
    made.add_argument(
        "--seeds-at", nargs="+", default=["3/4"], help="budgets at which further seeds run, not the first alone"
    )
    made.add_argument("--jobs", type=int, default=1, help="processes that run rows")
    return made


def all_recipes(*without: str) -> list[str]:
    """Names of the compared recipes, but for those that begin with one of `without`."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml") if not path.stem.startswith(without))


def command(name: str, args: argparse.Namespace) -> str:
    """The command line that makes these rows again."""
    parts = ["python", f"benchmarks/{name}.py", "--recipes", *args.recipes, "--budgets", *args.budgets]
    parts += ["--seeds", *map(str, args.seeds)]
    if len(args.seeds) > 1:
        parts += ["--seeds-at", *args.seeds_at]
    for option in ("questions", "answers", "windows", "samples"):
        if hasattr(args, option):
            parts += [f"--{option}", str(getattr(args, option))]
    return shlex.join(parts)


def measure(
    name: str,
    args: argparse.Namespace,
    model: Path,
    evaluations: list[str],
    calibration: Callable[[Any, int], Any],
) -> dict[str, Any]:
    """Run or complete the sweep and write its report, which is of the first seed; the result of all seeds.

    The first seed runs at every budget, further ones at those of `--seeds-at`.
    """
    from spike_compressor.comparison import report

    recipes = {recipe: recipe_file(recipe) for recipe in args.recipes}
    first, *more = args.seeds
    result = measured(name, args, model, recipes, args.budgets, evaluations, calibration, [first])
    target = args.out.with_suffix("")
    target.mkdir(parents=True, exist_ok=True)
    folder = sweep_folder(name, args)
    report.write(result, folder, command(name, args))
    for file in KEPT:
        shutil.copyfile(folder / file, target / file)
    if more:
        added = measured(name, args, model, recipes, args.seeds_at, evaluations, calibration, more)
        rows = [row for row in added["rows"] if row["kind"] != "float"]
        result = {**result, "rows": result["rows"] + rows, "seeds": args.seeds}
    return result


def compact(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Figures with intervals, operations and spikes of each row; `pareto` compares rows of the first seed."""
    from spike_compressor.comparison.ranking import pareto, total_sops

    first = result["evaluations"][0]
    spiking = rows_of(result, "spiking", seed=result["seeds"][0])
    front = {id(row) for row in pareto(spiking, first["label"], first["higher_is_better"])}
    rows = []
    for row in result["rows"]:
        figures = {
            label: {"estimate": figure["value"], "low": figure["low"], "high": figure["high"]}
            for label, figure in row["figures"].items()
        }
        kept = {"kind": row["kind"], "recipe": row["recipe"], "budget": row["budget"], "seed": row["seed"]}
        kept["figures"] = figures
        if row["kind"] == "spiking":
            kept |= {"sops_per_token": total_sops(row), "pareto": id(row) in front}
        rows.append(kept)
    return rows


def conclude(
    name: str, args: argparse.Namespace, result: dict[str, Any], goals: list[Goal], settings: dict[str, Any]
) -> int:
    """Write the result; the exit code."""
    shown = {"evaluations": ", ".join(one["label"] for one in result["evaluations"]), **settings, "seeds": args.seeds}
    stable = order_over_seeds(result, args.seeds_at)
    if stable:
        shown["order of recipes over seeds"] = "; ".join(stable)
    return finish(name, args, shown, compact(result), goals, command(name, args))


def order_over_seeds(result: dict[str, Any], budgets: list[str]) -> list[str]:
    """Whether the order of recipes is the same for all seeds, in words, one sentence per budget."""
    from spike_compressor.comparison.ranking import pairs_in_order

    label = result["evaluations"][0]["label"]
    orders = {budget: pairs_in_order(result, label, budget) for budget in budgets}
    return [
        f"{budget}: {'stable' if order[0] == order[1] else f'not stable, {order[0]} of {order[1]} pairs keep theirs'}"
        for budget, order in orders.items()
        if order is not None
    ]
