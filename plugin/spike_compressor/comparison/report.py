"""A comparison as one HTML file, a Markdown page and a CSV table."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from spike_compressor.comparison.draw import figures
from spike_compressor.comparison.hardware import HARDWARE_HEADING, hardware_rows
from spike_compressor.comparison.sweep import pairs_in_order, pareto, total_sops
from spike_compressor.files import write_text

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: .25em .7em; border-bottom: 1px solid #e4e4e4; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; }
figure { margin: 1.5em 0; } figure svg { max-width: 100%; height: auto; } figcaption { color: #555; font-size: 13px; }
pre { background: #f6f6f6; padding: .8em; overflow-x: auto; font-size: 13px; } .scroll { overflow-x: auto; }
.note { color: #555; }
"""


def write(result: dict[str, Any], folder: str | os.PathLike[str], command: str = "") -> list[Path]:
    """Write `report.html` (self-contained), `report.md`, `cells.csv` and `comparison.json` of a comparison.

    Args:
        result: what `compare` returned.
        folder: made if needed; files of an earlier report are replaced.
        command: that made it, to be shown.

    Raises:
        InputError: the folder cannot be written, or matplotlib is not installed.
    """
    target = Path(folder)
    files = {
        "comparison.json": json.dumps(result, indent=1) + "\n",
        "cells.csv": _csv(result),
        "report.md": _markdown(result, command),
        "report.html": _html(result, command),
    }
    return [write_text(target / name, text) for name, text in files.items()]


# Tables


def tables(result: dict[str, Any]) -> list[tuple[str, str, Table]]:
    """(title, note, table) in the order of the report."""
    made = []
    for evaluation in result["evaluations"]:
        made.append(_main(result, evaluation))
        made.append(_curve(result, evaluation))
    made += [_references(result), _operations(result), _energy(result), _codings(result), _fidelity(result)]
    made.append(_hardware(result))
    return [entry for entry in made if entry[2][1]]


def _rows(result: dict[str, Any], **which: Any) -> list[dict[str, Any]]:
    return [row for row in result["rows"] if all(row[key] == value for key, value in which.items())]


def _shown(row: dict[str, Any], label: str) -> str:
    figure = row["figures"][label]
    return f"{figure['value']:.2f} ({figure['low']:.2f} … {figure['high']:.2f})"


def _main(result: dict[str, Any], evaluation: dict[str, Any]) -> tuple[str, str, Table]:
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
    return f"{label} [{unit}, {better} is better]", note, (("recipe", "weights only", *budgets), rows)


def _curve(result: dict[str, Any], evaluation: dict[str, Any]) -> tuple[str, str, Table]:
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
    return f"{label}: figure against synaptic operations", note, (heading, rows)


def _references(result: dict[str, Any]) -> tuple[str, str, Table]:
    labels = [one["label"] for one in result["evaluations"]]
    rows: list[tuple[str, ...]] = []
    for row in _rows(result, kind="integer", seed=result["seeds"][0]):
        rows.append((f"{row['recipe']} at {row['budget']}", *(_shown(row, label) for label in labels), "equal"))
    note = (
        "The same codes computed as an ordinary integer runtime does, without a spike: every figure must be, and is, "
        "equal to the spiking row."
    )
    return "Integer activations without spikes", note, (("model", *labels, "to the spiking row"), rows)


def _operations(result: dict[str, Any]) -> tuple[str, str, Table]:
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
    return "Spikes", "Firing: spikes a neuron and timestep. Coverage: share of MACs done by spikes.", (heading, rows)


def _energy(result: dict[str, Any]) -> tuple[str, str, Table]:
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
        "Estimates, all of them: counted operations times published costs, for the sampled items. The rival is an "
        "integer MAC of equal bits over the same rows; below 1 spikes win. Spikes over the dense model in the table's "
        "own arithmetic is what the field usually shows. "
        f"Costs: {'; '.join(sources)}."
    )
    heading = (
        "model",
        "table",
        "scope",
        "spikes [uJ]",
        "integer rival [uJ]",
        "spikes / rival",
        "dense, table's MAC [uJ]",
        "spikes / dense",
    )
    return "Energy (estimate)", note, (heading, rows)


def _codings(result: dict[str, Any]) -> tuple[str, str, Table]:
    rows: list[tuple[str, ...]] = []
    for row in _rows(result, kind="spiking", seed=result["seeds"][0]):
        own = row["spikes"]
        tokens = sum(own["tokens"].values()) or 1
        for name, other in (("tc_lif", own), *row["codings"].items()):
            total = sum(other["sops_per_token"][m] * own["tokens"][m] for m in other["sops_per_token"]) / tokens
            rates = " / ".join(f"{100 * rate:.1f}" for rate in other["firing_rate"].values())
            steps = other.get("steps", {})
            shown = " / ".join(f"{value:.2f}" for value in steps.values()) if steps else "-"
            rows.append((f"{row['recipe']} at {row['budget']}", name, shown, f"{total:,.0f}", rates))
    note = "The same integer codes in other spikes, recoded exactly; accuracy is the same. `unary` takes L/2 - 1 steps."
    heading = ("model", "coding", "mean steps", "SOPs per token", "firing %")
    return "Codings", note, (heading, rows)


