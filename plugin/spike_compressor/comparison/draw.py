"""The pictures of a comparison, as SVG text."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spike_compressor.checkpoint import SpikeConfig
from spike_compressor.comparison.ranking import pareto, total_sops
from spike_compressor.comparison.tables import ENERGY, against_operations
from spike_compressor.plot import plot_plan
from spike_compressor.plot.style import COLOURS, INK, drawn_svg, inline
from spike_compressor.plot.tradeoff import Point, plot_tradeoff


class Picture(NamedTuple):
    """What is drawn, in words, and the picture: an `<svg>` element."""

    caption: str
    svg: str


def figures(result: dict[str, Any]) -> dict[str, list[Picture]]:
    """The pictures of a comparison by title of the report's section."""
    spiking = [row for row in result["rows"] if row["kind"] == "spiking" and row["seed"] == result["seeds"][0]]
    made: dict[str, list[Picture]] = {}
    for evaluation in result["evaluations"]:
        made[against_operations(evaluation["label"])] = [_tradeoff(result, spiking, evaluation)]
    made[ENERGY] = [_picture(_ENERGY, partial(_energy, spiking), (7.5, 1.2 + 0.34 * len(spiking)))]
    best = _best(result, spiking)
    name = f"{best['recipe']} at {best['budget']}"
    made["Where spikes fire"] = [_firing(best, modality, name) for modality in sorted(best["spikes"]["firing_rate"])]
    # curves are the quantized model's: any plan on the same weights that needed them has measured them
    same = (row["evolution"] for row in spiking if row["recipe"] == best["recipe"])
    made["Modality evolution and plan"] = [_plan(best, name, next(filter(None, same), None))]
    return made


_ENERGY = (
    "Estimated energy of the spikes over that of integer MACs of equal bits (costs `45nm-int32`), for arithmetic alone "
    "and with memory. Spikes win left of the line at 1."
)


def _picture(caption: str, draw: Callable[[Any], None], size: tuple[float, float]) -> Picture:
    return Picture(caption, inline(drawn_svg(draw, size), caption))


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


def _tradeoff(result: dict[str, Any], spiking: list[dict[str, Any]], evaluation: dict[str, Any]) -> Picture:
    label, higher = evaluation["label"], evaluation["higher_is_better"]
    curves = {
        recipe: [_point(row, label) for row in spiking if row["recipe"] == recipe] for recipe in result["recipes"]
    }
    front = [_point(row, label) for row in pareto(spiking, label, higher)]
    (floating,) = (row["figures"][label]["value"] for row in result["rows"] if row["kind"] == "float")
    svg = plot_tradeoff(curves, front, floating, label, evaluation["unit"])
    caption = (
        f"{label} [{evaluation['unit']}, {'higher' if higher else 'lower'} is better] against the synaptic operations "
        "per token, one line a recipe, one mark a budget, with 95 % bootstrap intervals. The thick line is the Pareto "
        "front, the dashed one the float model."
    )
    return Picture(caption, inline(svg, caption))


def _point(row: dict[str, Any], label: str) -> Point:
    metric = row["figures"][label]
    return Point(total_sops(row), metric["value"], metric["low"], metric["high"])


def _energy(spiking: list[dict[str, Any]], axes: Any) -> None:
    names = [f"{row['recipe']} at {row['budget']}" for row in spiking]
    places = np.arange(len(names))
    for offset, scope, colour in ((-0.18, "compute", COLOURS["text"]), (0.18, "with memory", COLOURS["vision"])):
        ratios = [row["energy"]["45nm-int32"][scope]["ratio"] for row in spiking]
        axes.barh(places + offset, ratios, height=0.34, color=colour, label=scope)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_yticks(places, names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("energy of spikes / energy of integer MACs of equal bits (estimate)")
    axes.margins(y=0.01)
    axes.figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=7)


def _firing(row: dict[str, Any], modality: str, name: str) -> Picture:
    layers = [(name, by[modality]["firing"]) for name, by in row["layers"].items() if modality in by]
    steps = max(len(firing) for _, firing in layers)
    table = np.full((steps, len(layers)), np.nan)
    for column, (_, firing) in enumerate(layers):
        table[: len(firing), column] = firing

    def draw(axes: Any) -> None:
        image = axes.imshow(table, aspect="auto", vmin=0, vmax=max(0.5, float(np.nanmax(table))), cmap="YlGnBu")
        axes.set_yticks(range(steps), [str(step + 1) for step in range(steps)])
        axes.set_ylabel("timestep")
        every = max(1, len(layers) // 40)
        shown = range(0, len(layers), every)
        short = [layer.removeprefix("model.").removeprefix("language_model.") for layer, _ in layers]
        axes.set_xticks(list(shown), [short[index] for index in shown], rotation=90, fontsize=5.5)
        axes.set_xlabel("layer, in the order of the model" + (f"; every {every}. is named" if every > 1 else ""))
        # lying above the axes: upright beside a few timesteps, the bar is shorter than its label
        bar = axes.figure.colorbar(image, ax=axes, location="top", shrink=0.3, anchor=(0, 0), aspect=25, pad=0.02)
        bar.set_label("spikes per neuron", loc="left")

    caption = f"Firing rate of each layer at each timestep, {modality} rows of {name}; the first timestep weighs most."
    if np.isnan(table).any():
        caption += " Blank: the layer takes fewer timesteps."
    return _picture(caption, draw, (10, 2.7 + 0.28 * steps))


def _plan(row: dict[str, Any], name: str, evolution: dict[str, Any] | None) -> Picture:
    modalities = list(next(iter(row["plan"].values())))
    config = SpikeConfig.model_validate(
        {
            "producer": {},
            "architecture": row["architecture"],
            "modalities": modalities,
            "placeholders": {name: [0] for name in row["spikes"]["firing_rate"] if name != "text"},
            "coding": "tc_lif",
            "plan": {
                name: {"timesteps": table, "coding": "tc_lif", "threshold": "dynamic"}
                for name, table in row["plan"].items()
            },
            "not_spiking": {},
            "budget": {"mean_timesteps": row["spikes"]["mean_timesteps"]["unweighted"], **(row["budget_facts"] or {})},
            **({"evolution": evolution} if evolution else {}),
            "opens_in_plain_transformers": True,
            "sha256": {},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        text = plot_plan(config, Path(folder) / "plan.svg", title="").read_text(encoding="utf-8")
    caption = f"T of each layer and modality over the depth of the model: {name}"
    if evolution:
        caption += ", beneath the model's MED curves: how far each decoder layer turns the tokens of a modality"
    caption += "."
    return Picture(caption, inline(text, caption))
