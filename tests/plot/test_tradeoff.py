"""Curves of what recipes reach against their operations."""

from __future__ import annotations

import re

import pytest
from spike_compressor.plot import style
from spike_compressor.plot.tradeoff import Point, plot_tradeoff

CURVES = {"rtn": [Point(3e6, 96.0, 95.0, 97.0), Point(2e6, 80.0, 79.0, 81.0)], "quip": [Point(4e6, 98.0, 97.0, 98.5)]}
FRONT = [CURVES["rtn"][1], CURVES["rtn"][0], CURVES["quip"][0]]


def words(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.parametrize("unit", ["%", "perplexity"])
def test_everything_is_named(unit: str) -> None:
    svg = plot_tradeoff(CURVES, FRONT, 98.2, "accuracy", unit)
    assert {"rtn", "quip", "Pareto front", "float model", "synaptic operations per token"} <= set(words(svg))
    assert f"accuracy [{unit}]" in words(svg)
    assert {"2M", "3M"} <= set(words(svg))
    assert svg == plot_tradeoff(CURVES, FRONT, 98.2, "accuracy", unit)


def test_the_legend_lies_beside_the_axes() -> None:
    svg = plot_tradeoff(CURVES, FRONT, 98.2, "accuracy", "%")
    ends = [float(x) for x in re.findall(r"L (\d+\.?\d*) ", re.search(r'id="patch_2".*?</g>', svg, re.DOTALL)[0])]
    legend = svg[svg.index('id="legend_1"') : svg.rindex("<defs>")]  # the clip paths come last
    left = [float(x) for x in re.findall(r"translate\((\d+\.?\d*) ", legend)]
    left += [float(x) for x in re.findall(r'x="(\d+\.?\d*)"', legend)]
    assert left
    assert min(left) > max(ends)


def test_a_picture_within_a_page_takes_the_pages_colours() -> None:
    svg = plot_tradeoff(CURVES, FRONT, 98.2, "accuracy", "%")
    assert style.INK in svg
    assert 'id="patch_1"' in svg
    inline = style.inline(svg, "accuracy & <operations>")
    assert inline.startswith('<svg role="img" aria-label="accuracy &amp; &lt;operations&gt;" ')
    assert style.INK not in inline
    assert "currentColor" in inline
    assert "<g id=" not in inline
    assert "metadata" not in inline
    assert words(inline) == words(svg)
    for use in re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)', inline):
        assert f'id="{use[0] or use[1]}"' in inline
