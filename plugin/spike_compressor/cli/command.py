"""What a subcommand is, and what all of them share."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar


class Command:
    """One subcommand: a subclass in a file of its own, decorated with `register_command`.

    The first line of the docstring is its help, `examples` are shown below it.
    """

    name: ClassVar[str]
    examples: ClassVar[str] = ""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the result is the exit code.

        Raises:
            InputError: bad input; the message is printed as one line, the exit code is 2.
        """
        raise NotImplementedError


COMMANDS: dict[str, type[Command]] = {}
CommandT = TypeVar("CommandT", bound=type[Command])


def register_command(command: CommandT) -> CommandT:
    """Class decorator: make a subcommand known under its `name`."""
    COMMANDS[command.name] = command
    return command


def json_argument(parser: argparse.ArgumentParser) -> None:
    """`--json`: one object on standard output instead of tables; progress stays on standard error."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def quiet_libraries() -> None:
    """Keep LLM Compressor's and transformers' logs from standard output; warnings and errors go to standard error."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("LLM_COMPRESSOR_LOG_LEVEL", "WARNING")
    import warnings

    import transformers

    with contextlib.redirect_stdout(sys.stderr):  # its logger writes to standard output until ours takes its place
        import llmcompressor  # noqa: F401
    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level=os.environ["LLM_COMPRESSOR_LOG_LEVEL"], format="{level}: {message}")
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", message=".*offloaded modules.*")


def progress_bar(description: str) -> tuple[Any, Callable[[int, int], None]]:
    """A tqdm bar on standard error and the `progress(done, total)` callback that drives it."""
    from tqdm import tqdm

    bar = tqdm(desc=description, unit="q", leave=False, dynamic_ncols=True, file=sys.stderr)

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return bar, update
