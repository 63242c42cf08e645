"""Pictures of results, drawn from their JSON alone, as SVG."""

from __future__ import annotations

import io
from typing import Any

from frontier_report import picture as frontier_picture

#: What the first evaluation of a comparison of quantizers measures, and its unit.
QUANTIZERS = {
    "quantizers_embedded": ("accuracy on 15 kinds of questions", "%"),
    "codings_embedded": ("accuracy on 15 kinds of questions", "%"),
    "quantizers_smollm2": ("perplexity", "perplexity"),
}


def drawing(result: dict[str, Any]) -> str | None:
    """The picture of a benchmark's result; None of a benchmark that has none."""
    if result["benchmark"] in QUANTIZERS:
        return _tradeoff(result["rows"], *QUANTIZERS[result["benchmark"]])
    if result["benchmark"].startswith("frontier_"):
        return frontier_picture(result["rows"])
    if result["benchmark"] in ("estimate", "estimate_72b"):
        from spike_compressor.estimate.draw import tornado_svg

        return tornado_svg(result)
    if result["benchmark"] == "evolution":
        return _evolution(result["rows"])
    return None


def _tradeoff(rows: list[dict[str, Any]], what: str, unit: str) -> str:
    """What quantizers reach against their operations, of the first seed."""
    from spike_compressor.plot.tradeoff import Point, plot_tradeoff

    (floating,) = (row for row in rows if row["kind"] == "float")
    label = next(iter(floating["figures"]))

    def point(row: dict[str, Any]) -> Point:
        found = row["figures"][label]
        return Point(row["sops_per_token"], found["estimate"], found["low"], found["high"])

    spiking = [row for row in rows if (row["kind"], row["seed"]) == ("spiking", floating["seed"])]
    names = dict.fromkeys(row["recipe"] for row in spiking)
    curves = {name: [point(row) for row in spiking if row["recipe"] == name] for name in names}
    front = sorted(point(row) for row in spiking if row["pareto"])
    return plot_tradeoff(curves, front, floating["figures"][label]["estimate"], what, unit)


def _evolution(rows: list[dict[str, Any]]) -> str:
    """Curves of how far layers turn hidden states, with their intervals, a panel a model."""
    from spike_compressor.plot.style import COLOURS, INK, MUTED, drawing

    models = list(dict.fromkeys(row["model"] for row in rows))
    with drawing() as figure_class:
        figure = figure_class(figsize=(4.2 * len(models), 3.1), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
            own = [row for row in rows if row["model"] == name]
            depth = [row["layer"] for row in own]
            for modality, colour in COLOURS.items():
                if modality in own[0]:
                    middle = [row[modality]["mean"] for row in own]
                    half = [row[modality]["half_width"] for row in own]
                    low, high = ([m + sign * h for m, h in zip(middle, half, strict=True)] for sign in (-1, 1))
                    axes.fill_between(depth, low, high, color=colour, alpha=0.25, linewidth=0)
                    axes.plot(depth, middle, color=colour, marker="o", markersize=3, label=f"D {modality}")
            if "discrepancy" in own[0]:
                middle = [row["discrepancy"] for row in own]
                axes.plot(depth, middle, color=MUTED, linestyle="--", label="MED = D text - D vision")
            axes.axhline(0, color=INK, linewidth=0.6)
            axes.set(xlabel="decoder layer", ylabel="1 - cosine of hidden states around it")
            axes.set_title(name, pad=20)
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
