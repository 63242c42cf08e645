"""The error that bad input raises everywhere in the package."""

from __future__ import annotations

import reprlib


class InputError(ValueError):
    """Something the user gave (recipe, checkpoint, data, argument) cannot be used.

    The message is one or two sentences: what is wrong, where, and what to do. The command line prints it as it is and
    exits with code 2.
    """


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def shown(value: object) -> str:
    """A value for a message: as `repr`, but never longer than a line, whatever somebody wrote."""
    return _short.repr(value)
