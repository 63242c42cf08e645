"""The pictures of a comparison, as SVG text."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spike_compressor.checkpoint import SpikeConfig
from spike_compressor.comparison.sweep import pareto, total_sops
from spike_compressor.plot import plot_plan
from spike_compressor.plot.style import COLOURS, drawing

#: Okabe and Ito's colours and marks, by recipe in the order of the table.
_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#999933",
    "#882255",
    "#44AA99",
)
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

Picture = tuple[str, str]


def figures(result: dict[str, Any]) -> dict[str, list[Picture]]:
    """(caption, SVG) by title of the report's section.

    Raises:
        InputError: matplotlib is not installed.
    """
    spiking = [row for row in result["rows"] if row["kind"] == "spiking" and row["seed"] == result["seeds"][0]]
    made: dict[str, list[Picture]] = {}
    for evaluation in result["evaluations"]:
        title = f"{evaluation['label']}: figure against synaptic operations"
        made[title] = [(_CURVE, _svg(partial(_curve, result, spiking, evaluation), (7.5, 4.5)))]
    best = _best(result, spiking)
    name = f"{best['recipe']} at {best['budget']}"
    made["Energy (estimate)"] = [(_ENERGY, _svg(partial(_energy, spiking), (7.5, 0.9 + 0.34 * len(spiking))))]
    for modality in sorted(best["spikes"]["firing_rate"]):
        caption = f"Firing rate by layer and timestep, {modality} rows of {name}; the first step weighs most."
        picture = _firing(best, modality)
        made.setdefault("Where spikes fire", []).append((caption, picture))
    made["Modality evolution and plan"] = [(f"MED curves and plan of {name}.", _plan(best))]
    return made


_CURVE = (
    "Figure against synaptic operations per token; the black line is the Pareto front, dashed the float model. Bars: "
    "95 % bootstrap intervals."
)
_ENERGY = (
    "Estimated energy of spikes over that of an integer MAC of equal bits, 45nm-int32, without and with memory. "
    "Left of 1 spikes win."
)


def _svg(draw: Callable[[Any], None], size: tuple[float, float]) -> str:
    with drawing() as figure_class:
        figure = figure_class(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _best(result: dict[str, Any], spiking: list[dict[str, Any]]) -> dict[str, Any]:
    """The model of best figure among the cheapest half of the budgets: the one that is worth looking into."""
    evaluation = result["evaluations"][0]
    sign = 1 if evaluation["higher_is_better"] else -1
    budgets = [budget["label"] for budget in result["budgets"]]
    chosen = set(budgets[: max(1, len(budgets) // 2)])
    return max(
        (row for row in spiking if row["budget"] in chosen),
        key=lambda row: sign * row["figures"][evaluation["label"]]["value"],
    )


def _curve(result: dict[str, Any], spiking: list[dict[str, Any]], evaluation: dict[str, Any], axes: Any) -> None:
    label = evaluation["label"]
    for index, recipe in enumerate(result["recipes"]):
        rows = sorted((row for row in spiking if row["recipe"] == recipe), key=total_sops)
        values = [row["figures"][label] for row in rows]
        heights = [value["value"] for value in values]
        spread = [[v["value"] - v["low"] for v in values], [v["high"] - v["value"] for v in values]]
        axes.errorbar(
            [total_sops(row) for row in rows],
            heights,
            yerr=spread,
            label=recipe,
            color=_COLOURS[index % len(_COLOURS)],
            marker=_MARKS[index % len(_MARKS)],
            markersize=4,
            linewidth=1,
            elinewidth=0.7,
            capsize=2,
        )
    front = pareto(spiking, label, evaluation["higher_is_better"])
    axes.step(
        [total_sops(row) for row in front],
        [row["figures"][label]["value"] for row in front],
        where="post",
        color="black",
        linewidth=1.6,
        alpha=0.5,
        zorder=0,
    )
    (floating,) = (row for row in result["rows"] if row["kind"] == "float")
    axes.axhline(floating["figures"][label]["value"], color="grey", linestyle="--", linewidth=0.8)
    axes.set_xscale("log")
    if evaluation["unit"] == "perplexity":
        axes.set_yscale("log")
    axes.set_xlabel("synaptic operations per token")
    axes.set_ylabel(f"{label} [{evaluation['unit']}]")
    axes.legend(frameon=False, fontsize=7)


def _energy(spiking: list[dict[str, Any]], axes: Any) -> None:
    names = [f"{row['recipe']} at {row['budget']}" for row in spiking]
    places = np.arange(len(names))
    for offset, scope, colour in ((-0.18, "compute", COLOURS["text"]), (0.18, "with memory", COLOURS["vision"])):
        ratios = [row["energy"]["45nm-int32"][scope]["ratio"] for row in spiking]
        axes.barh(places + offset, ratios, height=0.34, color=colour, label=scope)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(places, names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("energy of spikes / energy of an integer MAC of equal bits (estimate)")
    axes.legend(frameon=False, fontsize=7)


def _firing(row: dict[str, Any], modality: str) -> str:
    layers = [(name, by[modality]["firing"]) for name, by in row["layers"].items() if modality in by]
    steps = max(len(firing) for _, firing in layers)
    table = np.full((steps, len(layers)), np.nan)
    for column, (_, firing) in enumerate(layers):
        table[: len(firing), column] = firing

    def draw(axes: Any) -> None:
        image = axes.imshow(table, aspect="auto", vmin=0, vmax=max(0.5, float(np.nanmax(table))), cmap="YlGnBu")
        axes.set_yticks(range(steps), [f"step {step + 1}" for step in range(steps)])
        every = max(1, len(layers) // 40)
        shown = range(0, len(layers), every)
        short = [name.replace("model.", "").replace("language_model.", "") for name, _ in layers]
        axes.set_xticks(list(shown), [short[index] for index in shown], rotation=90, fontsize=5)
        axes.figure.colorbar(image, ax=axes, label="spikes per neuron", shrink=0.8)

    return _svg(draw, (10, 1.9 + 0.28 * steps))


def _plan(row: dict[str, Any]) -> str:
    modalities = ["text", "vision"]
    config = SpikeConfig.model_validate(
        {
            "producer": {},
            "architecture": row["architecture"],
            "modalities": modalities,
            "placeholder_ids": [0] if "vision" in row["spikes"]["firing_rate"] else [],
            "coding": "tc_lif",
            "plan": {
                name: {"timesteps": table, "coding": "tc_lif", "threshold": "dynamic"}
                for name, table in row["plan"].items()
            },
            "not_spiking": {},
            "budget": {"mean_timesteps": row["spikes"]["mean_timesteps"]["unweighted"], **(row["budget_facts"] or {})},
            **({"evolution": row["evolution"]} if row["evolution"] else {}),
            "opens_in_plain_transformers": True,
            "sha256": {},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        text = plot_plan(config, Path(folder) / "plan.svg", title="").read_text(encoding="utf-8")
    return text[text.index("<svg") :]
