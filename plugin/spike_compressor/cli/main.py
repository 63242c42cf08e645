"""Entry point: parses arguments, runs the subcommand, turns bad input into one line and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from spike_compressor import __version__
from spike_compressor.cli import demo, inspect, oneshot, trace
from spike_compressor.cli.command import COMMANDS

__all__ = ["demo", "inspect", "main", "oneshot", "run", "trace"]


def main(argv: Sequence[str] | None = None) -> None:
    """The console script."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns its exit code: 0 done, 1 failed, 2 bad input."""
    parser = argparse.ArgumentParser(
        prog="spike-compressor",
        description="Spiking encodings for models quantized with LLM Compressor.",
        epilog="`spike-compressor COMMAND --help` shows examples.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        summary = (command.__doc__ or "").strip().splitlines()[0]
        sub = subparsers.add_parser(
            name,
            help=summary,
            description=(command.__doc__ or "").strip(),
            epilog=f"examples:\n{command.examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command().arguments(sub)
    args = parser.parse_args(argv)
    try:
        return COMMANDS[args.command]().run(args)
    except (ValueError, FileNotFoundError) as error:
        # InputError and pydantic's ValidationError are ValueErrors, and so is what LLM Compressor raises for recipes
        print(f"spike-compressor {args.command}: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _one_line(error: Exception) -> str:
    errors = getattr(error, "errors", None)
    if callable(errors):  # pydantic: the field's name and the complaint, without its documentation links
        details = [
            f"{getattr(error, 'title', '')}.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in errors()
        ]
        return "; ".join(details)
    return " ".join(str(error).split())
