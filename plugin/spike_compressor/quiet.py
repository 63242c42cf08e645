"""What the libraries underneath may say on a terminal: what a user can act on, or all of it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from typing import Any

from tqdm import tqdm

#: LLM Compressor's own variable; it wins over what a command asks for.
_LEVEL = "LLM_COMPRESSOR_LOG_LEVEL"
#: Warnings of the libraries that tell a user of the command line nothing: they are true and change nothing.
_MEANINGLESS = (
    "No accelerator available",
    "Failed to find ['torch_dtype', 'dtype'] key",
    "subgraphs, but only traced",  # a vision tower is traced as one part
    "Failed to modify config. Keeping the transformers-serialized config",
)

_TQDM = tqdm.__init__


def quiet_libraries(verbose: bool = False, *, bars: bool = False) -> None:
    """Set what LLM Compressor, transformers and their kin write: warnings and errors, on standard error.

    It holds for this process: workers need a call of their own (`ProcessPoolExecutor(initializer=quiet_worker)`).

    Args:
        verbose: their progress bars and log lines as well.
        bars: tqdm's progress bars as well, whoever draws them.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # its logger writes to what is standard output now, until ours takes its place; what it says meanwhile is chatter
    with contextlib.redirect_stdout(io.StringIO()):
        import llmcompressor  # noqa: F401
    import transformers
    from loguru import logger

    level = os.environ.get(_LEVEL) or ("INFO" if verbose else "WARNING")
    everything = verbose or level != "WARNING"
    logger.remove()
    # the stream is looked up at each message: it may be another one by then
    logger.add(
        lambda message: print(message, end="", file=sys.stderr),
        level=level,
        format=_line,
        filter=None if everything else _is_meaningful,
    )
    tqdm.__init__ = _TQDM if verbose or bars else _without_bar  # type: ignore[method-assign,assignment]
    if verbose:
        transformers.logging.set_verbosity_warning()
        transformers.logging.enable_progress_bar()
    else:
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
    logging.getLogger("torch.fx").setLevel(logging.WARNING if verbose else logging.ERROR)
    warnings.filterwarnings("ignore", message=".*offloaded modules.*")


def quiet_worker(verbose: bool = False) -> None:
    """Of a process of `compare`: what its libraries print must not get into the answer on standard output.

    It stands in this module for the sake of what it imports: LLM Compressor speaks while it is imported.
    """
    sys.stdout = sys.stderr
    quiet_libraries(verbose)


def _without_bar(self: Any, *args: Any, **kwargs: Any) -> None:
    """`tqdm.__init__` of a bar that is not drawn; `TQDM_DISABLE` does not reach those whose makers say `disable=`."""
    _TQDM(self, *args, **{**kwargs, "disable": True})


def _line(record: Any) -> str:
    return "{level}: {message}\n"


def _is_meaningful(record: Any) -> bool:
    chatter = record["level"].name == "METRIC"  # several lines per layer
    return not chatter and not any(text in record["message"] for text in _MEANINGLESS)
