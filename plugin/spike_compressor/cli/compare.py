"""`spike-compressor compare`."""

from __future__ import annotations

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

from spike_compressor.cli.command import Command, at_least_one, register_command
from spike_compressor.cli.names import MODEL_HELP, model_directory
from spike_compressor.errors import InputError
from spike_compressor.quiet import quiet_libraries
from spike_compressor.shipped import recipe_path


@register_command("compare")
class Compare(Command):
    """Judge several recipes under the same spike budgets, side by side.

    Weights are quantized once per recipe; every finished row is kept under --out, so a sweep that was stopped goes on
    where it was. The report is one HTML file, a Markdown page, a CSV table and the whole result as JSON.
    """

    examples = """\
  spike-compressor compare --model demo --data demo --recipes compare/rtn_w4_g64 compare/quip_gptq_w4_g64 \\
      --budget 2/3 3/4 4/5 7/7 --eval questions:200 answers --out out/compare
  spike-compressor compare --model path/to/llm --data calibration.jsonl \\
      --recipes compare/quip_gptq_w4_g64 --budget mean:4 mean:4:uniform \\
      --eval text:held_out.txt@512x24 --jobs 2 --out out/compare
  spike-compressor compare --model /shared/llm --data /shared/calibration.jsonl \\
      --recipes compare/gptq_w4_g64 --budget 3/4 --eval lm_eval:hellaswag@500 \\
      --engine ray --address head:6379 --cpus 8 --threads 8 --out /shared/compare"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--model", required=True, help=MODEL_HELP)
        parser.add_argument(
            "--recipes", required=True, nargs="+", help="files or names of shipped recipes, each with a spiking tail"
        )
        parser.add_argument(
            "--budget",
            required=True,
            nargs="+",
            help="3/4 (T of vision / text), mean:3.25, sops:2e6, spikes:0.75",
        )
        parser.add_argument(
            "--eval",
            required=True,
            nargs="+",
            help="questions:200, answers:100, text:FILE@512x16, ... (docs/compare.md)",
        )
        parser.add_argument("--out", required=True, type=Path, help="folder for the report, finished rows and weights")
        parser.add_argument("--data", required=True, help="calibration data: a .jsonl file, or `demo`")
        parser.add_argument(
            "--samples", type=at_least_one, default=256, help="calibration samples (default: %(default)s)"
        )
        parser.add_argument(
            "--batch-size", type=at_least_one, default=8, help="samples per batch (default: %(default)s)"
        )
        parser.add_argument(
            "--allocation", default="sensitivity", help="spends mean: and sops: budgets (default: %(default)s)"
        )
        parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of rotations and data (default: 0)")
        parser.add_argument(
            "--rtl", type=Path, nargs="+", default=[], help="reports of `make rtl-bench`, to be shown beside the rows"
        )
        parser.add_argument("--trust-remote-code", action="store_true", help="allow code from the model directory")
        parser.add_argument(
            "--engine",
            default="local",
            help="where rows are computed: local, or ray, a cluster (docs/compare.md; default: %(default)s)",
        )
        parser.add_argument(
            "--jobs", type=at_least_one, help="rows side by side (default: 1; of a cluster, as many as it has room for)"
        )
        parser.add_argument("--threads", type=at_least_one, default=1, help="threads per row (default: %(default)s)")
        cluster = parser.add_argument_group("with --engine ray")
        cluster.add_argument("--address", help="of the cluster, HOST:PORT (default: the one of this machine)")
        cluster.add_argument("--cpus", type=float, help="CPUs that a row takes of its machine (default: its threads)")
        cluster.add_argument("--gpus", type=float, help="GPUs that a row takes of its machine (default: 0)")

    def run(self, args: argparse.Namespace) -> dict[str, Any]:
        recipes = [recipe_path(recipe) for recipe in args.recipes]
        directory = model_directory(args.model)
        if args.out.exists() and not args.out.is_dir():
            raise InputError(f"--out {args.out} is a file; name a directory for the report")
        quiet_libraries(args.verbose)
        from spike_compressor.cli.models import calibration_of_seed, check_recipe
        from spike_compressor.comparison import compare, make_engine, read_hardware, report
        from spike_compressor.progress import Steps

        engine = make_engine(args.engine, jobs=args.jobs, address=args.address, cpus=args.cpus, gpus=args.gpus)
        hardware = read_hardware(args.rtl)
        for recipe in recipes:
            check_recipe(recipe, args.data)
        result = compare(
            directory,
            recipes,
            args.budget,
            args.eval,
            partial(calibration_of_seed, args.data, args.samples, args.batch_size),
            args.out,
            allocation=args.allocation,
            seeds=args.seeds,
            engine=engine,
            threads=args.threads,
            trust_remote_code=args.trust_remote_code,
            steps=Steps(verbose=args.verbose),
        )
        if hardware:
            result["hardware"] = hardware
        report.write(result, args.out, shlex.join(["spike-compressor", *sys.argv[1:]]))
        return result

    def show(self, result: dict[str, Any], args: argparse.Namespace) -> None:
        from spike_compressor.comparison import report

        print("\n".join(report.console(result)))
        print(f"\nreport: {args.out / 'report.html'}")
