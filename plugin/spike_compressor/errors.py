"""The error that bad input raises everywhere in the package."""

from __future__ import annotations

import reprlib
from typing import ClassVar


class InputError(ValueError):
    """Something the user gave (recipe, checkpoint, data, argument) cannot be used.

    The message is one or two sentences: what is wrong, where, and what to do. The command line prints it as it is and
    exits with code 2. It is one line, and of what is longer than `LONGEST` the middle is left out, whatever names and
    values it quotes.
    """

    LONGEST: ClassVar[int] = 1500

    def __init__(self, message: object = "") -> None:
        line = " ".join(str(message).splitlines())
        if len(line) > self.LONGEST:
            half = self.LONGEST // 2
            line = f"{line[:half]} … {line[-half:]}"
        super().__init__(line)


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def shown(value: object) -> str:
    """A value for a message: as `repr`, but never longer than a line, whatever somebody wrote."""
    return _short.repr(value)
