"""What a subcommand is, and what all of them share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from spike_compressor.registry import Registry


class Command:
    """One subcommand: a subclass in a file of its own, decorated with `register_command("name")`.

    The first line of the docstring is its help, `examples` are shown below it. While `run` works, whatever libraries
    print goes to standard error; then its result is printed as JSON or shown. Long work is told in `Steps`.
    """

    #: Set by `register_command`.
    name: ClassVar[str]
    examples: ClassVar[str] = ""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, args: argparse.Namespace) -> dict[str, Any]:
        """Do it; the result is what `--json` prints.

        Raises:
            InputError: bad input; the message is printed as one line, the exit code is 2.
        """
        raise NotImplementedError

    def show(self, result: dict[str, Any], args: argparse.Namespace) -> None:
        """Print the result for a human reader."""
        raise NotImplementedError


COMMANDS: Registry[type[Command]] = Registry("command", named=True)
CommandT = TypeVar("CommandT", bound=type[Command])


def register_command(name: str) -> Callable[[CommandT], CommandT]:
    """Class decorator: make a subcommand known under a name.

    Raises:
        InputError: the name belongs to another one.
    """
    return COMMANDS.register(name)


def json_argument(parser: argparse.ArgumentParser) -> None:
    """`--json`: one object on standard output instead of tables; progress stays on standard error."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def verbose_argument(parser: argparse.ArgumentParser) -> None:
    """`--verbose`: what the libraries write, too; `Command.run` hands it to `quiet_libraries` and `Steps`."""
    parser.add_argument("--verbose", action="store_true", help="show the libraries' own progress bars and log lines")


def at_least_one(text: str) -> int:
    """Argument type: a whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number
