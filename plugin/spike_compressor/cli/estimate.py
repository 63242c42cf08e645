"""`spike-compressor estimate`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from spike_compressor.cli.command import Command, at_least_one, register_command
from spike_compressor.errors import InputError
from spike_compressor.estimate.names import accelerator_names, model_names


@register_command("estimate")
class Estimate(Command):
    """Estimate time, power and energy of a model on accelerators of spiking or dense cores, beside GPUs.

    Nothing is run: cycles come from a model that is held against the RTL, areas and clocks from synthesis, the rest
    from publications and stated assumptions (docs/hardware.md). Every figure is an estimate; those of
    accelerators have intervals.
    """

    examples = """\
  spike-compressor estimate --model qwen2-vl-7b
  spike-compressor estimate --model path/to/config.json --trace out/demo/trace --accelerator mine.yaml dense-7nm
  spike-compressor estimate --model internvl2-8b --timesteps 3/4 --spikes 0.7/0.75 --batch 16 --out out/estimate
  spike-compressor estimate --model qwen2-vl-72b --tokens-per-day 1e9 --chips 2 4 8 16"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        names, chips = ", ".join(model_names()), ", ".join(accelerator_names())
        parser.add_argument("--model", required=True, help=f"{names}, or a config.json or its directory")
        parser.add_argument(
            "--accelerator",
            nargs="+",
            default=["event-7nm", "dense-7nm"],
            help=f"{chips}, or YAML files (default: %(default)s)",
        )
        spikes = parser.add_argument_group("spikes")
        spikes.add_argument(
            "--timesteps", default="3/4", help="T of vision / text, or kinds: vision=3+text=4+down=5 (default: 3/4)"
        )
        spikes.add_argument(
            "--spikes",
            help="spikes per input of vision / text, or kinds, as --timesteps (default: 1.04/1.46, rotated models)",
        )
        spikes.add_argument(
            "--distribution", default="gauss", help="of inputs: gauss, laplace, gated (default: %(default)s)"
        )
        spikes.add_argument("--trace", type=Path, help="a trace bundle that says T and spikes by kind of layer")
        load = parser.add_argument_group("what is asked")
        load.add_argument("--batch", type=at_least_one, default=1, help="sequences at once (default: 1)")
        load.add_argument("--image-tokens", type=int, help="of each sequence's pictures (default: as the model has it)")
        load.add_argument("--text-tokens", type=at_least_one, default=64, help="of a prompt (default: 64)")
        load.add_argument("--new-tokens", type=at_least_one, default=128, help="of an answer (default: 128)")
        load.add_argument("--head-bits", type=int, default=8, help="of lm_head's weights (default: 8)")
        load.add_argument("--kv-bits", type=int, default=8, help="of keys and values (default: 8)")
        parser.add_argument("--gpu", nargs="*", help="names of GPUs to set beside (default: all; none: leave them out)")
        parser.add_argument("--draws", type=int, default=200, help="for the intervals; 0: none (default: 200)")
        parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
        parser.add_argument("--out", type=Path, help="folder for estimate.json, estimate.md and tornado.svg")
        service = parser.add_argument_group("a service of many chips")
        service.add_argument("--tokens-per-day", type=float, help="of answers; adds what it takes and costs")
        service.add_argument(
            "--chips", type=at_least_one, nargs="+", default=[1, 2, 4, 8, 16], help="that hold a model together"
        )
        service.add_argument("--step-ms", type=float, default=50.0, help="a token takes so long at most (default: 50)")
        for name, default, text in (
            ("chip-usd", 5000.0, "price of a chip, memory, board and host"),
            ("years", 4.0, "that it is written off in"),
            ("kwh-usd", 0.08, "price of electricity"),
            ("pue", 1.3, "energy of the building over that of its machines"),
            ("busy", 0.6, "share of the capacity that is used"),
        ):
            service.add_argument(f"--{name}", type=float, default=default, help=f"{text} (default: {default:g})")

    def run(self, args: argparse.Namespace) -> dict[str, Any]:
        from spike_compressor.estimate.accelerator import read_accelerator
        from spike_compressor.estimate.models import read_model
        from spike_compressor.estimate.plans import plan_from
        from spike_compressor.estimate.report import rounded, write
        from spike_compressor.estimate.rivals import gpu, gpus
        from spike_compressor.estimate.run import Service, estimate
        from spike_compressor.estimate.scale import Prices
        from spike_compressor.estimate.work import Load
        from spike_compressor.trace import open_bundle

        model = read_model(args.model)
        chips = [read_accelerator(name) for name in args.accelerator]
        plan = plan_from(args.timesteps, args.spikes, args.distribution, args.trace)
        image_tokens = model.image_tokens if args.image_tokens is None else args.image_tokens
        load = Load(args.batch, image_tokens, args.text_tokens, args.new_tokens, args.head_bits, args.kv_bits)
        for name in ("draws", "seed"):
            if getattr(args, name) < 0:
                raise InputError(f"--{name} is {getattr(args, name)}; it must be 0 or more")
        service = None
        if args.tokens_per_day is not None:
            prices = Prices(args.chip_usd, args.years, args.kwh_usd, args.pue, args.busy)
            service = Service(args.tokens_per_day, tuple(args.chips), args.step_ms, prices)
        chosen = gpus().values() if args.gpu is None else [gpu(name) for name in args.gpu]
        result = estimate(
            model,
            chips,
            plan,
            load,
            chosen,
            draws=args.draws,
            seed=args.seed,
            service=service,
            trace=None if args.trace is None else open_bundle(args.trace),
        )
        if args.out is not None:
            command = shlex.join(["spike-compressor", *sys.argv[1:]])
            write(result, args.out, f"Estimate: {model.name}", command)
        found: dict[str, Any] = rounded(result)
        return found

    def show(self, result: dict[str, Any], args: argparse.Namespace) -> None:
        from spike_compressor.estimate.report import console

        console(result)
        if args.out is not None:
            print(f"\nwritten to {args.out}")
