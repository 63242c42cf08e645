"""Which quantizer makes the best spikes of the embedded vision-language model?

    python benchmarks/quantizers_embedded.py --out docs/results/quantizers_embedded.json

Every row is kept under `--scratch`, so a killed run goes on where it was.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from harness import Goal, prepare
from quantizers import all_recipes, arguments, conclude, measure

NAME = "quantizers_embedded"
#: Points of the curve of accuracy over operations, T from 2 to 7.
SWEEP = ("2/2", "2/3", "3/4", "4/5", "6/6", "7/7")
#: Loss at 3/4 that the paper's best model shows on average, in points of accuracy.
LOSS = 0.72


def goals(result: dict[str, Any]) -> list[Goal]:
    """The best recipe at 3/4 against the float model."""
    label = result["evaluations"][0]["label"]
    first = [row for row in result["rows"] if row["seed"] == result["seeds"][0]]
    figure = {(row["kind"], row["recipe"], row["budget"]): row["figures"][label] for row in first}
    real = figure["float", "", ""]["value"]
    at = {
        recipe: found["value"]
        for (kind, recipe, budget), found in figure.items()
        if (kind, budget) == ("spiking", "3/4")
    }
    if not at:
        return []
    best = max(at, key=lambda recipe: at[recipe])
    found = f"{best}: {at[best]:.2f} against {real:.2f}, {at[best] - real:+.2f} points"
    return [Goal(f"best recipe at 3/4 loses at most {LOSS} points", found, at[best] >= real - LOSS)]


def main() -> int:
    made = arguments(__doc__.splitlines()[0], NAME, all_recipes("spinquant", "autoround"), SWEEP, (0, 1, 2))
    made.add_argument("--questions", type=int, default=150, help="test questions of each kind")
    made.add_argument("--answers", type=int, default=20, help="questions of each kind for the answers' perplexity")
    made.add_argument("--samples", type=int, default=256, help="calibration questions")
    args = made.parse_args()
    prepare(args.threads)
    from spike_compressor.cli.models import calibration_of_seed
    from spike_compressor.demo.model import MODEL_DIR

    evaluations = [f"questions:{args.questions}", f"answers:{args.answers}"]
    calibration = partial(calibration_of_seed, "demo", args.samples, 8)
    result = measure(NAME, args, MODEL_DIR, evaluations, calibration)
    settings = {"calibration": f"{args.samples} questions of the calibration split"}
    return conclude(NAME, args, result, goals(result), settings)


if __name__ == "__main__":
    raise SystemExit(main())
