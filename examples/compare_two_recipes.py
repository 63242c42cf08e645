"""Compare two recipes under the same spike budget, and say which is better and what it costs.

    python examples/compare_two_recipes.py                       # rotation or not, on the embedded model; some minutes
    python examples/compare_two_recipes.py --recipes a.yaml compare/gptq_w4_g64 --budget 3/4 mean:3.0 --questions 200

Both recipes end in the spiking modifiers; the budget replaces their timesteps. What was computed stays in `--out`: a
second run, or one with a budget more, computes only what is missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spike_compressor import compare
from spike_compressor.demo.data import calibration_batches
from spike_compressor.demo.model import MODEL_DIR
from spike_compressor.shipped import recipe_path


def calibration(processor, seed: int):
    """The data that quantizers see: another sample of them for each seed."""
    return calibration_batches(processor, samples=64, batch_size=8, seed=seed)


def main(argv: list[str] | None = None) -> None:
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL_DIR, help="model directory (default: the embedded model)")
    parser.add_argument(
        "--recipes",
        nargs=2,
        default=["compare/rtn_w4_g64", "compare/quip_gptq_w4_g64"],
        help="files, or names of shipped ones (default: %(default)s)",
    )
    parser.add_argument("--budget", nargs="+", default=["3/4"], help="T of vision / T of text, or mean:3.0")
    parser.add_argument("--questions", type=int, default=20, help="questions of each of the 15 kinds")
    parser.add_argument("--out", type=Path, default=Path("compared"), help="folder of finished results")
    args = parser.parse_args(argv)

    recipes = [recipe_path(recipe) for recipe in args.recipes]
    result = compare(args.model, recipes, args.budget, [f"questions:{args.questions}"], calibration, args.out)
    label, unit = result["evaluations"][0]["label"], result["evaluations"][0]["unit"]
    for row in result["rows"]:
        if row["kind"] == "integer":  # the same integers without spikes: only a check, which compare() has made
            continue
        figure = row["figures"][label]
        line = f"{row['kind']:8} {row['recipe']:18} {row['budget']:8} {figure['value']:6.2f} {unit}"
        line += f" ({figure['low']:.2f} to {figure['high']:.2f})"
        if row["kind"] == "spiking":
            total = row["spikes"]
            tokens = total["tokens"]
            sops = sum(total["sops_per_token"][m] * tokens[m] for m in tokens) / sum(tokens.values())
            line += f", {sops:,.0f} synaptic operations per token"
        print(line)


if __name__ == "__main__":
    main()
