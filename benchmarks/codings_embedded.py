"""Which coding and which thresholds make the best spikes of the embedded model, at as many spikes?

    python benchmarks/codings_embedded.py --out docs/results/codings_embedded.json

The recipes of `recipes/codings/` have the same weights; `sensitivity` spends each budget. Every row is kept under
`--scratch`, so a killed run goes on where it was.
"""

from __future__ import annotations

from functools import partial

from harness import RECIPES, prepare
from quantizers import arguments, conclude, measure

NAME = "codings_embedded"
BUDGETS = ("spikes:0.75", "spikes:1")


def codings() -> list[str]:
    """Names of the compared recipes."""
    folder = RECIPES.parent
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("codings/*.yaml"))


def main() -> int:
    made = arguments(__doc__.splitlines()[0], NAME, codings(), BUDGETS)
    made.add_argument("--questions", type=int, default=150, help="test questions of each kind")
    made.add_argument("--samples", type=int, default=256, help="calibration questions")
    args = made.parse_args()
    prepare(args.threads)
    from spike_compressor.cli.models import calibration_of_seed
    from spike_compressor.demo.model import MODEL_DIR

    calibration = partial(calibration_of_seed, "demo", args.samples, 8)
    result = measure(NAME, args, MODEL_DIR, [f"questions:{args.questions}"], calibration)
    settings = {"calibration": f"{args.samples} questions of the calibration split"}
    return conclude(NAME, args, result, [], settings)


if __name__ == "__main__":
    raise SystemExit(main())
