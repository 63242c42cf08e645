"""What a comparison shows as tables: every recipe and budget, its references, operations, energy, codings, hardware."""

from __future__ import annotations

from itertools import starmap
from typing import Any, NamedTuple

from spike_compressor.comparison.hardware import HARDWARE_HEADING, hardware_rows
from spike_compressor.comparison.ranking import pairs_in_order, pareto, total_sops

#: Title of the section of energies.
ENERGY = "Energy (estimate)"


class Table(NamedTuple):
    """One table of the report.

    Attributes:
        title: heading of its section.
        note: what stands in it, a sentence or two.
        heading: of the columns; the first one names the rows.
        rows: text of the cells.
    """

    title: str
    note: str
    heading: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(result: dict[str, Any]) -> list[Table]:
    """The tables of a comparison that have rows, in the order of the report.

    Args:
        result: what `compare` returned.
    """
    made = []
    for evaluation in result["evaluations"]:
        made.append(_main(result, evaluation))
        made.append(_curve(result, evaluation))
    made += [_references(result), _operations(result), _energy(result), _codings(result), _fidelity(result)]
    made += [_thresholds(result), _planes(result), _hardware(result)]
    return [table for table in made if table.rows]


def against_operations(evaluation: str) -> str:
    """Title of the section that holds an evaluation's curve."""
    return f"{evaluation} against synaptic operations"


def _rows(result: dict[str, Any], **which: Any) -> list[dict[str, Any]]:
    return [row for row in result["rows"] if all(row[key] == value for key, value in which.items())]


def _shown(row: dict[str, Any], label: str) -> str:
    figure = row["figures"][label]
    return f"{figure['value']:.2f} ({figure['low']:.2f} … {figure['high']:.2f})"


def _main(result: dict[str, Any], evaluation: dict[str, Any]) -> Table:
    label, unit = evaluation["label"], evaluation["unit"]
    budgets = [budget["label"] for budget in result["budgets"]]
    first = result["seeds"][0]
    rows: list[tuple[str, ...]] = []
    for recipe in result["recipes"]:
        (weights,) = _rows(result, kind="weights", recipe=recipe, seed=first)
        cells = [_rows(result, kind="spiking", recipe=recipe, budget=budget, seed=first)[0] for budget in budgets]
        rows.append((recipe, _shown(weights, label), *(_shown(cell, label) for cell in cells)))
    (floating,) = _rows(result, kind="float")
    note = f"Float model: {_shown(floating, label)}. In brackets 95 % bootstrap intervals."
    blind = result.get("blind", {}).get(label)
    if blind is not None:
        note += f" Blind, with the pictures exchanged: {blind:.2f}."
    for budget in budgets:
        order = pairs_in_order(result, label, budget)
        if order is not None:
            kept, pairs = order
            state = "the same" if kept == pairs else f"not the same ({kept} of {pairs} pairs keep theirs)"
            note += f" At {budget} the order of the recipes is {state} over {len(result['seeds'])} seeds."
    better = "higher" if evaluation["higher_is_better"] else "lower"
    return Table(f"{label} [{unit}, {better} is better]", note, ("recipe", "weight-only", *budgets), rows)


def _curve(result: dict[str, Any], evaluation: dict[str, Any]) -> Table:
    label = evaluation["label"]
    spiking = _rows(result, kind="spiking", seed=result["seeds"][0])
    front = {id(row) for row in pareto(spiking, label, evaluation["higher_is_better"])}
    rows: list[tuple[str, ...]] = [
        (
            f"{row['recipe']} at {row['budget']}",
            f"{total_sops(row):,.0f}",
            f"{row['spikes']['mean_timesteps']['weighted']:.3f}",
            _shown(row, label),
            "yes" if id(row) in front else "",
        )
        for row in sorted(spiking, key=total_sops)
    ]
    note = "Same timesteps, other spikes: recipes by what they really cost. Operations are measured on a sample."
    heading = ("model", "SOPs per token", "mean T", evaluation["unit"], "Pareto")
    return Table(against_operations(label), note, heading, rows)


