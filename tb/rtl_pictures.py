"""Pictures of the three organisations, from the JSON of reports alone: see docs/rtl.md.

    python tb/rtl_pictures.py [--out docs/results]

`rtl_organisations.svg` shows how each works, `rtl_area.svg` where its area goes (rtl_map.json), `rtl_density.svg` work
per area at equal accuracy (equal_accuracy.json), `rtl_winners.svg` who is ahead where (rtl_map.json).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

from map_page import winner  # noqa: E402
from quality_map import DRAWN, PARTS  # noqa: E402
from spike_compressor.plot.style import INK, MUTED, SERIES, drawing, figure_text  # noqa: E402
from toolchain import ROOT  # noqa: E402

RESULTS = ROOT / "docs" / "results"
#: A colour each, everywhere.
COLOURS = {"dense": SERIES[11], "event": SERIES[1], "groups": SERIES[0]}
NAMES = {"dense": "dense array", "event": "event core", "groups": "group array"}


def area(result: Mapping[str, Any]) -> str:
    """Where an array's area goes: a bar a rung, a panel a library."""
    libraries = result["areas"]
    rungs = list(DRAWN)
    with drawing() as figure_class:
        figure = figure_class(figsize=(4.6 * len(libraries), 2.7), layout="constrained")
        panels = figure.subplots(1, len(libraries), squeeze=False, sharey=True)[0]
        for axes, (slug, found) in zip(panels, libraries.items(), strict=True):
            left = dict.fromkeys(rungs, 0.0)
            for colour, part in zip(SERIES, PARTS, strict=False):
                widths = [found[name][part] / sum(found[name].values()) for name in rungs]
                bars = axes.barh([DRAWN[name] for name in rungs], widths, left=list(left.values()), color=colour)
                bars.set_label(part)
                for name, width in zip(rungs, widths, strict=True):
                    if width > 0.06:
                        axes.text(
                            left[name] + width / 2, DRAWN[name], f"{width:.0%}", ha="center", va="center", color="white"
                        )
                    left[name] += width
            for name in rungs:
                axes.text(1.02, DRAWN[name], f"{sum(found[name].values()):.3g} mm2", va="center")
            axes.set(xlim=(0, 1.22), xticks=[], title=result["libraries"][slug])
            axes.spines["bottom"].set_visible(False)
            axes.invert_yaxis()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=7)
        return figure_text(figure)


def _sides(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The best of each organisation in a case and library."""
    sides = {"dense": found["dense"], "event": found["spike"], "groups": found.get("groups", [])}
    return {side: max(these, key=lambda one: one["macs_per_cycle_mm2"]) for side, these in sides.items() if these}


def density(report: Mapping[str, Any]) -> str:
    """MACs a cycle and mm2 at equal accuracy, a group of bars a case, a panel a library."""
    slugs = list(report["cases"][0]["libraries"])
    with drawing() as figure_class:
        figure = figure_class(figsize=(4.4 * len(slugs), 2.8), layout="constrained")
        for axes, slug in zip(figure.subplots(1, len(slugs), squeeze=False)[0], slugs, strict=True):
            for place, case in enumerate(report["cases"]):
                sides = _sides(case["libraries"][slug])
                best = sides["dense"]["macs_per_cycle_mm2"]
                for index, (side, one) in enumerate(sides.items()):
                    value = one["macs_per_cycle_mm2"]
                    x = place + 0.27 * (index - 1)
                    axes.bar(x, value, width=0.25, color=COLOURS[side], label=NAMES[side] if not place else None)
                    axes.text(x, value, f"{value / best:.2f}", ha="center", va="bottom", fontsize=7)
            axes.set_xticks(range(len(report["cases"])), [case["case"].replace(", ", "\n") for case in report["cases"]])
            axes.set(ylabel="MACs a cycle and mm2", title=report["cases"][0]["libraries"][slug]["name"])
            axes.grid(axis="y", linewidth=0.4, alpha=0.4, color=MUTED)
            axes.legend(frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, -0.42), ncols=3)
        return figure_text(figure)


def winners(result: Mapping[str, Any]) -> str:
    """Who is ahead for which inputs, quality and outputs; the number is the best spiking array's work per area."""
    kinds = list(dict.fromkeys((row["kind"], row["db"]) for row in result["rows"]))
    outputs = list(dict.fromkeys(row["outputs"] for row in result["rows"]))
    with drawing() as figure_class:
        figure = figure_class(figsize=(4.9 * len(result["libraries"]), 0.23 * len(kinds) + 1.1), layout="constrained")
        panels = figure.subplots(1, len(result["libraries"]), squeeze=False, sharey=True)[0]
        for axes, (slug, name) in zip(panels, result["libraries"].items(), strict=True):
            for row in (row for row in result["rows"] if row["library"] == slug):
                x, y = outputs.index(row["outputs"]), kinds.index((row["kind"], row["db"]))
                ahead = winner(row)
                others = [row[side]["per_area"] for side in ("event", "groups") if row[side]]
                axes.barh(y, 0.96, left=x - 0.48, height=0.92, color=COLOURS[ahead], alpha=0.85)
                axes.text(x, y, f"{max(others):.2f}", ha="center", va="center", fontsize=6.5, color="white")
            axes.set_xticks(range(len(outputs)), [f"{n:,}" for n in outputs])
            axes.set_yticks(range(len(kinds)), [f"{kind}, {db:g} dB" for kind, db in kinds])
            axes.set(xlabel="outputs of a layer of 2,048 inputs", title=name, ylim=(len(kinds) - 0.5, -0.5))
        handles = [panels[0].barh(0, 0, color=colour) for colour in COLOURS.values()]
        labels = [f"{name} ahead" for name in NAMES.values()]
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=7)
        return figure_text(figure)


