"""Rows, table and picture of the frontier: figures with paired intervals against operations and against timesteps."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from frontier_judges import Judge

#: (weights, code, seed)
Cell = tuple[str, str, int]


class Shown(NamedTuple):
    """How a figure is shown: the heading of its column, a factor, digits, and a format of signs."""

    heading: str
    factor: float = 1
    digits: int = 2
    sign: str = ""


#: Figures by model, in the order of the columns; the second one is what the frontier is drawn of.
FIGURES = {
    "smollm2": {
        "perplexity": Shown("perplexity"),
        "over_float": Shown("over float", digits=3),
        "over_weights": Shown("over weights alone", digits=3),
    },
    "embedded": {
        "accuracy": Shown("accuracy, %", 100),
        "minus_float": Shown("minus float, points", 100, sign="+"),
        "minus_weights": Shown("minus weights alone, points", 100, sign="+"),
    },
}
#: What accuracy is drawn against, by model: field of a row, label of the axis.
COSTS = {
    "smollm2": {"sops_per_token": "synaptic operations per token, millions", "mean_timesteps": "mean T"},
    "embedded": {"spikes_per_input": "spikes per input", "mean_timesteps": "mean T"},
}


def rows_of_cells(judge: Judge, cells: Mapping[Cell, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a cell, in their order; `front` names the costs at which no other row is better.

    Args:
        judge: of the model.
        cells: chunks and spikes by (weights, code, seed); the float model's under ("float", "float", 0).
    """
    floating = cells["float", "float", 0]["chunks"]
    rows = []
    for (weights, code, seed), cell in cells.items():
        alone = cells.get((weights, "weights", seed), {"chunks": []})["chunks"]
        own = cell["chunks"][: len(floating)]
        paired = alone[: len(own)] if len(alone) >= len(own) else None
        figures = judge.figures(own, floating[: len(own)], paired)
        row: dict[str, Any] = {"model": judge.name, "weights": weights, "code": code, "seed": seed, "chunks": len(own)}
        row["figures"] = {name: interval.to_dict() for name, interval in figures.items()}
        if cell["spikes"] is not None:
            row |= operations(cell["spikes"])
        rows.append(row)
    spiking = [row for row in rows if "sops_per_token" in row]
    for row in spiking:
        row["front"] = [cost for cost in COSTS[judge.name] if not any(_beats(one, row, cost) for one in spiking)]
    return rows


def operations(spikes: dict[str, Any]) -> dict[str, Any]:
    """Operations, timesteps and spikes per input, in all and by kind of layer and modality.

    Args:
        spikes: `Judge.count`'s.
    """
    from spike_compressor.layer_kinds import layer_kind

    totals = spikes["totals"]
    kinds: dict[str, dict[str, list[int]]] = {}
    for name, by_modality in spikes["layers"].items():
        for modality, entry in by_modality.items():
            counts = kinds.setdefault(layer_kind(name, spikes["modalities"][name]), {}).setdefault(modality, [0, 0])
            counts[0] += entry["sops"]
            counts[1] += entry["macs"]
    every = [counts for by_modality in kinds.values() for counts in by_modality.values()]
    sops, macs = (sum(counts[place] for counts in every) for place in (0, 1))
    return {
        "sops_per_token": sops / sum(totals["tokens"].values()),
        "spikes_per_input": sops / macs,
        "mean_timesteps": totals["mean_timesteps"]["weighted"],
        "coverage": totals["coverage"],
        "by_kind": {
            kind: {modality: one / whole for modality, (one, whole) in by_modality.items()}
            for kind, by_modality in kinds.items()
        },
    }


def _score(row: dict[str, Any]) -> float:
    """Higher is better."""
    figures = row["figures"]
    return -float(figures["over_float"]["estimate"]) if "over_float" in figures else figures["minus_float"]["estimate"]


