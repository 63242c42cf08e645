"""The error that bad input raises everywhere in the package."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave (recipe, checkpoint, data, argument) cannot be used.

    The message is one or two sentences: what is wrong, where, and what to do. The command line prints it as it is and
    exits with code 2.
    """
