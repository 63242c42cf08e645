"""Accuracy of the embedded model under equal spike budgets, by how the budget is spent.

    python benchmarks/msts_embedded.py --out docs/results/msts_embedded.json

`fixed` has no budget of its own choice: each pair of timesteps has a mean that follows from the data. So the other
strategies also run at exactly those means; at other means they are held against the next larger pair, which may spend
more. Every cell is kept under `--scratch`, so a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from harness import Goal, finish, measured, parser, prepare, recipe_file, rows_of, sweep_folder
from spike_compressor.comparison import Cells, SpikeBudget, SplitRecipe, Workbench
from spike_compressor.comparison.ranking import total_sops
from spike_compressor.comparison.sweep import Sweep
from spike_compressor.demo.evaluations import DemoQuestions
from spike_compressor.demo.model import MODEL_DIR

NAME = "msts_embedded"
RECIPES = {"RTN": "rtn_w4_g64", "GPTQ": "gptq_w4_g64", "QuIP + GPTQ": "quip_gptq_w4_g64"}
#: What runs unless told otherwise: the plainest weights, and the best for spikes.
USUAL = ("RTN", "QuIP + GPTQ")
#: Pairs of timesteps Tv/Tt whose means others are compared at.
FIXED = ("2/2", "2/3", "3/2", "3/4")
STRATEGIES: dict[str, dict[str, Any]] = {
    "uniform": {"allocation": "uniform"},
    "med": {"allocation": "med"},
    "sensitivity (output)": {"allocation": "sensitivity", "weighting": "output"},
    # of all calibration questions: the default reads fewer, and `calibration.py` says what that saves
    "sensitivity (gradient)": {"allocation": "sensitivity", "weighting": "gradient", "samples": 256},
}
BEST = "sensitivity (gradient)"
#: Questions of each kind that spikes are counted on: counting is slower than running.
COUNTED = 30


class Questions(DemoQuestions):
    """The embedded model's questions; spikes are counted on more of them than `compare` takes."""

    def sample(self, model: Any, processor: Any) -> None:
        from spike_compressor.demo.evaluate import judge

        judge(model, processor, self.questions(min(COUNTED, self.per_kind)))


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__.splitlines()[0], f"{NAME}.json")
    made.add_argument("--recipes", nargs="+", default=list(USUAL), choices=list(RECIPES), help="weights")
    made.add_argument("--fixed", nargs="+", default=list(FIXED), help="pairs Tv/Tt of the strategy `fixed`")
    made.add_argument(
        "--budgets",
        nargs="+",
        default=["2/2", "2.5"],
        help="where all strategies run: mean timesteps, or pairs of --fixed",
    )
    made.add_argument("--questions", type=int, default=400, help="test questions of each kind")
    made.add_argument("--samples", type=int, default=256, help="calibration questions")
    return made


def calibration(samples: int, processor: Any, seed: int) -> Any:
    """Batches of the calibration split."""
    from spike_compressor.demo.data import calibration_batches

    return calibration_batches(processor, samples=samples, seed=seed)


def measure(args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, list[bool]]]]:
    """Rows of the table, and the answers behind each: right or wrong by kind of question."""
    evaluation = Questions(str(args.questions))
    recipes = {name: SplitRecipe.read(recipe_file(RECIPES[name])) for name in args.recipes}
    data = partial(calibration, args.samples)
    bench = Sweep(MODEL_DIR, recipes, (), (), data, sweep_folder(NAME, args)).bench(0)
    compared = partial(measured, NAME, args, MODEL_DIR, recipes)

    def timesteps(row: dict[str, Any], budget: SpikeBudget) -> dict[str, Any]:
        return on_calibration_data(bench, recipes[row["recipe"]].spiking(budget.fields))

    pairs = {budget.label: budget for budget in map(SpikeBudget.parse, args.fixed)}
    fixed = compared(list(pairs.values()), [evaluation], data)
    # a mean over tokens x MACs is one of the model and its data: the same for all weights
    first = rows_of(fixed, "spiking", recipe=args.recipes[0])
    means = {row["budget"]: timesteps(row, pairs[row["budget"]])["mean_timesteps"] for row in first}
    spent: dict[str, tuple[str, str, SpikeBudget]] = {}
    for budget in args.budgets:
        mean = means[budget] if budget in means else float(budget)
        for strategy, fields in STRATEGIES.items():
            planned = SpikeBudget(f"{strategy} at {budget}", {**fields, "budget": {"mean_timesteps": mean}})
            spent[planned.label] = strategy, budget, planned
    others = compared([planned for _, _, planned in spent.values()], [evaluation], data)
    spent |= {label: ("fixed", label, budget) for label, budget in pairs.items()}
    found = rows_of(fixed, "float")
    for name in args.recipes:
        found += rows_of(fixed, "weights", recipe=name) + rows_of(fixed, "spiking", recipe=name)
        found += rows_of(others, "spiking", recipe=name)
    rows = []
    for row in found:
        made: dict[str, Any] = {"weights": row["recipe"] or "float", "spikes": "none"}
        if row["kind"] == "spiking":
            made["spikes"], made["budget"], planned = spent[row["budget"]]
            made |= {**timesteps(row, planned), "sops_per_token": total_sops(row)}
        rows.append(made)
    correct = [row["figures"][evaluation.label]["detail"]["correct"] for row in found]
    return rows, [{kind: [digit == "1" for digit in digits] for kind, digits in one.items()} for one in correct]