def _references(result: dict[str, Any]) -> Table:
    labels = [one["label"] for one in result["evaluations"]]
    rows: list[tuple[str, ...]] = []
    for row in _rows(result, kind="integer", seed=result["seeds"][0]):
        rows.append((f"{row['recipe']} at {row['budget']}", *(_shown(row, label) for label in labels), "equal"))
    note = (
        "The same codes computed as an ordinary integer runtime does, without a spike: every figure must be, and is, "
        "equal to the spiking row."
    )
    return Table("Integer activations without spikes", note, ("model", *labels, "to the spiking row"), rows)


def _operations(result: dict[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    modalities = sorted({name for row in _rows(result, kind="spiking") for name in row["spikes"]["firing_rate"]})
    for row in _rows(result, kind="spiking", seed=result["seeds"][0]):
        spikes = row["spikes"]
        rows.append(
            (
                f"{row['recipe']} at {row['budget']}",
                *(
                    f"{100 * spikes['firing_rate'][name]:.1f}" if name in spikes["firing_rate"] else "-"
                    for name in modalities
                ),
                *(
                    f"{spikes['spikes_per_neuron'][name]:.3f}" if name in spikes["spikes_per_neuron"] else "-"
                    for name in modalities
                ),
                f"{spikes['mean_timesteps']['unweighted']:.3f}",
                f"{100 * spikes['coverage']:.1f}",
            )
        )
    heading = (
        "model",
        *(f"firing {name} %" for name in modalities),
        *(f"spikes/neuron {name}" for name in modalities),
        "mean T, unweighted",
        "coverage %",
    )
    note = "Firing: spikes per neuron and timestep. Coverage: share of MACs done by spikes."
    return Table("Spikes", note, heading, rows)


def _planes(result: dict[str, Any]) -> Table:
    spiking = _rows(result, kind="spiking", seed=result["seeds"][0])
    kinds = list(dict.fromkeys(kind for row in spiking for kind in row["planes"]["by_kind"]))
    rows: list[tuple[str, ...]] = []
    for row in spiking:
        planes = row["planes"]
        whole, by_kind = planes["all"], planes["by_kind"]
        rows.append(
            (
                f"{row['recipe']} at {row['budget']}",
                f"{whole['spikes_per_input']:.3f}",
                *(f"{by_kind[kind]['spikes_per_input']:.3f}" if kind in by_kind else "-" for kind in kinds),
                _percent(whole["rows_firing"]),
                _percent(whole["chunks_firing"]),
                f"{whole['imbalance']:.2f}",
            )
        )
    lanes, slots = (spiking[0]["planes"][key] for key in ("lanes", "slots")) if spiking else (0, 0)
    note = (
        f"Spikes per input by kind of layer; how many planes of a row, and how many chunks of {lanes} inputs of them, "
        f"hold a spike, first timestep first; and how much longer the fullest of {lanes} lanes is at it than an even "
        f"share, block by block of {slots} chunks, with a wait after each plane."
    )
    heading = ("model", "spikes/input", *kinds, "rows firing %", "chunks firing %", "lanes, fullest / mean")
    return Table("What hardware sees", note, heading, rows)


def _percent(shares: list[float]) -> str:
    return " ".join(f"{100 * share:.0f}" for share in shares)


def _energy(result: dict[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    for row in _rows(result, kind="spiking", seed=result["seeds"][0]):
        for name, by_scope in row["energy"].items():
            for scope, one in by_scope.items():
                rows.append(
                    (
                        f"{row['recipe']} at {row['budget']}",
                        name,
                        scope,
                        f"{one['spiking'] / 1e6:,.2f}",
                        f"{one['integer_rival'] / 1e6:,.2f}",
                        f"{one['ratio']:.2f}",
                        f"{one['dense'] / 1e6:,.2f}" if scope == "compute" else "-",
                        f"{one['spiking'] / one['dense']:.2f}" if scope == "compute" else "-",
                    )
                )
    sources = sorted(
        {one["source"] for row in _rows(result, kind="spiking") for by in row["energy"].values() for one in by.values()}
    )
    note = (
        "Estimates, all of them: counted operations times published costs, for the sampled items. The baseline is an "
        "integer MAC of equal bits over the same rows; below 1 spikes win. Spikes over dense MACs in the table's own "
        "arithmetic is what the field usually shows. "
        f"Costs: {'; '.join(sources)}."
    )
    heading = (
        "model",
        "table",
        "scope",
        "spikes [µJ]",
        "integer MAC baseline [µJ]",
        "spikes / baseline",
        "dense MAC of the table [µJ]",
        "spikes / dense MAC",
    )
    return Table(ENERGY, note, heading, rows)


def _codings(result: dict[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    for row in _rows(result, kind="spiking", seed=result["seeds"][0]):
        own = row["spikes"]
        tokens = sum(own["tokens"].values()) or 1
        for name, other in ((row["coding"], own), *row["codings"].items()):
            total = sum(other["sops_per_token"][m] * own["tokens"][m] for m in other["sops_per_token"]) / tokens
            rates = " / ".join(f"{100 * rate:.1f}" for rate in other["firing_rate"].values())
            steps = other.get("steps", {})
            shown = " / ".join(f"{value:.2f}" for value in steps.values()) if steps else "-"
            rows.append((f"{row['recipe']} at {row['budget']}", name, shown, f"{total:,.0f}", rates))
    note = (
        "The same integer codes in other spikes, recoded exactly; accuracy is the same. `unary` takes L/2 - 1 steps. "
        "Codings that choose codes of their own stand alone."
    )
    heading = ("model", "coding", "mean steps", "SOPs per token", "firing %")
    return Table("Codings", note, heading, rows)


def _fidelity(result: dict[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    for row in _rows(result, kind="spiking", seed=result["seeds"][0]):
        values = sorted((value, name, m) for name, by in row["snr"].items() for m, value in by.items())
        if values:
            middle = values[len(values) // 2][0]
            worst = ", ".join(f"{name} ({m}) {value:.1f}" for value, name, m in values[:2])
            rows.append((f"{row['recipe']} at {row['budget']}", f"{middle:.1f}", worst))
    note = "Signal-to-noise ratio of each layer's output on the inputs that it gets; all layers are in comparison.json."
    return Table("Fidelity of layers [dB]", note, ("model", "median", "worst two"), rows)


def _thresholds(result: dict[str, Any]) -> Table:
    spiking = _rows(result, kind="spiking", seed=result["seeds"][0])
    modalities = list(dict.fromkeys(modality for row in spiking for modality in row["thresholds"]))
    rows: list[tuple[str, ...]] = []
    for row in spiking:
        cells = [", ".join(starmap(_tied, row["thresholds"].get(modality, {}).items())) for modality in modalities]
        rows.append((f"{row['recipe']} at {row['budget']}", *(cell or "-" for cell in cells)))
    note = (
        "What a row's threshold is tied to, and the least and largest ratio over all layers: absmax gives s = ratio * "
        "absmax / (2^T - 1), another statistic s = ratio * statistic with T as range alone."
    )
    return Table("Thresholds", note, ("model", *modalities), rows)


def _tied(statistic: str, ratios: list[float]) -> str:
    least, most = ratios
    if statistic == "static":
        return statistic
    return f"{statistic} {least:g}" if least == most else f"{statistic} {least:g} … {most:g}"


def _hardware(result: dict[str, Any]) -> Table:
    hardware = result.get("hardware", [])
    how = sorted(
        {
            f"the core's are {one['spike']['cycles']}, the dense baseline's a {one['dense']['cycles']}"
            for one in hardware
        }
    )
    notes = sorted({one["note"] for one in hardware if one["note"]})
    note = (
        f"Traces replayed on the SystemVerilog core beside a dense array; cycles: {'; '.join(how)}. Areas and energies "
        "are synthesised and estimated, where there are any. "
    )
    note += "".join(f"{one}. " for one in notes)
    return Table("Hardware (simulated)", note.strip(), HARDWARE_HEADING, hardware_rows(hardware))
