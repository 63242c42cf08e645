"""A spike plan over the depth of a model, beneath the MED curves that it came from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spike_compressor.checkpoint import SpikeConfig, modalities_of_layers, read_config
from spike_compressor.errors import InputError
from spike_compressor.files import replacing_file
from spike_compressor.plot.style import COLOURS, INK, MUTED, drawing

_FORMATS = (".png", ".svg", ".pdf")
_T_MAX = 7
#: Inches: a cell of the heat maps, what labels need beside them, and the heights of the curves' panels.
_CELL, _MARGIN, _CURVES, _BARS, _GAP = 0.30, 2.9, 1.9, 0.85, 0.52
_MIN_WIDTH, _MAX_WIDTH = 7.5, 26.0


@dataclass
class _Stack:
    """Layers of one kind of block: T by row label and depth, for the rows of one modality."""

    prefix: str
    modality: str
    cells: dict[str, dict[int, list[int]]] = field(default_factory=dict)

    @property
    def depths(self) -> list[int]:
        return sorted({depth for row in self.cells.values() for depth in row})


def plot_plan(
    checkpoint: SpikeConfig | str | os.PathLike[str], file: str | os.PathLike[str], title: str | None = None
) -> Path:
    """Draw T of every layer and modality over depth, and above it the curves of evolution and MED if there are any.

    Args:
        checkpoint: a spike-ready checkpoint's directory, or its config.
        file: the picture; .png, .svg or .pdf. The same config gives the same bytes.
        title: shown above; the directory's name, or of a config the architecture's, if left out.

    Returns:
        The path of the picture.

    Raises:
        InputError: an unknown format, a directory without a config, a picture that cannot be written, or matplotlib is
            not installed.
    """
    path = Path(file)
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path}: pictures are written as {', '.join(_FORMATS)}")
    if isinstance(checkpoint, SpikeConfig):
        config = checkpoint
    else:
        config = read_config(checkpoint)
        title = title or Path(checkpoint).resolve().name
    with drawing():
        figure = _figure(config, config.architecture if title is None else title)
        dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        with replacing_file(path) as fresh:
            figure.savefig(fresh, dpi=200, metadata=dates.get(path.suffix.lower()))
    return path


def _figure(config: SpikeConfig, title: str) -> Any:
    from matplotlib.figure import Figure

    stacks, others = _stacks(config)
    decoder = _decoder_prefix(config, stacks)
    stacks.sort(key=lambda stack: stack.prefix != decoder)  # beneath its curves; stable otherwise
    span = _depth_span(config, stacks)
    columns = max([span, *(max(stack.depths) + 1 for stack in stacks)], default=1)
    heights: list[float] = []
    if config.evolution is not None:
        heights += [_CURVES, *(_BARS for _ in config.evolution.discrepancy or {})]
    heights += [_CELL * len(stack.cells) for stack in stacks]
    if others:
        heights.append(_CELL * len(others))
    top, bottom = (0.75 if config.evolution is not None else 0.95), 0.45
    width = min(max(_MIN_WIDTH, _CELL * columns + _MARGIN), _MAX_WIDTH)
    height = top + bottom + sum(heights) + _GAP * (len(heights) - 1)
    figure = Figure(figsize=(width, height))
    left, right = 1.75 / width, 1 - (_MARGIN - 1.75) / width
    grid = figure.add_gridspec(
        len(heights),
        1,
        height_ratios=heights,
        left=left,
        right=right,
        top=1 - top / height,
        bottom=bottom / height,
        hspace=_GAP * len(heights) / sum(heights),
    )
    axes = [figure.add_subplot(grid[index]) for index in range(len(heights))]
    rest = iter(axes)
    if config.evolution is not None:
        _draw_curves(next(rest), config, span)
        for modality in config.evolution.discrepancy or {}:
            _draw_discrepancy(next(rest), config, modality, span)
    for stack in stacks:
        _draw_stack(next(rest), stack, columns)
    if others:
        _draw_others(next(rest), others, config.modalities, columns)
    _draw_legend(figure, axes, right, width)
    figure.text(0.12 / width, 1 - 0.16 / height, title, fontsize=11, fontweight="bold", va="top")
    figure.text(0.12 / width, 1 - 0.38 / height, _subtitle(config), va="top")
    if config.evolution is None:
        note = (
            "There are no MED curves: the recipe measured none, for it ran without data or with timesteps of its own."
        )
        figure.text(0.12 / width, 1 - 0.55 / height, note, va="top", style="italic", color=MUTED)
    return figure


def _subtitle(config: SpikeConfig) -> str:
    budget = config.budget
    parts = [f"{config.architecture}, {config.coding}"]
    if budget.allocation is not None:
        parts.append(f"allocation {budget.allocation}")
    unweighted = f"{budget.mean_timesteps:.2f} unweighted"
    if budget.mean_timesteps_weighted is None:
        parts.append(f"mean T {unweighted}")
    else:
        parts.append(f"mean T {budget.mean_timesteps_weighted:.2f} weighted by tokens × MACs ({unweighted})")
    return ";  ".join(parts)


# What goes where


def _stacks(config: SpikeConfig) -> tuple[list[_Stack], dict[str, dict[str, int]]]:
    """The plan as stacks of numbered blocks, one per modality, and the layers outside of any: T by modality."""
    seen = modalities_of_layers(config)
    stacks: dict[tuple[str, str], _Stack] = {}
    others: dict[str, dict[str, int]] = {}
    for name, entry in config.plan.items():
        timesteps = {modality: entry.timesteps[modality] for modality in seen[name]}
        match = re.match(r"^(.*?)\.(\d+)\.(.+)$", name)
        if match is None:
            others[name] = timesteps
            continue
        prefix, depth, kind = match[1], int(match[2]), re.sub(r"\.\d+\.", ".*.", match[3])
        for modality, T in timesteps.items():
            stack = stacks.setdefault((prefix, modality), _Stack(prefix, modality))
            stack.cells.setdefault(kind, {}).setdefault(depth, []).append(T)
    return list(stacks.values()), others


def _decoder_prefix(config: SpikeConfig, stacks: Iterable[_Stack]) -> str:
    if config.evolution is not None and config.evolution.layers:
        return config.evolution.layers[0].rpartition(".")[0]
    return next((stack.prefix for stack in stacks if stack.modality == "text"), "")


def _depth_span(config: SpikeConfig, stacks: Iterable[_Stack]) -> int:
    """Columns that the curves take."""
    return 0 if config.evolution is None else 1 + max(_depths(config), default=0)


def _depths(config: SpikeConfig) -> list[int]:
    """Column of each decoder layer: the number in its name."""
    assert config.evolution is not None
    numbers = [name.rpartition(".")[2] for name in config.evolution.layers]
    if all(number.isdigit() for number in numbers):
        return [int(number) for number in numbers]
    return list(range(len(numbers)))


def _row_labels(kinds: Iterable[str]) -> list[str]:
    """The last part of each name, or all of it where the last part is not unique."""
    names = list(kinds)
    last = [name.rsplit(".", 1)[-1] for name in names]
    return [short if last.count(short) == 1 else name for name, short in zip(names, last, strict=True)]


# Panels


def _draw_curves(axes: Any, config: SpikeConfig, columns: int) -> None:
    assert config.evolution is not None
    depths = _depths(config)
    for name, curve in config.evolution.modalities.items():
        colour = COLOURS.get(name, MUTED)
        label = f"{name}: {curve.tokens:,} tokens of {curve.samples:,} samples"
        axes.plot(depths, curve.mean, color=colour, marker="o", markersize=2.5, linewidth=1.2, label=label)
        low = [mean - half for mean, half in zip(curve.mean, curve.half_width, strict=True)]
        high = [mean + half for mean, half in zip(curve.mean, curve.half_width, strict=True)]
        axes.fill_between(depths, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set_title("How far a decoder layer turns its tokens, with 95 % confidence bands")
    axes.set_ylabel("$D_m(l)$")
    axes.set_ylim(bottom=0)
    axes.set_ylim(top=1.2 * axes.get_ylim()[1])  # room for the legend above the curves
    axes.legend(frameon=False, loc="upper right", ncols=2, borderaxespad=0.1)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    _depth_axis(axes, columns, columns)


def _draw_discrepancy(axes: Any, config: SpikeConfig, modality: str, columns: int) -> None:
    assert config.evolution is not None
    assert config.evolution.discrepancy is not None
    values = config.evolution.discrepancy[modality]
    colours = [COLOURS["text"] if value >= 0 else COLOURS.get(modality, MUTED) for value in values]
    axes.bar(_depths(config), values, width=0.7, color=colours)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_title(f"MED: above zero text turns further, below zero {modality}")
    axes.set_ylabel("$MED(l)$")
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    _depth_axis(axes, columns, columns)


def _draw_stack(axes: Any, stack: _Stack, columns: int) -> None:
    for row, cells in enumerate(stack.cells.values()):
        for depth, values in cells.items():
            _draw_cell(axes, depth, row, values)
    axes.set_title(f"T of {stack.modality} rows, {stack.prefix}", color=COLOURS.get(stack.modality, INK))
    _heat_axis(axes, _row_labels(stack.cells))
    _depth_axis(axes, columns, max(stack.depths) + 1)


def _draw_others(axes: Any, others: Mapping[str, Mapping[str, int]], modalities: list[str], columns: int) -> None:
    for row, (name, timesteps) in enumerate(others.items()):
        for column, modality in enumerate(modalities):
            if modality in timesteps:
                _draw_cell(axes, column, row, [timesteps[modality]])
        axes.text(len(modalities) - 0.35, row, name, va="center")  # whole names are too long for the margin
    axes.set_title("T of the other layers")
    _heat_axis(axes, [""] * len(others))
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_xticks(range(len(modalities)), modalities, rotation=0, fontsize=7)


def _draw_cell(axes: Any, column: int, row: int, values: list[int]) -> None:
    """One layer's T, or the range of several (experts): colour and number."""
    from matplotlib.patches import Rectangle

    low, high = min(values), max(values)
    mean = sum(values) / len(values)
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=_shade(mean), edgecolor="white", linewidth=0.8))
    text = str(low) if low == high else f"{low}–{high}"
    ink = "white" if mean > 4 else "black"
    axes.text(column, row, text, ha="center", va="center", fontsize=7 if low == high else 5, color=ink)


def _shade(timesteps: float) -> Any:
    import matplotlib

    return matplotlib.colormaps["YlGnBu"](0.08 + 0.9 * min(1.0, (timesteps - 1) / (_T_MAX - 1)))


def _heat_axis(axes: Any, labels: list[str]) -> None:
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _depth_axis(axes: Any, columns: int, numbered: int) -> None:
    """Columns of all panels stand under each other; every one has its number."""
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_xticks(range(numbered), [str(depth) for depth in range(numbered)], fontsize=6)
    axes.set_xlabel("layer", fontsize=6, loc="right", labelpad=1)


def _draw_legend(figure: Any, axes: list[Any], right: float, width: float) -> None:
    """The colours of T, once, beside the heat maps."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=_shade(T), label=str(T)) for T in range(1, _T_MAX + 1)]
    figure.legend(
        handles=handles,
        title="T",
        loc="lower left",
        bbox_to_anchor=(right + 0.15 / width, axes[-1].get_position().y0),
        frameon=False,
    )
