"""How all pictures look."""

from __future__ import annotations

import contextlib
import html
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

#: By modality; Okabe and Ito's colours, which everybody can tell apart.
COLOURS = {"text": "#0072B2", "vision": "#D55E00", "audio": "#009E73"}
#: Of one series after the other: the same palette, longer; all legible on white and on a dark page.
SERIES = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#999933",
    "#B0486E",
    "#44AA99",
    "#8C7AE6",
    "#A0785A",
    "#7F8FA9",
)
#: Of all that is neither data nor written on data: text, axes, rules.
INK = "#1b1b1b"
#: Of what stands back: secondary text and reference lines; legible on white and on a dark page.
MUTED = "#7a7a7a"
_STYLE = {
    "font.size": 8,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.facecolor": "none",
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


def drawn_svg(draw: Callable[[Any], None], size: tuple[float, float]) -> str:
    """A picture of one pair of axes as the text of an SVG file.

    Args:
        draw: draws on the axes that it is given.
        size: width and height in inches.
    """
    with drawing() as figure_class:
        figure = figure_class(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        return figure_text(figure)


def figure_text(figure: Any) -> str:
    """A figure of matplotlib as the text of an SVG file, the same for the same figure; within `drawing`."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def inline(svg: str, label: str) -> str:
    """A picture that matplotlib wrote as SVG, to stand in an HTML page and to take its colours.

    What is drawn in `INK` follows the page's text colour, so that it can be read on a dark page, too; the picture's
    background is left out, and so are the names of its groups, which would occur twice in a page of several pictures.

    Args:
        svg: the file's text.
        label: what is drawn, for readers who do not see it.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="patch_1">.*?</g>', "", body, count=1, flags=re.DOTALL)  # the figure's own background
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = body.replace(INK, "currentColor")
    return body.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)
