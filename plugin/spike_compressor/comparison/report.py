"""A comparison as one HTML file, a Markdown page and a CSV table."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from spike_compressor.comparison.draw import figures
from spike_compressor.comparison.ranking import total_sops
from spike_compressor.comparison.tables import Table, tables
from spike_compressor.files import write_text


def write(result: dict[str, Any], folder: str | os.PathLike[str], command: str = "") -> list[Path]:
    """Write `report.html` (self-contained), `report.md`, `cells.csv` and `comparison.json` of a comparison.

    Args:
        result: what `compare` returned.
        folder: made if needed; files of an earlier report are replaced.
        command: that made it, to be shown.

    Raises:
        InputError: the folder cannot be written.
    """
    target = Path(folder)
    files = {
        "comparison.json": json.dumps(result, indent=1) + "\n",
        "cells.csv": _csv(result),
        "report.md": _markdown(result, command),
        "report.html": _html(result, command),
    }
    return [write_text(target / name, text) for name, text in files.items()]


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
    parts = [f"# Recipes compared: {result['model']}", _measured(result)]
    if command:
        parts.append(f"Made by:\n\n    {command}")
    for table in tables(result):
        lines = [
            " | ".join(table.heading),
            " | ".join(["---", *["--:"] * (len(table.heading) - 1)]),
            *(" | ".join(row) for row in table.rows),
        ]
        parts += [f"## {table.title}", table.note, "\n".join(f"| {line} |" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _measured(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return f"Measured on {processor_name()}, {os.cpu_count()} cores, with {versions}."


def processor_name() -> str:
    """The name of this machine's CPU."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _marked(text: str) -> Markup:
    """Prose of the tables, which is Markdown's, as HTML: names between backticks are code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


class _Section(NamedTuple):
    """A section of the page: a heading, its pictures, its table if it has one."""

    title: str
    pictures: list[tuple[str, Markup]]
    table: Table | None = None

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def _html(result: dict[str, Any], command: str) -> str:
    drawn = {
        title: [(picture.caption, Markup(picture.svg)) for picture in pictures]  # drawn here: nothing to escape
        for title, pictures in figures(result).items()
    }
    sections = [_Section(table.title, drawn.pop(table.title, []), table) for table in tables(result)]
    sections += [_Section(title, pictures) for title, pictures in drawn.items()]
    environment = Environment(
        loader=PackageLoader("spike_compressor.comparison"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["marked"] = _marked
    return environment.get_template("report.html.j2").render(
        model=result["model"],
        measured=_measured(result),
        command=command,
        sections=sections,
        recipes=result["recipes"],
    )


def console(result: dict[str, Any]) -> Sequence[str]:
    """The main tables as aligned lines of text."""
    lines: list[str] = []
    for table in tables(result)[: 2 * len(result["evaluations"])]:
        widths = [max(map(len, column)) for column in zip(table.heading, *table.rows, strict=True)]
        lines += ["", table.title, table.note]
        for row in (table.heading, *table.rows):
            rest = "  ".join(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            lines.append(f"{row[0].ljust(widths[0])}  {rest}")
    return lines
