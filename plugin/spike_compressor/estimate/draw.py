"""A tornado: bars of what each uncertain input does to a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spike_compressor.plot.style import INK, MUTED, SERIES, drawing, figure_text

#: What inputs are called beside their bars.
_LABELS = {
    "spikes": "spikes per input",
    "energy": "energy of the arrays",
    "clock_derate": "clock over synthesis",
    "sram": "energy of the buffer",
    "dram_pj_per_bit": "DRAM, pJ a bit",
    "dram_efficiency": "DRAM bandwidth reached",
    "static_w": "static power, W",
    "cycles": "cycle model",
}
_FIGURES = {
    "prefill_tokens_per_s": "prefill: tokens/s",
    "prefill_joules_per_token": "prefill: mJ a token",
    "decode_joules_per_token": "decode: mJ a token",
}


def tornado_svg(result: Mapping[str, Any]) -> str:
    """A picture with a row an accelerator and a column a figure; the same text for the same values."""
    chips = result["chips"]
    with drawing() as figure_class:
        figure = figure_class(figsize=(9.6, 0.7 + 2.1 * len(chips)), layout="constrained")
        axes = figure.subplots(len(chips), len(_FIGURES), squeeze=False)
        for row, chip in zip(axes, chips, strict=True):
            for place, (name, label) in zip(row, _FIGURES.items(), strict=True):
                _bars(place, chip, name, f"{chip['name']}\n{label}")
        return figure_text(figure)


def _bars(axes: Any, chip: Mapping[str, Any], name: str, title: str) -> None:
    factor = 1e3 if "joules" in name else 1.0
    middle = chip["figures"][name] * factor
    bars = list(reversed(chip["tornado"][name]))
    for at, bar in enumerate(bars):
        low, high = bar["at_low"] * factor, bar["at_high"] * factor
        axes.barh(at, low - middle, left=middle, color=SERIES[0], height=0.7)
        axes.barh(at, high - middle, left=middle, color=SERIES[1], height=0.7)
    axes.axvline(middle, color=INK, linewidth=0.8)
    labels = [f"{_LABELS[bar['input']]}, {bar['low']:g} .. {bar['high']:g}" for bar in bars]
    axes.set_yticks(range(len(bars)), labels, fontsize=6)
    axes.set_title(title, fontsize=7)
    axes.grid(axis="x", linewidth=0.4, alpha=0.4, color=MUTED)
    axes.tick_params(axis="x", labelsize=6)
