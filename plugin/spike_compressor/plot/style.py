"""How all pictures look."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

#: By modality; Okabe and Ito's colours, which everybody can tell apart.
COLOURS = {"text": "#0072B2", "vision": "#D55E00"}
_STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "spike-compressor",
    "pdf.fonttype": 42,
}


@contextlib.contextmanager
def drawing() -> Iterator[Any]:
    """Within the block matplotlib draws in the project's style; yields its `Figure` class, which needs no screen."""
    import matplotlib  # a second of import time, for those who draw
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure
