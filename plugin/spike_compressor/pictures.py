"""Pictures that somebody else made."""

from __future__ import annotations

from typing import Any

from PIL import Image

from spike_compressor.errors import InputError
from spike_compressor.reading import BROKEN, one_line


def open_picture(source: Any, where: str) -> Image.Image:
    """A picture as RGB.

    Args:
        source: a path, or a binary file.
        where: it is, for the message.

    Raises:
        InputError: it is no picture, is damaged, or has more pixels than Pillow takes for harmless.
    """
    try:
        with Image.open(source) as picture:
            return picture.convert("RGB")
    # SyntaxError is what Pillow raises for a broken chunk of a PNG
    except (OSError, SyntaxError, Image.DecompressionBombError, *BROKEN) as error:
        raise InputError(f"{where}: this picture cannot be read: {one_line(error)}") from error