def _beats(one: dict[str, Any], other: dict[str, Any], cost: str) -> bool:
    mine, theirs = (-one[cost], _score(one)), (-other[cost], _score(other))
    return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))


def table(
    rows: Sequence[dict[str, Any]],
    interval: Callable[..., str],
    lines: Callable[..., list[str]],
) -> list[str]:
    """Lines of Markdown: the rows, and spikes per input by kind of layer.

    Args:
        rows: of the result.
        interval: writes a figure with its interval.
        lines: writes a table.
    """
    shown = FIGURES[rows[0]["model"]]
    costs = {"sops_per_token": ",.0f", "spikes_per_input": ".3f", "mean_timesteps": ".2f", "coverage": ".1%"}
    heads = ("weights", "code", "seed", "chunks", *(one.heading for one in shown.values()))
    cells = [
        (
            row["weights"],
            f"`{row['code']}`",
            str(row["seed"]),
            str(row["chunks"]),
            *(interval(row["figures"].get(name), one.factor, one.digits, sign=one.sign) for name, one in shown.items()),
            *(format(row[cost], form) if cost in row else "" for cost, form in costs.items()),
            ", ".join(_SHORT[cost] for cost in row.get("front", ())),
        )
        for row in rows
    ]
    found = lines((*heads, "SOPs per token", "spikes per input", "mean T", "coverage", "front over"), cells, text=2)
    spiking = [row for row in rows if "by_kind" in row]
    kinds = list(dict.fromkeys((k, m) for row in spiking for k, by in row["by_kind"].items() for m in by))
    cells = [
        (
            row["weights"],
            f"`{row['code']}`",
            str(row["seed"]),
            *(f"{row['by_kind'][kind][m]:.2f}" if m in row["by_kind"].get(kind, {}) else "" for kind, m in kinds),
        )
        for row in spiking
    ]
    heads = ("weights", "code", "seed", *(kind if m in kind else f"{kind}, {m}" for kind, m in kinds))
    return [*found, "", "Spikes per input by kind of layer:", "", *lines(heads, cells, text=2)]


_SHORT = {"sops_per_token": "operations", "spikes_per_input": "spikes", "mean_timesteps": "T"}


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """What is lost to the float model against operations and timesteps, as SVG; a curve per weights and statistic."""
    from spike_compressor.plot.style import MUTED, SERIES, drawing

    model = rows[0]["model"]
    name, shown = list(FIGURES[model].items())[1]
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "sops_per_token" in row:
            curves.setdefault(f"{row['weights']}, {row['code'].partition('@')[0]}", []).append(row)
    with drawing() as figure_class:
        figure = figure_class(figsize=(9.6, 4.0), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (cost, label) in zip(panels, COSTS[model].items(), strict=True):
            for index, (curve, own) in enumerate(curves.items()):
                points = sorted(own, key=lambda row: row[cost])
                values = [
                    [shown.factor * row["figures"][name][key] for row in points] for key in ("estimate", "low", "high")
                ]
                axes.errorbar(
                    [row[cost] / (1e6 if cost == "sops_per_token" else 1) for row in points],
                    values[0],
                    yerr=[
                        [m - low for m, low in zip(*values[:2], strict=True)],
                        [h - m for m, h in zip(values[0], values[2], strict=True)],
                    ],
                    color=SERIES[index % len(SERIES)],
                    marker="o" if "rms" in curve else "s",
                    linestyle="none" if cost == "mean_timesteps" else "-",
                    markersize=4,
                    linewidth=1,
                    elinewidth=0.7,
                    label=curve,
                )
            axes.set_xlabel(label)
            axes.grid(axis="y", linewidth=0.4, alpha=0.4, color=MUTED)
        panels[0].set_ylabel(shown.heading)
        if model == "smollm2":
            panels[0].set_ylim(1, 2)  # beyond, nobody would use it
        else:
            panels[0].set_ylim(-4, 0.5)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=7)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