def _box(axes: Any, where: tuple[float, float, float, float], text: str, colour: str) -> None:
    x, y, width, height = where
    axes.barh(y + height / 2, width, left=x, height=height, color=colour, alpha=0.25, edgecolor=colour)
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=7)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 0.8})


#: Boxes (x, y, width, height, text) and arrows of each organisation, on a field of 10 x 6.
BLOCKS: dict[
    str, tuple[Sequence[tuple[float, float, float, float, str]], Sequence[tuple[float, float, float, float]]]
] = {
    "dense": (
        (
            (0, 3.4, 3.1, 1.8, "store\ncodes of 8 rows,\nsign + T bits"),
            (4, 5, 5.6, 0.9, "weights, one chunk,\nto all rows"),
            (4, 2, 5.6, 2.3, "8 rows x 16 columns\nproducts of 8 or 16 inputs,\none carry-save tree"),
            (4, 0, 5.6, 1, "sums, in the array"),
        ),
        ((3.1, 4.0, 4, 3.5), (6.8, 5, 6.8, 4.3), (6.8, 2, 6.8, 1)),
    ),
    "event": (
        (
            (0, 3.6, 3.1, 1.8, "store\nplanes of spikes"),
            (0, 1, 3.1, 1.7, "picker\na spike a lane,\nno zeros"),
            (4, 4.3, 5.6, 1.5, "16 lanes, a bank each,\nread where the spike says"),
            (4, 2, 5.6, 1.5, "64 columns\none adder a lane"),
            (4, 0, 5.6, 1, "sums of 8 rows, in a memory"),
        ),
        ((1.5, 3.6, 1.5, 2.7), (3.1, 2.2, 4, 4.5), (6.8, 4.3, 6.8, 3.5), (6.8, 2, 6.8, 1)),
    ),
    "groups": (
        (
            (0, 4.7, 3.1, 1.2, "encoders\nwho fires, when"),
            (0, 2.2, 3.1, 1.7, "store\none of four, a sign,\nS steps"),
            (4, 5, 5.6, 0.9, "weights, one chunk of 128,\nto all rows"),
            (4, 2, 5.6, 2.3, "8 rows x 16 columns\n32 adders: one weight of four,\nh + h/2 + sum"),
            (4, 0, 5.6, 1, "sums, in the array"),
        ),
        ((1.5, 4.7, 1.5, 3.9), (3.1, 3, 4, 3), (6.8, 5, 6.8, 4.3), (6.8, 2, 6.8, 1)),
    ),
}


def organisations() -> str:
    """How each works, as blocks."""
    with drawing() as figure_class:
        figure = figure_class(figsize=(9.6, 2.7), layout="constrained")
        for axes, (side, (boxes, arrows)) in zip(figure.subplots(1, 3), BLOCKS.items(), strict=True):
            for *where, text in boxes:
                _box(axes, tuple(where), text, COLOURS[side])
            for x, y, to_x, to_y in arrows:
                _arrow(axes, (x, y), (to_x, to_y))
            axes.set(xlim=(-0.2, 10), ylim=(-0.2, 6.1), title=NAMES[side])
            axes.set_axis_off()
        return figure_text(figure)


def pictures() -> dict[str, str]:
    """Every picture as SVG, by its file's name."""

    def read(name: str) -> Any:
        return json.loads((RESULTS / name).read_text(encoding="utf-8"))

    return {
        "rtl_organisations.svg": organisations(),
        "rtl_area.svg": area(read("rtl_map.json")),
        "rtl_density.svg": density(read("equal_accuracy.json")),
        "rtl_winners.svg": winners(read("rtl_map.json")),
    }


def main(arguments: list[str] | None = None) -> None:
    """Draw them all."""
    parser = argparse.ArgumentParser(prog="rtl_pictures.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    for name, text in pictures().items():
        (options.out / name).write_text(text, encoding="utf-8")
        print(f"wrote {options.out / name}")


if __name__ == "__main__":
    main()
