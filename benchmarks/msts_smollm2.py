"""Perplexity of SmolLM2-135M at one mean number of timesteps, spread evenly or by sensitivity.

    python benchmarks/msts_smollm2.py --out docs/results/msts_smollm2.json

Weights are quantized once for each recipe; every cell is kept under `--scratch`, so a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

import smollm2
from harness import Goal, finish, measured, parser, prepare, recipe_file
from spike_compressor.evaluations import Evaluation, Metric, Perplexity, perplexity, perplexity_interval, shingles
from spike_compressor.fingerprint import digest
from torch import Tensor

NAME = "msts_smollm2"
RECIPES = {
    "SpinQuant R1R2 + GPTQ": "spinquant_r1r2_gptq_w4_g64",
    "SpinQuant R1R2R4 + GPTQ": "spinquant_r1r2r4_gptq_w4_g64",
    "QuIP + GPTQ": "quip_gptq_w4_g64",
}
#: The recipe that has no online rotation, where `down_proj` starves.
OFFLINE = "SpinQuant R1R2 + GPTQ"
SENSITIVITY = {"output": "sensitivity (output)", "gradient": "sensitivity (gradient)"}


class HeldOutWorks(Evaluation):
    """Perplexity of the held-out works, each by itself and all together.

    Args:
        windows: of text, the same number of each work.
        context, stride: tokens of a window, and from one to the next.
    """

    name = "works"
    unit = "perplexity"
    higher_is_better = False
    items_are = "passages of 32 tokens"

    def __init__(self, windows: int, context: int, stride: int) -> None:
        super().__init__(f"{context}/{stride}x{windows}")
        self.windows, self.context, self.stride = windows, context, stride

    def parts(self) -> dict[str, Any]:
        works = {name: smollm2.work(name) for name in smollm2.EVALUATION_WORKS}
        return {**super().parts(), "works": digest(works)}

    def texts(self, tokenizer: Any) -> dict[str, Tensor]:
        return smollm2.evaluation_texts(tokenizer, self.windows, self.context)

    def items(self, processor: Any) -> Iterator[bytes]:
        for text in self.texts(processor).values():
            yield from shingles(text)

    def calibration_items(self, loader: Any) -> Iterator[bytes]:
        for batch in loader:
            for row in batch["input_ids"]:
                yield from shingles(row)

    def run(self, model: Any, processor: Any, progress: Any = None) -> Metric:
        texts = self.texts(processor)
        found = {name: perplexity(model, text, self.context, self.stride) for name, text in texts.items()}
        whole = Perplexity.joined(list(found.values()))
        detail = {"by_text": {name: one.perplexity for name, one in found.items()}, "perplexity": whole.to_dict()}
        return Metric.of(perplexity_interval(whole), whole.scored, detail)

    def sample(self, model: Any, processor: Any) -> None:
        first = next(iter(self.texts(processor).values()))
        perplexity(model, first[: self.context], self.context)


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__.splitlines()[0], f"{NAME}.json")
    made.add_argument("--mean", type=float, nargs="+", default=[4.0], help="mean timesteps, weighted by tokens x MACs")
    made.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES), help="weights")
    made.add_argument("--context", type=int, default=512, help="tokens of a window")
    made.add_argument("--stride", type=int, help="tokens from window to window; left out: the context")
    made.add_argument("--windows", type=int, default=18, help="windows of held-out text")
    made.add_argument("--samples", type=int, default=32, help="calibration windows")
    made.add_argument("--ratio", default="1.0", help="threshold_ratio: a number or `auto`")
    return made


def spike_settings(mean: float) -> dict[str, dict[str, Any]]:
    """`MSTSModifier` by row of the table."""
    budget = {"mean_timesteps": mean}
    return {
        "uniform": {"allocation": "uniform", "budget": budget},
        **{
            label: {"allocation": "sensitivity", "weighting": weighting, "budget": budget}
            for weighting, label in SENSITIVITY.items()
        },
    }


def calibration(samples: int, context: int, tokenizer: Any, seed: int) -> Any:
    """Batches of the calibration works."""
    return smollm2.calibration_batches(smollm2.calibration_rows(tokenizer, samples, context))


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows of the table."""
    from spike_compressor.comparison import SpikeBudget, SplitRecipe

    ratio = args.ratio if args.ratio == "auto" else float(args.ratio)
    evaluation = HeldOutWorks(args.windows, args.context, args.stride or args.context)
    recipes = {
        name: SplitRecipe.read(recipe_file(RECIPES[name])).spiking(threshold_ratio=ratio) for name in args.recipes
    }
    settings = [(label, mean, fields) for mean in args.mean for label, fields in spike_settings(mean).items()]
    planned = {f"{label} at {mean:g}": (label, mean, fields) for label, mean, fields in settings}
    budgets = [SpikeBudget(name, fields) for name, (_, _, fields) in planned.items()]
    data = partial(calibration, args.samples, args.context)
    result = measured(NAME, args, smollm2.model_directory(args.scratch), recipes, budgets, [evaluation], data)
    rows = []
    for row in (row for row in result["rows"] if row["kind"] != "integer"):
        made: dict[str, Any] = {"weights": row["recipe"] or "float", "spikes": "none"}
        if row["kind"] == "spiking":
            made["spikes"], made["mean_timesteps"], _ = planned[row["budget"]]
            made |= {"budget": row["budget_facts"], "timesteps": timesteps_by_kind(row["plan"])}
        rows.append({**made, **row["figures"][evaluation.label]["detail"]})
    return rows