def _fidelity(result: dict[str, Any]) -> tuple[str, str, Table]:
    rows: list[tuple[str, ...]] = []
    for row in _rows(result, kind="spiking", seed=result["seeds"][0]):
        values = sorted((value, name, m) for name, by in row["snr"].items() for m, value in by.items())
        if values:
            middle = values[len(values) // 2][0]
            worst = ", ".join(f"{name} ({m}) {value:.1f}" for value, name, m in values[:2])
            rows.append((f"{row['recipe']} at {row['budget']}", f"{middle:.1f}", worst))
    note = "Signal-to-noise ratio of each layer's output on the inputs that it gets; all layers are in comparison.json."
    return "Fidelity of layers [dB]", note, (("model", "median", "worst two"), rows)


def _hardware(result: dict[str, Any]) -> tuple[str, str, Table]:
    hardware = result.get("hardware", [])
    how = sorted(
        {f"the core's are {one['spike']['cycles']}, the rival's a {one['dense']['cycles']}" for one in hardware}
    )
    notes = sorted({one["note"] for one in hardware if one["note"]})
    note = (
        f"Traces replayed on the SystemVerilog core beside a dense array; cycles: {'; '.join(how)}. Areas and energies "
        "are synthesised and estimated, where there are any. "
    )
    note += "".join(f"{one}. " for one in notes)
    return "Hardware (simulated)", note.strip(), (HARDWARE_HEADING, hardware_rows(hardware))


# Formats


def _csv(result: dict[str, Any]) -> str:
    out = io.StringIO()
    labels = [one["label"] for one in result["evaluations"]]
    writer = csv.writer(out, lineterminator="\n")
    head = ["kind", "recipe", "budget", "seed"]
    for label in labels:
        head += [label, f"{label} low", f"{label} high"]
    writer.writerow([*head, "sops_per_token", "mean_timesteps_weighted", "mean_timesteps", "coverage", "seconds"])
    for row in result["rows"]:
        line: list[Any] = [row["kind"], row["recipe"], row["budget"], row["seed"]]
        for label in labels:
            line += [row["figures"][label][key] for key in ("value", "low", "high")]
        if row["kind"] == "spiking":
            means = row["spikes"]["mean_timesteps"]
            line += [total_sops(row), means["weighted"], means["unweighted"], row["spikes"]["coverage"]]
        else:
            line += [""] * 4
        writer.writerow([*line, f"{row['seconds']:.1f}"])
    return out.getvalue()


def _markdown(result: dict[str, Any], command: str) -> str:
    parts = [f"# Recipes compared: {result['model']}", *_made_by(result, command)]
    for title, note, (heading, rows) in tables(result):
        lines = [
            " | ".join(heading),
            " | ".join(["---", *["--:"] * (len(heading) - 1)]),
            *(" | ".join(r) for r in rows),
        ]
        parts += [f"## {title}", note, "\n".join(f"| {line} |" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _made_by(result: dict[str, Any], command: str) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    parts = [f"Measured on {_processor()} with {versions}."]
    return [*parts, f"Made by:\n\n    {command}"] if command else parts


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _html(result: dict[str, Any], command: str) -> str:
    escape: Callable[[str], str] = html.escape
    body = [f"<h1>Recipes compared: {escape(result['model'])}</h1>"]
    for part in _made_by(result, command):
        head, _, code = part.partition("\n\n    ")
        body.append(f"<p class=note>{escape(head)}</p>" + (f"<pre>{escape(code)}</pre>" if code else ""))
    drawn = figures(result)
    for title, note, table in tables(result):
        body.append(f"<h2>{escape(title)}</h2><p class=note>{escape(note)}</p>{_html_table(table)}")
        body += [_html_figure(caption, svg) for caption, svg in drawn.pop(title, [])]
    for title, pictures in drawn.items():
        body.append(f"<h2>{escape(title)}</h2>")
        body += [_html_figure(caption, svg) for caption, svg in pictures]
    body.append("<h2>Recipes</h2>")
    for name, text in result["recipes"].items():
        body.append(f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>")
    return (
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{escape(result['model'])}: recipes compared"
        f"</title><style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _html_table(table: Table) -> str:
    heading, rows = table

    def line(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<div class=scroll><table><thead>{line(heading, 'th')}</thead><tbody>{body}</tbody></table></div>"


def _html_figure(caption: str, svg: str) -> str:
    return f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


def console(result: dict[str, Any]) -> Sequence[str]:
    """The main tables as aligned lines of text."""
    lines: list[str] = []
    for title, note, (heading, rows) in tables(result)[: 2 * len(result["evaluations"])]:
        widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
        lines += ["", title, note]
        for row in (heading, *rows):
            rest = "  ".join(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            lines.append(f"{row[0].ljust(widths[0])}  {rest}")
    return lines
