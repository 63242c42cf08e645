"""Markdown tables from the results' JSON, and pictures of those that have one.

python benchmarks/tables.py docs/results/*.json     # writes docs/results/*.md and *.svg
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import estimate_report
from drawings import drawing
from frontier_report import table as frontier_table
from harness import RESULTS
from spike_compressor.files import write_text
from timing import pages


def markdown(result: dict[str, Any]) -> str:
    """A result as Markdown: what was measured where, the table, the goals."""
    if result["benchmark"] in PAGES:
        return PAGES[result["benchmark"]](result)
    lines = [f"# {TITLES[result['benchmark']]}", "", *_origin(result), "", *TABLES[result["benchmark"]](result["rows"])]
    if result.get("goals"):
        rows = [(goal["goal"], goal["found"], "pass" if goal["passed"] else "**fail**") for goal in result["goals"]]
        lines += ["", *_table(("goal", "found", ""), rows, text=3)]
    return "\n".join(lines) + "\n"


def _origin(result: dict[str, Any]) -> list[str]:
    machine = result["machine"]
    command = result.get("command", f"python benchmarks/{result['benchmark']}.py")
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        f"Label: {result['label']} by `{command}`, {machine['cpu']}, "
        f"{machine['threads']} thread{'s' if machine['threads'] != 1 else ''}, {packages}.",
        "",
    ]
    for name, value in result["settings"].items():
        shown = "; ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
        lines.append(f"- {name.replace('_', ' ')}: {shown}")
    return lines


def _embedded(rows: list[dict[str, Any]]) -> list[str]:
    heads = (
        "weights",
        "spikes",
        "budget Tv/Tt or mean",
        "mean T, weighted",
        "mean T, unweighted",
        "SOPs per token",
        "accuracy, %",
        "minus fixed",
        "minus uniform",
    )
    cells = [
        (
            row["weights"],
            row["spikes"],
            row.get("budget", ""),
            f"{row['mean_timesteps']:.3f}" if "mean_timesteps" in row else "",
            f"{row['mean_timesteps_unweighted']:.3f}" if "mean_timesteps" in row else "",
            f"{row['sops_per_token']:,.0f}" if "sops_per_token" in row else "",
            _interval(row["accuracy"], 100, 2),
            _interval(row.get("minus_fixed"), 100, 2, sign="+") + _other_baseline(row),
            _interval(row.get("minus_uniform"), 100, 2, sign="+"),
        )
        for row in rows
    ]
    return _table(heads, cells, text=3)


def _other_baseline(row: dict[str, Any]) -> str:
    baseline = row.get("fixed_rival", row.get("budget"))
    return "" if baseline == row.get("budget") else f" to {baseline}"


def _smollm2(rows: list[dict[str, Any]]) -> list[str]:
    kinds = list(dict.fromkeys(kind for row in rows for kind in row.get("timesteps", ())))
    heads = ("weights", "spikes", "mean T", "perplexity", "over float", "over uniform", *(f"T of `{k}`" for k in kinds))
    cells = [
        (
            row["weights"],
            row["spikes"],
            f"{row['mean_timesteps']:g}" if "mean_timesteps" in row else "",
            _interval(row["interval"], 1, 2),
            _interval(row["over_float"], 1, 3),
            _interval(row.get("over_uniform"), 1, 3),
            *(f"{row['timesteps'][kind]:.2f}" if "timesteps" in row else "" for kind in kinds),
        )
        for row in rows
    ]
    return _table(heads, cells, text=2)


def _overhead(rows: list[dict[str, Any]]) -> list[str]:
    heads = ("model", "runs of each", "figure", "without spikes", "with spikes", "ratio of medians")
    names = {"seconds": "wall time, s", "cpu_seconds": "processor time, s", "peak_mib": "peak memory, MiB"}
    cells = [
        (
            row["model"],
            str(row["repeats"]),
            label,
            f"{row[figure]['plain']:.1f}",
            f"{row[figure]['spikes']:.1f}",
            f"{row[figure]['ratio']:.3f}",
        )
        for row in rows
        for figure, label in names.items()
    ]
    return _table(heads, cells, text=3)


def _calibration(rows: list[dict[str, Any]]) -> list[str]:
    """Times of `oneshot` by allocation, and peaks of the random model by run."""
    timed = [row for row in rows if row["part"] == "time"]
    lines = _calibration_times(timed) if timed else []
    for row in rows:
        if row["part"] == "memory":
            lines += ["", *_calibration_memory(row)]
    return lines


def _calibration_times(rows: list[dict[str, Any]]) -> list[str]:
    heads = ("model", "runs of each", "figure", "fixed", "med", "sensitivity", "sensitivity over fixed")
    names = {"seconds": "wall time, s", "cpu_seconds": "processor time, s", "peak_mib": "peak memory, MiB"}
    cells = [
        (
            row["model"],
            str(row["repeats"]),
            label,
            *(f"{row[figure][kind]:.1f}" if kind in row[figure] else "" for kind in ("fixed", "med", "sensitivity")),
            f"{row[figure]['sensitivity'] / row[figure]['fixed']:.3f}",
        )
        for row in rows
        for figure, label in names.items()
    ]
    return _table(heads, cells, text=3)


def _calibration_memory(row: dict[str, Any]) -> list[str]:
    peaks, opened = row["peak_mib"], row["peak_mib"]["open"]
    kinds = {"alone": "LLM Compressor alone", "fixed": "with TC-LIF", "sensitivity": "with `sensitivity`"}
    heads = (f"{row['parameters'] / 1e9:.2f}e9 parameters", "`oneshot`, MiB", "over alone", "save, MiB", "over alone")
    cells = []
    for kind, label in kinds.items():
        line = [label]
        for step in ("oneshot", "save"):
            line += [f"{peaks[kind][step]:,.0f}", f"{peaks[kind][step] / peaks['alone'][step]:.3f}"]
        cells.append(line)
    said = (
        f"Opened in a process of its own: {opened['load']:,.0f} MiB at most, {opened['resident']:,.0f} resident after "
        f"a forward pass; {opened['began']:,.0f} before."
    )
    return [*_table(heads, cells, text=1), "", said]


def _evolution(rows: list[dict[str, Any]]) -> list[str]:
    heads = ("model", "decoder layer", "D text", "D vision", "MED")
    cells = [
        (
            row["model"],
            str(row["layer"]),
            *(f"{row[m]['mean']:.4f} ± {row[m]['half_width']:.4f}" if m in row else "" for m in ("text", "vision")),
            f"{row['discrepancy']:+.4f}" if "discrepancy" in row else "",
        )
        for row in rows
    ]
    return _table(heads, cells, text=1)


def _quantizers(rows: list[dict[str, Any]]) -> list[str]:
    """A table an evaluation, a line a recipe and seed, a column a budget; bold: the Pareto front over operations."""
    budgets = list(dict.fromkeys(row["budget"] for row in rows if row["kind"] == "spiking"))
    lines: list[str] = []
    for label in rows[0]["figures"]:
        heads = ("recipe", "seed", "weight-only", *(f"{budget}" for budget in budgets))
        (real,) = (_interval(row["figures"][label], 1, 2) for row in rows if row["kind"] == "float")
        cells = [("float", "", real, *("" for _ in budgets))]
        for recipe, seed in dict.fromkeys((row["recipe"], row["seed"]) for row in rows if row["kind"] == "weights"):
            own = [row for row in rows if (row["recipe"], row["seed"]) == (recipe, seed)]
            (weights,) = (_interval(row["figures"][label], 1, 2) for row in own if row["kind"] == "weights")
            spiking = {row["budget"]: row for row in own if row["kind"] == "spiking"}
            cells.append((recipe, str(seed), weights, *(_spiking(spiking.get(budget), label) for budget in budgets)))
        lines += [f"`{label}`", "", *_table(heads, cells, text=1), ""]
    heads = ("recipe", "seed", *budgets)
    cells = [
        (recipe, str(seed), *(f"{own[budget]:,.0f}" if budget in own else "" for budget in budgets))
        for recipe, seed in dict.fromkeys((row["recipe"], row["seed"]) for row in rows if row["kind"] == "weights")
        for own in [
            {
                row["budget"]: row["sops_per_token"]
                for row in rows
                if (row["kind"], row["recipe"], row["seed"]) == ("spiking", recipe, seed)
            }
        ]
    ]
    return [*lines, "Synaptic operations for one token:", "", *_table(heads, cells, text=1)]


def _group_snr(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each kind of inputs and coding: in dB by the number of steps; and spikes per input by dB."""
    by_steps = [row for row in rows if "steps" in row]
    by_level = [row for row in rows if "spikes" in row]
    return [
        *_pivot(by_steps, "steps", "snr_db", "{} steps", ".1f"),
        "",
        "Spikes per input at equal ratios of signal to noise, by codings that differ in rounding alone:",
        "",
        *_pivot(by_level, "snr_db", "spikes", "{} dB", ".3f"),
    ]


