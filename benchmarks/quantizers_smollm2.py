"""Which quantizer makes the best spikes of SmolLM2-135M?

    python benchmarks/quantizers_smollm2.py --out docs/results/quantizers_smollm2.json

Budgets with two numbers name T of vision and text rows, as everywhere; here all rows are text. Every row is kept under
`--scratch`, so a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import smollm2
from harness import Goal, prepare
from quantizers import BUDGETS, all_recipes, arguments, conclude, measure
from spike_compressor.files import write_text

NAME = "quantizers_smollm2"
CONTEXT = 512
#: Calibration windows that a seed chooses from.
POOL = 64


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
    return write_text(path, "\n\n".join(tokenizer.decode(text) for text in texts.values()))


def main() -> int:
    made = arguments(__doc__.splitlines()[0], NAME, all_recipes(), BUDGETS)
    made.add_argument("--windows", type=int, default=6, help="held-out windows of 512 tokens")
    made.add_argument("--samples", type=int, default=16, help="calibration windows of 512 tokens")
    return run(NAME, made.parse_args())


def run(name: str, args: argparse.Namespace, goals: Callable[[dict[str, Any]], list[Goal]] | None = None) -> int:
    """Sweep, report, result; the exit code."""
    prepare(args.threads)
    smollm2.require()
    model = smollm2.model_directory(args.scratch)
    evaluations = [f"text:{held_out(args.scratch, args.windows)}@{CONTEXT}x{args.windows}"]
    result = measure(name, args, model, evaluations, partial(calibration, args.samples))
    settings = {
        "held-out text": f"{args.windows} windows of {CONTEXT} tokens: {', '.join(smollm2.EVALUATION_WORKS)}",
        "calibration": f"{args.samples} windows of {CONTEXT} tokens out of {POOL}",
        "caveat": smollm2.CAVEAT,
    }
    return conclude(name, args, result, goals(result) if goals else [], settings)


if __name__ == "__main__":
    raise SystemExit(main())
