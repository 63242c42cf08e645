"""`spike-compressor demo`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spike_compressor.cli.command import Command, at_least_one, register_command
from spike_compressor.quiet import quiet_libraries
from spike_compressor.shipped import recipe_path


@register_command("demo")
class Demo(Command):
    """Quantize the embedded vision-language model, turn it into spikes, save, reload and evaluate it.

    Everything it needs is in the package; nothing is downloaded. The output folder gets the spike-ready checkpoint, a
    trace bundle of every layer, a picture with a question and its answer, and the report as JSON.
    """

    examples = """\
  spike-compressor demo
  spike-compressor demo --recipe rtn_w4_tclif_34 --out out/rtn
  spike-compressor demo --questions 100 --json | jq .accuracy.spiking.average
  spike-compressor demo --questions 1 --backend rtl --rtl-layers 're:.*vision_tower'"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, default=Path("out/demo"), help="output folder (default: %(default)s)")
        parser.add_argument("--recipe", help="YAML file or name of a shipped recipe (default: the best shipped one)")
        parser.add_argument(
            "--questions",
            type=at_least_one,
            default=1000,
            metavar="N",
            help="test questions of each kind (default: %(default)s)",
        )
        parser.add_argument(
            "--jobs",
            type=at_least_one,
            metavar="N",
            help="processes that answer questions (default: one a core, fewer for few questions)",
        )

        parser.add_argument(
            "--backend",
            choices=("fused", "rtl"),
            default="fused",
            help="rtl: the simulated core answers a question as well, token by token (docs/rtl_backend.md)",
        )
        parser.add_argument(
            "--rtl-layers",
            nargs="+",
            metavar="NAME",
            help="names or re: patterns of the layers that the core computes (default: all that spike)",
        )

    def run(self, args: argparse.Namespace) -> dict[str, Any]:
        recipe = None if args.recipe is None else recipe_path(args.recipe)  # before seconds of imports
        quiet_libraries(args.verbose)
        from spike_compressor.demo.run import DEFAULT_RECIPE, run_demo
        from spike_compressor.demo.side_by_side import worthwhile_jobs
        from spike_compressor.progress import Steps

        jobs = args.jobs or worthwhile_jobs(args.questions)
        return run_demo(
            args.out,
            recipe or DEFAULT_RECIPE,
            args.questions,
            Steps(verbose=args.verbose),
            jobs,
            args.backend,
            args.rtl_layers,
        )

    def show(self, result: dict[str, Any], args: argparse.Namespace) -> None:
        from spike_compressor.demo.report import print_report

        print_report(result)
