"""`spike-compressor trace`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spike_compressor.cli.command import Command, at_least_one, register_command
from spike_compressor.errors import InputError
from spike_compressor.quiet import quiet_libraries
from spike_compressor.tables import print_table


@register_command("trace")
class Trace(Command):
    """Write what a checkpoint's layers compute on real inputs as a trace bundle, to check hardware against.

    The model runs once, on the first samples of `--data`. `make rtl TRACE=DIR` replays the bundle on the SystemVerilog.
    """

    examples = """\
  spike-compressor trace out/demo/checkpoint --data demo --out out/trace
  spike-compressor trace out/demo/checkpoint --data samples.jsonl --samples 4 --tokens 32 \\
      --layers 're:.*layers.0.*' 'model.multi_modal_projector.linear_1' --out out/trace"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("checkpoint", type=Path, help="spike-ready checkpoint directory")
        parser.add_argument("--data", required=True, help="inputs: a .jsonl file as for `oneshot`, or `demo`")
        parser.add_argument("--out", required=True, type=Path, help="directory of the bundle")
        parser.add_argument(
            "--samples", type=at_least_one, default=2, help="samples in the one batch (default: %(default)s)"
        )
        parser.add_argument("--layers", nargs="+", metavar="NAME", help="names or re: patterns (default: all)")
        parser.add_argument(
            "--tokens", type=at_least_one, help="rows to keep in each layer, of all modalities (default: all)"
        )
        parser.add_argument("--backend", default="fused", help="fused, unrolled or rtl (default: %(default)s)")
        parser.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
        parser.add_argument("--trust-remote-code", action="store_true", help="allow code from the checkpoint")

    def run(self, args: argparse.Namespace) -> dict[str, Any]:
        if args.out.exists() and not args.overwrite:
            raise InputError(f"{args.out} exists; choose another directory, or --overwrite the bundle there")
        quiet_libraries(args.verbose)
        from spike_compressor.checkpoint import load, open_processor
        from spike_compressor.cli.models import calibration_data
        from spike_compressor.progress import Steps
        from spike_compressor.threads import threads_for, use_threads
        from spike_compressor.trace import open_bundle
        from spike_compressor.trace.export import export_trace

        steps = Steps(verbose=args.verbose)
        with steps.step("open checkpoint and data"):
            model = load(args.checkpoint, backend=args.backend, trust_remote_code=args.trust_remote_code)
            processor = open_processor(args.checkpoint, args.trust_remote_code)
            batch = next(iter(calibration_data(args.data, processor, args.samples, args.samples)))
        with steps.step("run, and write the trace"), use_threads(threads_for(model)):
            path = export_trace(
                model, batch, args.out, layers=args.layers, tokens=args.tokens, overwrite=args.overwrite
            )
        return {"bundle": str(path), "layers": [info.to_json() for info in open_bundle(path).infos]}

    def show(self, result: dict[str, Any], args: argparse.Namespace) -> None:
        print_table(
            ("layer", "rows", "inputs", "outputs", "T at most"),
            [
                tuple(str(layer[field]) for field in ("name", "tokens", "in_features", "out_features", "max_timesteps"))
                for layer in result["layers"]
            ],
        )
        print(f"{len(result['layers'])} layers in {result['bundle']}")
