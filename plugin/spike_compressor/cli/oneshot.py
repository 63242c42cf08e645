"""`spike-compressor oneshot`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spike_compressor.cli.command import Command, at_least_one, register_command
from spike_compressor.cli.inspect import checkpoint_result, show_checkpoint
from spike_compressor.cli.names import MODEL_HELP, model_directory
from spike_compressor.errors import InputError
from spike_compressor.files import require_replaceable
from spike_compressor.quiet import quiet_libraries
from spike_compressor.shipped import recipe_path


@register_command("oneshot")
class OneShot(Command):
    """Run a recipe on a model and write a spike-ready checkpoint.

    The recipe is LLM Compressor's YAML, ending in TCLIFModifier. Calibration data is a JSON Lines file one object per
    line: {"text": "... <image> ...", "image": "picture.png"}; `image` (a path beside the file, or a list of them) is
    left out for text. `--data demo` takes the embedded model's own calibration set.
    """

    examples = """\
  spike-compressor oneshot --model path/to/model --recipe gptq_w4_tclif_34 \\
      --data calibration.jsonl --out path/to/spiking
  spike-compressor oneshot --model demo --data demo --recipe rtn_w4_tclif_34 --out out/rtn"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--model", required=True, help=MODEL_HELP)
        parser.add_argument(
            "--recipe",
            required=True,
            help="recipe: a YAML file, or the name of a shipped one (`spike-compressor recipes`)",
        )
        parser.add_argument("--out", required=True, type=Path, help="checkpoint directory to write")
        parser.add_argument(
            "--data", help="calibration data: a .jsonl file, or `demo`; recipes without statistics need none"
        )
        parser.add_argument(
            "--samples", type=at_least_one, default=256, help="calibration samples at most (default: %(default)s)"
        )
        parser.add_argument(
            "--batch-size", type=at_least_one, default=8, help="samples per batch (default: %(default)s)"
        )
        parser.add_argument(
            "--pipeline",
            default="independent",
            choices=("independent", "sequential", "basic", "datafree"),
            help="LLM Compressor's calibration pipeline (default: %(default)s)",
        )
        parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16, ... (default: %(default)s)")
        parser.add_argument("--trust-remote-code", action="store_true", help="allow code from the model directory")

    def run(self, args: argparse.Namespace) -> dict[str, Any]:
        recipe = recipe_path(args.recipe)
        directory = model_directory(args.model)
        _check_target(args.out, directory)
        quiet_libraries(args.verbose)
        from llmcompressor import oneshot

        from spike_compressor.checkpoint import open_model, open_processor, read_config, save
        from spike_compressor.cli.models import calibration_data, check_recipe
        from spike_compressor.modifiers.starting import require_not_twice
        from spike_compressor.progress import Steps
        from spike_compressor.threads import threads_for, use_threads

        modifiers = check_recipe(recipe, args.data, args.pipeline)
        steps = Steps(verbose=args.verbose)
        with steps.step("open model and data"):
            processor = open_processor(directory, args.trust_remote_code)
            data = None if args.data is None else calibration_data(args.data, processor, args.samples, args.batch_size)
            model = open_model(directory, args.dtype, args.trust_remote_code)
            require_not_twice(model, modifiers)
        with steps.step("quantize and attach neurons"), use_threads(threads_for(model)):
            oneshot(
                model=model,
                processor=processor,
                dataset=data,
                recipe=str(recipe),
                pipeline=args.pipeline,
                trust_remote_code_model=args.trust_remote_code,
            )
        with steps.step("save"):
            save(model, args.out, processor)
        return checkpoint_result(args.out, read_config(args.out))

    def show(self, result: dict[str, Any], args: argparse.Namespace) -> None:
        show_checkpoint(result)


def _check_target(out: Path, model: Path) -> None:
    """Refuse before hours of calibration what must not be written over: anything but an older result."""
    if out.resolve() == model.resolve():
        raise InputError(f"--out {out} is the model itself; name another directory for the checkpoint")
    require_replaceable(out, "spike_config.json")
