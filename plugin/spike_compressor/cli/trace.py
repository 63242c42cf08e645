"""`spike-compressor trace`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from spike_compressor.cli.command import Command, json_argument, quiet_libraries, register_command


@register_command
class Trace(Command):
    """Write what a checkpoint's layers compute on real inputs as a trace bundle, to check hardware against.

    The model runs once, on the first samples of `--data`. `make rtl TRACE=DIR` replays the bundle on the SystemVerilog.
    """

    name = "trace"
    examples = """\
  spike-compressor trace out/demo/checkpoint --data demo --out out/trace
  spike-compressor trace out/demo/checkpoint --data samples.jsonl --samples 4 --tokens 32 \\
      --layers 're:.*layers.0.*' 'model.multi_modal_projector.linear_1' --out out/trace"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("checkpoint", type=Path, help="spike-ready checkpoint directory")
        parser.add_argument("--data", required=True, help="inputs: a .jsonl file as for `oneshot`, or `demo`")
        parser.add_argument("--out", required=True, type=Path, help="directory of the bundle")
        parser.add_argument("--samples", type=int, default=2, help="samples in the one batch (default: %(default)s)")
        parser.add_argument("--layers", nargs="+", metavar="NAME", help="names or re: patterns (default: all)")
        parser.add_argument("--tokens", type=int, help="rows to keep in each layer, of all modalities (default: all)")
        parser.add_argument("--backend", default="fused", help="fused or unrolled (default: %(default)s)")
        parser.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
        parser.add_argument("--trust-remote-code", action="store_true", help="allow code from the checkpoint")
        json_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        quiet_libraries()
        from spike_compressor.checkpoint import load
        from spike_compressor.cli.models import calibration_data, open_processor
        from spike_compressor.trace import open_bundle
        from spike_compressor.trace.export import export_trace

        model = load(args.checkpoint, backend=args.backend, trust_remote_code=args.trust_remote_code)
        processor = open_processor(args.checkpoint, args.trust_remote_code)
        batch = next(iter(calibration_data(args.data, processor, args.samples, args.samples)))
        path = export_trace(model, batch, args.out, layers=args.layers, tokens=args.tokens, overwrite=args.overwrite)
        infos = open_bundle(path).infos
        if args.json:
            print(json.dumps({"bundle": str(path), "layers": [info.to_json() for info in infos]}))
            return 0
        for info in infos:
            print(
                f"{info.name}: {info.tokens} rows, {info.in_features} -> {info.out_features}, T <= {info.max_timesteps}"
            )
        print(f"{len(infos)} layers in {path}")
        return 0
