"""What models reach against the synaptic operations that they take: a curve a recipe, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spike_compressor.plot.style import INK, MUTED, SERIES, drawn_svg

#: Fewer than colours, by one that divides none: of as many curves no two look the same.
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p")
_FRONT, _FLOAT = "Pareto front", "float model"


class Point(NamedTuple):
    """One model.

    Attributes:
        operations: synaptic operations per token.
        value: what it reaches, in the evaluation's unit.
        low, high: its 95 % interval.
    """

    operations: float
    value: float
    low: float
    high: float


def plot_tradeoff(
    curves: Mapping[str, Sequence[Point]],
    front: Sequence[Point],
    floating: float,
    label: str,
    unit: str,
) -> str:
    """Draw models of several recipes over their operations, on a logarithmic axis.

    Args:
        curves: the models of each recipe, in any order.
        front: the models that no other one beats at as few operations, cheapest first.
        floating: value of the float model.
        label: what is measured.
        unit: of it; perplexities stand on a logarithmic axis.

    Returns:
        The picture as SVG, the same text for the same values.
    """

    def draw(axes: Any) -> None:
        for index, (name, points) in enumerate(curves.items()):
            _curve(axes, name, sorted(points), index)
        axes.step(
            [point.operations for point in front],
            [point.value for point in front],
            where="post",
            color=INK,
            linewidth=1.8,
            alpha=0.45,
            zorder=0,
            label=_FRONT,
        )
        axes.axhline(floating, color=MUTED, linestyle="--", linewidth=0.9, zorder=0, label=_FLOAT)
        axes.set_xscale("log")
        if unit == "perplexity":
            axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis) if unit == "perplexity" else (axes.xaxis,):
            _plain_numbers(axis)
        axes.set_xlabel("synaptic operations per token")
        axes.set_ylabel(label if unit == label else f"{label} [{unit}]")
        axes.grid(axis="y", linewidth=0.4, alpha=0.4, color=MUTED)
        # beside the axes: inside, some line always runs through it
        handles, names = axes.get_legend_handles_labels()
        order = sorted(range(len(names)), key=lambda index: names[index] in (_FRONT, _FLOAT))
        entries = [handles[index] for index in order], [names[index] for index in order]
        axes.figure.legend(*entries, loc="outside right upper", frameon=False, fontsize=7)

    return drawn_svg(draw, (7.8, 4.2))


def _curve(axes: Any, name: str, points: Sequence[Point], index: int) -> None:
    colour, mark = SERIES[index % len(SERIES)], _MARKS[index % len(_MARKS)]
    drawn = axes.errorbar(
        [point.operations for point in points],
        [point.value for point in points],
        yerr=[[point.value - point.low for point in points], [point.high - point.value for point in points]],
        label=name,
        color=colour,
        marker=mark,
        markersize=4,
        linewidth=1,
        elinewidth=0.7,
        capsize=1.5,
    )
    for part in (*drawn[1], *drawn[2]):
        part.set_alpha(0.5)  # intervals stand back behind the curves


def _plain_numbers(axis: Any) -> None:
    """Ticks of a logarithmic axis as 2M and 500k, also between powers of ten."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7), numticks=30))
    axis.set_major_formatter(EngFormatter(sep=""))
    axis.set_minor_formatter(NullFormatter())