def _pivot(rows: list[dict[str, Any]], across: str, value: str, head: str, form: str) -> list[str]:
    """A line for each kind of inputs and coding, a column for each value of a field."""
    columns = sorted({row[across] for row in rows})
    at = {(row["inputs"], row["coding"], row[across]): format(row[value], form) for row in rows}
    cells = [
        (inputs, coding, *(at.get((inputs, coding, column), "") for column in columns))
        for inputs, coding in dict.fromkeys((row["inputs"], row["coding"]) for row in rows)
    ]
    return _table(("inputs", "coding", *map(head.format, columns)), cells, text=2)


def _group_gates(rows: list[dict[str, Any]]) -> list[str]:
    heads = ("weights", "code", "coding", "ratio", "figure", "spikes per input", "SOPs per token")
    cells = [
        (
            row["weights"],
            row["code"],
            row["coding"],
            row["ratio"],
            _interval(row["figure"], 1, 2),
            f"{row['spikes_per_neuron']:.3f}",
            f"{row['sops_per_token']:,.0f}",
        )
        for row in rows
    ]
    return _table(heads, cells, text=3)


def _capped(rows: list[dict[str, Any]]) -> list[str]:
    heads = (
        "spikes per input wanted",
        "coding",
        "thresholds times",
        "words of 64 inputs",
        "filled",
        "spikes per input",
        "accuracy, %",
        "minus tc_lif, points",
        "noise over tc_lif's",
        "perplexity",
    )
    cells = [
        (
            f"{row['budget']:g}",
            f"`{row['coding']}`",
            f"{row['factor']:g}",
            f"{row['words']:.2f}",
            f"{row['filled']:.2f}",
            f"{row['spikes_per_input']:.3f}",
            _interval(row["accuracy"], 100, 2),
            _interval(row["minus_plain"], 100, 2, "+"),
            _interval(row["noise"], 1, 3),
            f"{row['perplexity']:.4f}",
        )
        for row in rows
    ]
    return _table(heads, cells, text=2)


