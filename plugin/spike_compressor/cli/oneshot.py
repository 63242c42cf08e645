"""`spike-compressor oneshot`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from spike_compressor.cli.command import Command, json_argument, quiet_libraries, register_command
from spike_compressor.errors import InputError


@register_command
class OneShot(Command):
    """Run a recipe on a model and write a spike-ready checkpoint.

    The recipe is LLM Compressor's YAML, ending in TCLIFModifier. Calibration data is a JSON Lines file with an object a
    line: {"text": "... <image> ...", "image": "picture.png"}; `image` (a path beside the file, or a list of them) is
    left out for text. `--data demo` takes the embedded model's own calibration set.
    """

    name = "oneshot"
    examples = """\
  spike-compressor oneshot --model path/to/model --recipe recipes/gptq_w4_tclif_34.yaml \\
      --data calibration.jsonl --out path/to/spiking
  spike-compressor oneshot --model demo --data demo --recipe recipes/rtn_w4_tclif_34.yaml --out out/rtn"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--model", required=True, help="model directory, or `demo` for the embedded model")
        parser.add_argument("--recipe", required=True, type=Path, help="recipe, YAML")
        parser.add_argument("--out", required=True, type=Path, help="checkpoint directory to write")
        parser.add_argument(
            "--data", help="calibration data: a .jsonl file, or `demo`; recipes without statistics need none"
        )
        parser.add_argument(
            "--samples", type=int, default=256, help="calibration samples at most (default: %(default)s)"
        )
        parser.add_argument("--batch-size", type=int, default=8, help="samples a batch (default: %(default)s)")
        parser.add_argument(
            "--pipeline",
            default="independent",
            choices=("independent", "sequential", "basic", "datafree"),
            help="LLM Compressor's calibration pipeline (default: %(default)s)",
        )
        parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16, ... (default: %(default)s)")
        parser.add_argument("--trust-remote-code", action="store_true", help="allow code from the model directory")
        json_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        if not args.recipe.is_file():
            raise InputError(f"no recipe at {args.recipe}")
        if args.samples < 1 or args.batch_size < 1:
            raise InputError("--samples and --batch-size must be at least 1")
        quiet_libraries()
        from llmcompressor import oneshot

        from spike_compressor.checkpoint import read_config, save
        from spike_compressor.cli.inspect import print_config
        from spike_compressor.cli.models import calibration_data, open_model, open_processor

        directory = _model_directory(args.model)
        processor = open_processor(directory, args.trust_remote_code)
        data = None if args.data is None else calibration_data(args.data, processor, args.samples, args.batch_size)
        model = open_model(directory, args.dtype, args.trust_remote_code)
        oneshot(model=model, processor=processor, dataset=data, recipe=str(args.recipe), pipeline=args.pipeline)
        save(model, args.out, processor)
        config = read_config(args.out)
        if args.json:
            print(json.dumps({"checkpoint": str(args.out), "config": config.model_dump(exclude_none=True)}))
        else:
            print_config(args.out, config)
        return 0


def _model_directory(name: str) -> Any:
    if name == "demo":
        from spike_compressor.demo.model import MODEL_DIR

        return MODEL_DIR
    directory = Path(name)
    if not (directory / "config.json").is_file():
        raise InputError(f"--model {name}: no model directory (it has no config.json); download the model first")
    return directory
