"""How close few timesteps come to SmolLM2-135M in floats when thresholds, weight scales and T are all fitted.

    python benchmarks/fitted_smollm2.py --out docs/results/fitted_smollm2.json

The recipe is `recipes/quip_gptq_w4_tclif_fitted.yaml`, budgets are mean timesteps that `sensitivity` spends.
"""

from __future__ import annotations

import argparse
from typing import Any

from harness import Goal
from quantizers import arguments
from quantizers_smollm2 import run

NAME = "fitted_smollm2"
#: Perplexity over that of the float model, at most, by budget as the sweep labels it.
LIMITS = {"mean:4:sensitivity": 1.10, "mean:3:sensitivity": 1.25}


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


def parser() -> argparse.ArgumentParser:
    made = arguments(__doc__.splitlines()[0], NAME, ["quip_gptq_w4_tclif_fitted"], ("mean:4", "mean:3"))
    made.add_argument("--windows", type=int, default=6, help="held-out windows of 512 tokens")
    made.add_argument("--samples", type=int, default=32, help="calibration windows of 512 tokens")
    return made


def main() -> int:
    return run(NAME, parser().parse_args(), goals)


if __name__ == "__main__":
    raise SystemExit(main())