def _serving(rows: list[dict[str, Any]]) -> list[str]:
    """A table a task and number of threads: a line an engine."""
    lines: list[str] = []
    for row in rows:
        threads = f"{row['threads']} thread{'s' if row['threads'] != 1 else ''}"
        ratios = {
            name: f"{r['ratio']:.2f} ({r['low']:.2f} .. {r['high']:.2f})" for name, r in row["over_spikes"].items()
        }
        cells = [(name, f"{rate:,.1f}", ratios.get(name, "1")) for name, rate in row["tokens_per_second"].items()]
        heads = (row["task"], "tokens/s", "its time over that of spikes")
        lines += [f"{threads}, {row['rounds']} rounds:", "", *_table(heads, cells, text=1), ""]
    return lines[:-1]


def _spiking(row: dict[str, Any] | None, label: str) -> str:
    if row is None:
        return ""
    shown = _interval(row["figures"][label], 1, 2)
    return f"**{shown}**" if row["pareto"] and label == next(iter(row["figures"])) else shown


def _frontier(rows: list[dict[str, Any]]) -> list[str]:
    return frontier_table(rows, _interval, _table)


TITLES = {
    "frontier_embedded": "Embedded model: accuracy against spikes and timesteps",
    "frontier_smollm2": "SmolLM2-135M: perplexity against operations and timesteps",
    "frontier_smollm2_rotated": "SmolLM2-135M, rotated: perplexity at few timesteps",
    "evolution": "How hidden states turn from layer to layer",
    "msts_embedded": "Embedded model: accuracy under equal spike budgets",
    "msts_smollm2": "SmolLM2-135M: perplexity at one mean number of timesteps",
    "calibration": "What MSTS costs while it calibrates",
    "calibration_smollm2": "What MSTS costs while it calibrates: SmolLM2-135M",
    "overhead": "What MSTS and TC-LIF add to `oneshot`",
    "quantizers_embedded": "Embedded model: quantizers under the same spike budget",
    "quantizers_smollm2": "SmolLM2-135M: quantizers under the same spike budget",
    "codings_embedded": "Embedded model: codings and thresholds at as many spikes",
    "fitted_smollm2": "SmolLM2-135M: few timesteps, all fitted",
    "speed": "How fast spiking layers and models are",
    "serving": "Tokens a second of vLLM's",
    "capped_embedded": "Embedded model: capped firing against plain spikes",
    "group_snr": "Group coding: signal-to-noise ratio of coded rows",
    "group_gates_embedded": "Embedded model: group coding against plain spikes, 4-bit weights",
    "group_gates_smollm2": "SmolLM2-135M: group coding against plain spikes, 4-bit weights",
}
TABLES = {
    "frontier_embedded": _frontier,
    "frontier_smollm2": _frontier,
    "frontier_smollm2_rotated": _frontier,
    "evolution": _evolution,
    "msts_embedded": _embedded,
    "msts_smollm2": _smollm2,
    "calibration": _calibration,
    "calibration_smollm2": _calibration,
    "overhead": _overhead,
    "quantizers_embedded": _quantizers,
    "quantizers_smollm2": _quantizers,
    "codings_embedded": _quantizers,
    "fitted_smollm2": _quantizers,
    "speed": pages.tables,
    "serving": _serving,
    "capped_embedded": _capped,
    "group_snr": _group_snr,
    "group_gates_embedded": _group_gates,
    "group_gates_smollm2": _group_gates,
}
#: Results that are no rows of figures: each has a page of its own kind.
PAGES = {
    "estimate": estimate_report.one_model,
    "estimate_72b": estimate_report.one_model,
    "estimate_models": estimate_report.all_models,
    "estimate_claim": estimate_report.claim,
    "estimate_cycles": estimate_report.cycles,
}


def _interval(value: dict[str, float] | None, factor: float, digits: int, sign: str = "") -> str:
    if value is None:
        return ""
    middle, low, high = (f"{factor * value[key]:{sign},.{digits}f}" for key in ("estimate", "low", "high"))
    return f"{middle} ({low} .. {high})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], text: int) -> list[str]:
    """Lines of a table whose first `text` columns are text and the others figures."""
    rule = ["---" if column < text else "--:" for column in range(len(heads))]
    return [f"| {' | '.join(line)} |" for line in (heads, rule, *rows)]


def publish(result: dict[str, Any], path: Path) -> str:
    """Write the table beside the result's JSON file, and the picture where there is one; the table."""
    text, picture = markdown(result), drawing(result)
    write_text(path.with_suffix(".md"), text)
    if picture is not None:
        write_text(path.with_suffix(".svg"), picture)
    if result["benchmark"] == "speed" and path.parent == RESULTS:
        pages.embed(result["rows"])
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, help="JSON files; the table of x.json becomes x.md beside it")
    for path in parser.parse_args().results:
        print(publish(json.loads(path.read_text(encoding="utf-8")), path))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
