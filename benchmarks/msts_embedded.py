"""Accuracy of the embedded model under equal spike budgets, by how the budget is spent.

    python benchmarks/msts_embedded.py --out docs/results/msts_embedded.json

`fixed` has no budget of its own choice: each pair of timesteps has a mean that follows from the data. So the other
strategies also run at exactly those means; at other means they are held against the next larger pair, which may spend
more. Every cell is kept under `--scratch`, so a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from harness import ROOT, Goal, Once, finish, machine, parser, prepare, progress

RECIPES = {"RTN": "rtn_w4_g64.yaml", "GPTQ": "gptq_w4_g64.yaml", "QuIP + GPTQ": "quip_gptq_w4_g64.yaml"}
#: What runs unless told otherwise: the plainest weights, and the best for spikes.
USUAL = ("RTN", "QuIP + GPTQ")
#: Pairs of timesteps Tv/Tt whose means others are compared at.
FIXED = ("2/2", "2/3", "3/2", "3/4")
STRATEGIES: dict[str, dict[str, Any]] = {
    "uniform": {"allocation": "uniform"},
    "med": {"allocation": "med"},
    "sensitivity (output)": {"allocation": "sensitivity", "weighting": "output"},
    "sensitivity (gradient)": {"allocation": "sensitivity", "weighting": "gradient"},
}
BEST = "sensitivity (gradient)"
#: Questions of each kind that spikes are counted on: counting is slower than running.
COUNTED = 30


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__.splitlines()[0], "msts_embedded.json")
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


class Bench:
    """The embedded model, its questions, and the cells."""

    def __init__(self, args: argparse.Namespace) -> None:
        from spike_compressor import record_spikes
        from spike_compressor.comparison import Cells, Workbench
        from spike_compressor.demo.data import calibration_batches, items
        from spike_compressor.demo.evaluate import judge
        from spike_compressor.demo.model import MODEL_DIR, load_model, load_processor
        from spike_compressor.evaluations import require_disjoint
        from spike_compressor.fingerprint_code import digest_of_code

        self.args = args
        self.cells = Cells(args.scratch / "cells")
        self.processor = load_processor()
        self.test = items("test", args.questions)
        self.calibration: Callable[[], Any] = lambda: calibration_batches(self.processor, samples=args.samples)
        calibrated: Any = self.calibration().dataset
        require_disjoint(
            (item.image.tobytes() for item in calibrated),
            (item.image.tobytes() for item in self.test),
            "pictures",
        )
        self.bench = Workbench(MODEL_DIR, load_model, self.processor, self.calibration, args.scratch / "weights")
        self.evaluation = {"questions": args.questions, "code": digest_of_code(judge, record_spikes)}

    def answers(self, label: str, parts: dict[str, Any], opened: Once) -> dict[str, list[bool]]:
        """Right or wrong by kind; from the cells if it is there."""
        from spike_compressor.demo.evaluate import judge

        def compute() -> dict[str, str]:
            with opened() as model:
                right = judge(model, self.processor, self.test, progress=progress(label))
            by_kind: dict[str, str] = {}
            for item, correct in zip(self.test, right, strict=True):
                by_kind[item.kind] = by_kind.get(item.kind, "") + str(int(correct))
            return by_kind

        found = self.cells.cell({"what": "answers", "parts": parts, **self.evaluation}, compute)
        return {kind: [digit == "1" for digit in digits] for kind, digits in found.items()}

    def spikes(self, parts: dict[str, Any], opened: Once) -> dict[str, Any]:
        """Mean timesteps on the calibration data, which budgets are defined by, and operations on test questions."""
        import torch
        from spike_compressor import record_spikes
        from spike_compressor.demo.evaluate import judge

        def compute() -> dict[str, Any]:
            with opened() as model:
                with torch.inference_mode(), record_spikes(model) as calibration:
                    for batch in self.calibration():
                        model(**batch)
                with record_spikes(model) as test:
                    judge(model, self.processor, self._counted())
            return {
                "mean_timesteps": calibration.mean_timesteps(),
                "mean_timesteps_unweighted": calibration.mean_timesteps(weighted=False),
                "timesteps": {m: calibration.mean_timesteps(m) for m in ("vision", "text")},
                "sops_per_token": test.sops_per_token(),
                "firing_rate": test.firing_rate(),
            }

        key = {"what": "spikes", "parts": parts, "counted": COUNTED, **self.evaluation}
        found: dict[str, Any] = self.cells.cell(key, compute)
        return found

    def _counted(self) -> list[Any]:
        taken: dict[str, list[Any]] = {}
        for item in self.test:
            if len(taken.setdefault(item.kind, [])) < COUNTED:
                taken[item.kind].append(item)
        return [item for items in taken.values() for item in items]


def measure(args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, list[bool]]]]:
    """Rows of the table, and the answers behind each."""
    from spike_compressor.comparison import SplitRecipe
    from spike_compressor.runtime.reference import weights_only

    bench = Bench(args)
    rows: list[dict[str, Any]] = [{"weights": "float", "spikes": "none"}]
    answers = [bench.answers("float", bench.bench.parts(), Once(bench.bench.open))]
    for name in args.recipes:
        recipe = SplitRecipe.read(ROOT / "recipes" / "compare" / RECIPES[name])
        bypassed = Once(partial(bench.bench.exact, recipe), weights_only)
        parts = {**bench.bench.parts(recipe.exact()), "bypassed": 1}
        rows.append({"weights": name, "spikes": "none"})
        answers.append(bench.answers(f"{name}, W4 only", parts, bypassed))

        def row(label: str, msts: dict[str, Any], budget: str, recipe: SplitRecipe = recipe, name: str = name) -> float:
            chosen = recipe.spiking(msts)
            parts = bench.bench.parts(chosen)
            opened = Once(partial(bench.bench.spiking, chosen))
            spikes = bench.spikes(parts, opened)
            rows.append({"weights": name, "spikes": label, "budget": budget, **spikes})
            answers.append(bench.answers(f"{name}, {label}, {budget}", parts, opened))
            return float(spikes["mean_timesteps"])

        means: dict[str, float] = {}
        for pair in args.fixed:
            vision, text = (int(T) for T in pair.split("/"))
            means[pair] = row("fixed", {"allocation": "fixed", "timesteps": {"vision": vision, "text": text}}, pair)
        for budget in args.budgets:
            mean = means[budget] if budget in means else float(budget)
            for label, strategy in STRATEGIES.items():
                row(label, {**strategy, "budget": {"mean_timesteps": mean}}, budget)
    return rows, answers


def with_intervals(rows: list[dict[str, Any]], answers: list[dict[str, list[bool]]]) -> None:
    """Add bootstrap intervals: of each row, against float, and against its rivals `fixed` and `uniform`."""
    from spike_compressor.evaluations import accuracy_difference, accuracy_interval

    for row, own in zip(rows, answers, strict=True):
        row["accuracy"] = accuracy_interval(own).to_dict()
        row["minus_float"] = accuracy_difference(own, answers[0]).to_dict()
        for strategy in ("fixed", "uniform"):
            rival = rival_of(row, rows, strategy)
            if rival is not None:
                row[f"minus_{strategy}"] = accuracy_difference(own, answers[rival]).to_dict()
                row[f"{strategy}_rival"] = rows[rival]["budget"]


def rival_of(row: dict[str, Any], rows: list[dict[str, Any]], strategy: str) -> int | None:
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
        for rival in ("fixed", "uniform"):
            if f"minus_{rival}" not in row:
                continue
            difference = row[f"minus_{rival}"]
            low, middle, high = (100 * difference[key] for key in ("low", "estimate", "high"))
            where = f"{row['weights']}, budget {row['budget']}: {BEST} loses no more than {rival}"
            against = row.get(f"{rival}_rival", row["budget"])
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
    head = {
        "benchmark": "msts_embedded",
        "label": "measured",
        "machine": machine(args.threads),
        "settings": {
            "calibration": f"{args.samples} questions of the calibration split",
            "evaluation": f"{args.questions} questions of each kind, test split",
            "spikes": f"timesteps on calibration data; operations on {COUNTED} test questions of each kind",
            "kinds": len(answers[0]),
        },
    }
    return finish({**head, "rows": rows}, goals(rows), args)


if __name__ == "__main__":
    raise SystemExit(main())