def on_calibration_data(bench: Workbench, recipe: SplitRecipe) -> dict[str, Any]:
    """Mean timesteps of a recipe's plan on the calibration data, which budgets are defined by."""
    import torch
    from spike_compressor import record_spikes

    def compute() -> dict[str, Any]:
        model = bench.spiking(recipe)
        with torch.inference_mode(), record_spikes(model) as record:
            for batch in bench.calibration():
                model(**batch)
        return {
            "mean_timesteps": record.mean_timesteps(),
            "mean_timesteps_unweighted": record.mean_timesteps(weighted=False),
            "timesteps": {name: record.mean_timesteps(name) for name in ("vision", "text")},
        }

    key = {"what": "timesteps on the calibration data", "model": bench.parts(recipe)}
    found: dict[str, Any] = Cells(bench.folder.parent / "cells").cell(key, compute)
    return found


def with_intervals(rows: list[dict[str, Any]], answers: list[dict[str, list[bool]]]) -> None:
    """Add bootstrap intervals: of each row, against float, and against `fixed` and `uniform`."""
    from spike_compressor.evaluations import accuracy_difference, accuracy_interval

    for row, own in zip(rows, answers, strict=True):
        row["accuracy"] = accuracy_interval(own).to_dict()
        row["minus_float"] = accuracy_difference(own, answers[0]).to_dict()
        for strategy in ("fixed", "uniform"):
            baseline = baseline_of(row, rows, strategy)
            if baseline is not None:
                row[f"minus_{strategy}"] = accuracy_difference(own, answers[baseline]).to_dict()
                row[f"{strategy}_rival"] = rows[baseline]["budget"]


def baseline_of(row: dict[str, Any], rows: list[dict[str, Any]], strategy: str) -> int | None:
    """Index of the row that `row` is held against: of `strategy` and the same weights, and of the same budget.

    If `fixed` has no pair of that mean, the pair of the next larger one.
    """
    if "budget" not in row or strategy == row["spikes"]:
        return None
    others = [i for i, other in enumerate(rows) if (other["weights"], other["spikes"]) == (row["weights"], strategy)]
    for index in others:
        if rows[index]["budget"] == row["budget"]:
            return index
    if strategy != "fixed":
        return None
    larger = [index for index in others if rows[index]["mean_timesteps"] >= row["mean_timesteps"]]
    return min(larger, key=lambda index: float(rows[index]["mean_timesteps"]), default=None)


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """Sensitivity loses no more than `fixed` and `uniform` at means of 2.0 and 2.5 and the pairs between."""
    found = []
    for row in rows:
        if row["spikes"] != BEST:
            continue
        for baseline in ("fixed", "uniform"):
            if f"minus_{baseline}" not in row:
                continue
            difference = row[f"minus_{baseline}"]
            low, middle, high = (100 * difference[key] for key in ("low", "estimate", "high"))
            where = f"{row['weights']}, budget {row['budget']}: {BEST} loses no more than {baseline}"
            against = row.get(f"{baseline}_rival", row["budget"])
            if against != row["budget"]:
                where += f" {against}"
            shown = f"{middle:+.2f} points ({low:+.2f} .. {high:+.2f})"
            found.append(Goal(f"{where} (interval of the difference reaches 0 or more)", shown, high >= 0))
    return found


def main() -> int:
    args = arguments().parse_args()
    prepare(args.threads)
    rows, answers = measure(args)
    with_intervals(rows, answers)
    settings = {
        "calibration": f"{args.samples} questions of the calibration split",
        "evaluation": f"{args.questions} questions of each kind, test split",
        "spikes": f"timesteps on calibration data; operations on {COUNTED} test questions of each kind",
        "kinds": len(answers[0]),
    }
    return finish(NAME, args, settings, rows, goals(rows))


if __name__ == "__main__":
    raise SystemExit(main())
