"""Entry point: parses arguments, runs the subcommand, turns bad input into one line and exit code 2."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from inspect import cleandoc
from typing import Any, NoReturn, cast

from spike_compressor._version import __version__
from spike_compressor.cli import compare, demo, estimate, inspect, oneshot, recipes, trace
from spike_compressor.cli.command import COMMANDS, Command, json_argument, verbose_argument

__all__ = ["compare", "demo", "estimate", "inspect", "main", "oneshot", "recipes", "run", "trace"]


def main(argv: Sequence[str] | None = None) -> None:
    """The console script."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns its exit code: 0 done, 2 bad input, 130 interrupted.

    Raises:
        SystemExit: `--help` and `--version` (code 0), arguments that cannot be parsed (code 2).
    """
    args = _parser().parse_args(argv)
    command = COMMANDS.get(args.command)()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what libraries print must not get into the answer
            result = command.run(args)
        _answer(command, result, args)
    except BrokenPipeError:  # the reader of our output has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        # InputError is a ValueError, and so are pydantic's ValidationError and what LLM Compressor raises for recipes
        print(f"spike-compressor {args.command}: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _answer(command: Command, result: dict[str, object], args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(result))
    else:
        command.show(result, args)
    sys.stdout.flush()


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="spike-compressor",
        description="Spiking encodings for models quantized with LLM Compressor.",
        epilog="`spike-compressor COMMAND --help` shows examples.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        command = COMMANDS.get(name)
        text = cleandoc(command.__doc__ or name)
        sub = subparsers.add_parser(
            name,
            help=text.splitlines()[0],
            description=text,
            epilog=f"examples:\n{command.examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command().arguments(sub)
        json_argument(sub)
        verbose_argument(sub)
    return parser


def _one_line(error: Exception) -> str:
    if hasattr(error, "error_count"):  # pydantic's, of a modifier that is not ours
        from spike_compressor.fields import complaint

        return complaint(cast(Any, error), None, getattr(error, "title", ""))
    return " ".join(str(error).split()) or type(error).__name__
