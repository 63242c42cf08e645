"""What a subcommand is, and what all of them share."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from spike_compressor.registry import Registry


class Command:
    """One subcommand: a subclass in a file of its own, decorated with `register_command("name")`.

    The first line of the docstring is its help, `examples` are shown below it. While `run` works, whatever libraries
    print goes to standard error; then its result is printed as JSON or shown.
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


def at_least_one(text: str) -> int:
    """Argument type: a whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


#: Warnings of the libraries that tell a user of the command line nothing: they are true and change nothing.
_MEANINGLESS = (
    "No accelerator available",
    "Failed to find ['torch_dtype', 'dtype'] key",
    "subgraphs, but only traced",  # a vision tower is traced as one part
    "Failed to modify config. Keeping the transformers-serialized config",
)


def quiet_libraries() -> None:
    """Send LLM Compressor's and transformers' warnings and errors to standard error, and drop their chatter."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("LLM_COMPRESSOR_LOG_LEVEL", "WARNING")
    # its logger writes to what is standard output now, until ours takes its place; what it says meanwhile is chatter
    with contextlib.redirect_stdout(io.StringIO()):
        import llmcompressor  # noqa: F401
    import transformers
    from loguru import logger

    logger.remove()
    level = os.environ["LLM_COMPRESSOR_LOG_LEVEL"]
    # the stream is looked up at each message: it may be another one by then
    logger.add(
        lambda message: print(message, end="", file=sys.stderr), level=level, format=_line, filter=_worth_reading
    )
    transformers.logging.set_verbosity_error()
    logging.getLogger("torch.fx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*offloaded modules.*")


def _line(record: Any) -> str:
    return "{level}: {message}\n"


def _worth_reading(record: Any) -> bool:
    chatter = record["level"].name == "METRIC" and os.environ["LLM_COMPRESSOR_LOG_LEVEL"] == "WARNING"  # lines a layer
    return not chatter and not any(text in record["message"] for text in _MEANINGLESS)
