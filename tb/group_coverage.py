"""What benches of the group core have to have seen: S x firing x stalls x sizes, edges, settings, errors, resets.

A job's bins count only after its results were compared, so they tell of checks, not of stimuli.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from bins import EDGES, LEVELS, PHASES, SIZES, STALLS, STREAMS, edge_of, level, sides_of, size_of
from cocotb_coverage.coverage import CoverCross, CoverPoint
from images import Shape, plan
from registers import COUNTERS, ERRORS
from spike_compressor.trace import Layer

#: Groups of a row that fire, of all in all steps, up to and including the share.
FIRING = {"none": 0.0, "some": 0.999, "every": 1.0}
TILES = ("rows alike", "rows of fewer steps join in")
SEQUENCE = ("fewer", "as many", "more")
#: What a group core counts.
COUNTED = tuple(name for name in COUNTERS if name not in ("saturated", "additions", "skipped"))


@CoverPoint("group.steps", vname="steps", bins=list(range(1, 8)))
@CoverPoint("group.firing", vname="firing", bins=list(FIRING))
@CoverPoint("group.stalls", vname="stalls", bins=list(STALLS))
@CoverPoint("group.size", vname="size", bins=list(SIZES))
@CoverCross("group.row", items=["group.steps", "group.firing", "group.stalls", "group.size"])
def _row(steps: int, firing: str, stalls: str, size: str) -> None:
    """A row of a job that was right."""


@CoverPoint("group.edges.rows", vname="rows", bins=list(EDGES))
@CoverPoint("group.edges.inputs", vname="inputs", bins=list(EDGES))
@CoverPoint("group.edges.outputs", vname="outputs", bins=list(EDGES))
@CoverCross("group.edges.all", items=["group.edges.rows", "group.edges.inputs", "group.edges.outputs"])
def _edges(rows: str, inputs: str, outputs: str) -> None:
    """How a job's sizes lie next to the array's."""


@CoverPoint("group.settings.weight_bits", vname="weight_bits", bins=list(range(2, 9)))
@CoverPoint("group.settings.groups", vname="groups", bins=["one", "several", "of four inputs"])
@CoverPoint("group.settings.spike_stream", vname="spike_stream", bins=["off", "on"])
def _settings(weight_bits: int, groups: str, spike_stream: str) -> None:
    """The settings of a job that was right."""


@CoverPoint("group.tile", vname="tile", bins=list(TILES))
def _tile(tile: str) -> None:
    """A row tile: whether all of its rows have equally many steps."""


@CoverPoint("group.sequence", vname="pair", bins=list(SEQUENCE))
def _sequence(pair: str) -> None:
    """A job's most steps after those of the one before, without a reset between them."""


@CoverPoint("group.streams.stream", vname="stream", bins=list(STREAMS))
@CoverPoint("group.streams.pauses", vname="pauses", bins=list(LEVELS))
@CoverCross("group.streams.all", items=["group.streams.stream", "group.streams.pauses"])
def _stream(stream: str, pauses: str) -> None:
    """How often a stream paused."""


@CoverPoint("group.events.counter", vname="name", bins=list(COUNTED))
def _counter(name: str) -> None:
    """A counter that was other than zero."""


@CoverPoint("group.events.error", vname="name", bins=list(ERRORS))
def _error(name: str) -> None:
    """An error that was provoked and reported."""


@CoverPoint("group.events.reset", vname="phase", bins=list(PHASES))
def _reset(phase: str) -> None:
    """When a reset came."""


@CoverPoint("group.events.abort", vname="phase", bins=list(PHASES))
def _abort(phase: str) -> None:
    """When an abort came."""


def firing_of(spikes: np.ndarray, steps: int) -> str:
    """How often the groups of a row fire.

    Args:
        spikes: int8 [steps of the layer, K].
        steps: of the row.
    """
    groups = -(-spikes.shape[1] // 4)
    return level(np.count_nonzero(spikes) / (steps * groups), FIRING)


class Coverage:
    """Samples the jobs of one group core, in their order."""

    def __init__(self) -> None:
        self._steps: int | None = None

    def job(
        self, layer: Layer, shape: Shape, stalls: Any, counters: Mapping[str, int], *, spike_stream: bool = True
    ) -> None:
        """A job whose spikes, sums and counters were right.

        Args:
            stalls: the driver's `Stalls`.
            counters: what the core counted.
        """
        info, cut = layer.info, plan(layer, shape)
        size = size_of(info.tokens, cut.group_inputs, info.out_features, shape)
        own = [int(s) for s in layer.timesteps]
        for steps, firing in sorted({(s, firing_of(layer.spikes[:, m], s)) for m, s in enumerate(own)}):
            _row(steps, firing, sides_of(stalls), size)
        _edges(
            edge_of(info.tokens, shape.rows),
            edge_of(cut.group_inputs, shape.lanes),
            edge_of(info.out_features, shape.columns),
        )
        groups = "one" if cut.groups == 1 else "several" if cut.group_inputs > 4 else "of four inputs"
        _settings(info.weight_bits, groups, "on" if spike_stream else "off")
        for first in range(0, info.tokens, shape.rows):
            _tile(TILES[len(set(own[first : first + shape.rows])) > 1])
        if self._steps is not None:
            _sequence(SEQUENCE[(max(own) > self._steps) - (max(own) < self._steps) + 1])
        self._steps = max(own)
        for stream in STREAMS:
            _stream(stream, level(getattr(stalls, stream), LEVELS))
        for name, value in counters.items():
            if value:
                _counter(name)

    def errors(self, names: set[str]) -> None:
        """Errors that were provoked, and no others reported."""
        for name in sorted(names):
            _error(name)

    def reset(self, counters: Mapping[str, int]) -> None:
        """A reset that comes next, at these counters."""
        self._steps = None
        _reset(_phase(counters))

    def abort(self, counters: Mapping[str, int]) -> None:
        """An abort that comes next, at these counters."""
        _abort(_phase(counters))


def _phase(counters: Mapping[str, int]) -> str:
    return PHASES[bool(counters["rows"]) + bool(counters["words"])]
