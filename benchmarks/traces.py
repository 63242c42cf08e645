"""Trace bundles of the compared models, for `make rtl`, `make rtl-bench` and `make synth`.

python benchmarks/traces.py embedded --out out/traces/embedded
python benchmarks/traces.py embedded --recipe gptq_w4_g64 --budget 7/7 --statistic rms --ratio 0.5/0.4 --out out/rms
python benchmarks/traces.py embedded --recipe gptq_w4_tclif_rebuilt --budget spikes:0.75 --out out/traces/rebuilt
python benchmarks/traces.py embedded --recipe gptq_w4_g64 --budget 5/6 --coding group4_beam4 --statistic rms \\
    --ratio 0.5/0.38 --out out/groups
python benchmarks/traces.py smollm2 --rows 8 --layers 're:.*layers\\.15\\..*' --out out/traces/smollm2
python benchmarks/traces.py smollm2 --recipe autoround_w4_tclif_rdoq --rows 8 --layers 're:.*layers\\.15\\..*' --out ar
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from harness import SCRATCH, prepare, recipe_file


def embedded(folder: Path, samples: int) -> tuple[Path, Any, Any]:
    """The embedded model's directory, its calibration data, and what makes inputs of a processor."""
    from spike_compressor.cli.models import calibration_of_seed
    from spike_compressor.demo.data import items
    from spike_compressor.demo.model import MODEL_DIR, prompt

    def inputs(processor: Any) -> Any:
        asked = items("test", 1)
        texts = [prompt(item.question) for item in asked]
        return processor(images=[item.image for item in asked], text=texts, padding=True, return_tensors="pt")

    return MODEL_DIR, partial(calibration_of_seed, "demo", samples, 8), inputs


def smollm2(folder: Path, samples: int) -> tuple[Path, Any, Any]:
    """The same of SmolLM2-135M; inputs are a held-out window of 128 tokens."""
    import smollm2 as model
    from quantizers_smollm2 import CONTEXT, calibration

    model.require()

    def inputs(tokenizer: Any) -> Any:
        texts = model.evaluation_texts(tokenizer, 3, CONTEXT)
        ids = next(iter(texts.values()))[:128].reshape(1, -1)
        return {"input_ids": ids, "attention_mask": ids.new_ones(ids.shape)}

    return model.model_directory(folder), partial(calibration, samples), inputs


def ratio_of(text: str) -> float | str | dict[str, float]:
    """`auto`, one number for all rows, or those of vision and text: `0.5/0.35`."""
    if text == "auto":
        return text
    vision, _, words = text.partition("/")
    return {"vision": float(vision), "text": float(words)} if words else float(vision)


MODELS = {"embedded": (embedded, 256), "smollm2": (smollm2, 32)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("--out", type=Path, required=True, help="the bundle's directory")
    parser.add_argument("--recipe", default="quip_gptq_w4_channel", help="name of a file in recipes/compare")
    parser.add_argument("--budget", default="3/4", help="T of vision / text, or as `spike-compressor compare` takes it")
    parser.add_argument("--statistic", help="threshold_statistic: absmax, rms, mean_abs (default: the recipe's)")
    parser.add_argument("--coding", help="of the spikes: tc_lif, group4_beam4, … (likewise)")
    parser.add_argument("--ratio", type=ratio_of, help="threshold_ratio: one, of vision / text, or auto (likewise)")
    parser.add_argument("--rows", type=int, help="rows to keep of each layer, shared between modalities (default: all)")
    parser.add_argument("--layers", nargs="+", help="names or re: patterns (default: all)")
    parser.add_argument("--samples", type=int, help="calibration items (default: as the comparison takes)")
    parser.add_argument(
        "--scratch", type=Path, default=SCRATCH, help="the comparison's quantized weights are kept here"
    )
    parser.add_argument("--weights", type=Path, help="folder of quantized weights to share instead, as frontier.py's")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    prepare(args.threads)
    from spike_compressor import export_trace
    from spike_compressor.comparison import SpikeBudget, SplitRecipe
    from spike_compressor.comparison.sweep import Sweep

    make, samples = MODELS[args.model]
    directory, calibration, inputs = make(args.scratch, args.samples or samples)
    budget = SpikeBudget.parse(args.budget)
    recipe = SplitRecipe.read(recipe_file(args.recipe))
    folder = args.scratch / "sweeps" / f"quantizers_{args.model}"  # where the comparison keeps the same weights
    bench = Sweep(directory, {args.recipe: recipe}, (budget,), (), calibration, folder).bench(0)
    if args.weights is not None:
        bench = replace(bench, folder=args.weights)
    given = {"coding": args.coding, "threshold_statistic": args.statistic, "threshold_ratio": args.ratio}
    thresholds = {field: value for field, value in given.items() if value is not None}
    model = bench.spiking(recipe.spiking(budget.fields, **thresholds))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    export_trace(model, inputs(bench.processor), args.out, layers=args.layers, tokens=args.rows, overwrite=True)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