def timesteps_by_kind(plan: dict[str, dict[str, int]]) -> dict[str, float]:
    """Mean T of layers of one name, `down_proj` for one."""
    by_kind: dict[str, list[int]] = {}
    for name, timesteps in plan.items():
        by_kind.setdefault(name.rpartition(".")[2], []).append(timesteps["text"])
    return {kind: sum(found) / len(found) for kind, found in by_kind.items()}


def with_intervals(rows: list[dict[str, Any]]) -> None:
    """Add bootstrap intervals over chunks: of each row, against float, and against `uniform` of the same mean."""
    from spike_compressor.evaluations import perplexity_ratio

    measured = [Perplexity.from_dict(row["perplexity"]) for row in rows]
    for row, own in zip(rows, measured, strict=True):
        row["interval"] = perplexity_interval(own).to_dict()
        row["over_float"] = perplexity_ratio(own, measured[0]).to_dict()
        for other, theirs in zip(rows, measured, strict=True):
            same = (other["weights"], other.get("mean_timesteps")) == (row["weights"], row.get("mean_timesteps"))
            if same and other["spikes"] == "uniform" and row["spikes"] != "uniform":
                row["over_uniform"] = perplexity_ratio(own, theirs).to_dict()


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """Sensitivity against uniform at the same mean: clearly lower without online rotation, nowhere higher."""
    found = []
    for row in rows:
        if row["spikes"] != SENSITIVITY["gradient"] or "over_uniform" not in row:
            continue
        ratio = row["over_uniform"]
        shown = f"{ratio['estimate']:.3f} ({ratio['low']:.3f} .. {ratio['high']:.3f})"
        where = f"{row['weights']}, mean T={row['mean_timesteps']:g}: perplexity of {row['spikes']} over uniform"
        if row["weights"] == OFFLINE:
            found.append(Goal(f"{where} is at most 0.95, its interval below 1", shown, _clearly(ratio)))
        else:
            found.append(Goal(f"{where} is not above 1 (its interval reaches down to 1)", shown, ratio["low"] <= 1))
    return found


def _clearly(ratio: dict[str, float]) -> bool:
    return ratio["estimate"] <= 0.95 and ratio["high"] < 1


def main() -> int:
    args = arguments().parse_args()
    prepare(args.threads)
    smollm2.require()
    rows = measure(args)
    with_intervals(rows)
    settings = {
        "calibration": f"{args.samples} windows of {args.context} tokens: {len(smollm2.CALIBRATION_WORKS)} works",
        "evaluation": f"{args.windows} windows of {args.context} tokens: {', '.join(smollm2.EVALUATION_WORKS)}",
        "context": args.context,
        "stride": args.stride or args.context,
        "threshold_ratio": args.ratio,
        "caveat": smollm2.CAVEAT,
    }
    return finish(NAME, args, settings, rows, goals(rows))


if __name__ == "__main__":
    raise SystemExit(main())
