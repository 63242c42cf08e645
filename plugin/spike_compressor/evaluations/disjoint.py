"""What a model was calibrated on must not be what it is evaluated on: a check by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from spike_compressor.errors import InputError

#: Tokens that two texts must have in common, one after another, to count as overlapping.
SHINGLE = 32


def require_disjoint(calibration: Iterable[bytes], evaluation: Iterable[bytes], what: str) -> None:
    """Refuse data that serves both purposes.

    Args:
        calibration: the items, as bytes that are equal exactly if the items are: a picture's pixels, a text's
            `shingles`.
        evaluation: likewise.
        what: plural noun for the message.

    Raises:
        InputError: the two have an item in common; says how many.
    """
    seen = {hashlib.sha256(item).digest() for item in calibration}
    common = sum(hashlib.sha256(item).digest() in seen for item in evaluation)
    if common:
        raise InputError(
            f"{common} of the evaluation's {what} are in the calibration data too; evaluate on data that no modifier "
            "has seen"
        )


def shingles(tokens: Tensor, size: int = SHINGLE) -> Iterator[bytes]:
    """Every run of `size` tokens of a text, int64 [N], at whatever offset; a shorter text as a whole."""
    text = tokens.to(torch.int64).contiguous().numpy()
    for start in range(max(1, len(text) - size + 1)):
        yield text[start : start + size].tobytes()
