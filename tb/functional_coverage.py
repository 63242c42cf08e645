"""What benches of the core have to have seen: T x coding x firing x stalls x sizes, edges, settings, errors, resets.

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
from spike_compressor.trace import Layer, steps_of
from spike_compressor.trace.golden_capped import BLOCK
from spike_compressor.trace.schema import CAPPED_CODINGS

CODINGS = ("tc_lif", "csd")
#: Of jobs in their order; capped firing of any number of lanes is one.
KINDS = (*CODINGS, "capped")
#: Spikes per input and step of a row, up to and including the number.
FIRING = {"none": 0.0, "rare": 0.1, "usual": 0.35, "dense": 1.0}


@CoverPoint("core.timesteps", vname="timesteps", bins=list(range(1, 8)))
@CoverPoint("core.coding", vname="coding", bins=list(CODINGS))
@CoverPoint("core.firing", vname="firing", bins=list(FIRING))
@CoverPoint("core.stalls", vname="stalls", bins=list(STALLS))
@CoverPoint("core.size", vname="size", bins=list(SIZES))
@CoverCross("core.row", items=["core.timesteps", "core.coding", "core.firing", "core.stalls", "core.size"])
def _row(timesteps: int, coding: str, firing: str, stalls: str, size: str) -> None:
    """A row of a job that was right."""


@CoverPoint("capped.timesteps", vname="timesteps", bins=list(range(1, 8)))
@CoverPoint("capped.firing", vname="firing", bins=list(FIRING))
@CoverPoint("capped.blocks", vname="blocks", bins=["part of one", "one", "several"])
@CoverCross("capped.row", items=["capped.timesteps", "capped.firing", "capped.blocks"])
def _capped(timesteps: int, firing: str, blocks: str) -> None:
    """A row in capped firing, of a job that was right."""


@CoverPoint("edges.rows", vname="rows", bins=list(EDGES))
@CoverPoint("edges.inputs", vname="inputs", bins=list(EDGES))
@CoverPoint("edges.outputs", vname="outputs", bins=list(EDGES))
@CoverCross("edges.all", items=["edges.rows", "edges.inputs", "edges.outputs"])
def _edges(rows: str, inputs: str, outputs: str) -> None:
    """How a job's sizes lie next to the array's."""


@CoverPoint("settings.weight_bits", vname="weight_bits", bins=list(range(2, 9)))
@CoverPoint("settings.frac_bits", vname="frac_bits", bins=[1, 8, 16, 24, 30])
@CoverPoint("settings.groups", vname="groups", bins=["one", "several", "of one input"])
@CoverPoint("settings.spike_stream", vname="spike_stream", bins=["off", "on"])
def _settings(weight_bits: int, frac_bits: int, groups: str, spike_stream: str) -> None:
    """The settings of a job that was right."""


@CoverPoint("settings.sequence", vname="pair", bins=[f"{b} after {a}" for a in KINDS for b in KINDS])
def _sequence(pair: str) -> None:
    """The codings of two jobs, one after the other without a reset."""


@CoverPoint("streams.stream", vname="stream", bins=list(STREAMS))
@CoverPoint("streams.pauses", vname="pauses", bins=list(LEVELS))
@CoverCross("streams.all", items=["streams.stream", "streams.pauses"])
def _stream(stream: str, pauses: str) -> None:
    """How often a stream paused."""


@CoverPoint("events.counter", vname="name", bins=list(COUNTERS))
def _counter(name: str) -> None:
    """A counter that was other than zero."""


@CoverPoint("events.error", vname="name", bins=list(ERRORS))
def _error(name: str) -> None:
    """An error that was provoked and reported."""


@CoverPoint("events.reset", vname="phase", bins=list(PHASES))
def _reset(phase: str) -> None:
    """When a reset came."""


def firing_of(spikes: np.ndarray, steps: int) -> str:
    """How often a row fires.

    Args:
        spikes: int8 [steps of the layer, K].
        steps: of the row.
    """
    return level(np.count_nonzero(spikes) / (steps * spikes.shape[1]), FIRING)


class Coverage:
    """Samples the jobs of one core, in their order."""

    def __init__(self) -> None:
        self._coding: str | None = None

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
        own = [int(t) for t in layer.timesteps]
        rows = {(t, firing_of(layer.spikes[:, m], t + steps_of(0, info.coding))) for m, t in enumerate(own)}
        kind = "capped" if info.coding in CAPPED_CODINGS else info.coding
        blocks = "several" if cut.row_blocks > 1 else "part of one" if cut.group_inputs < BLOCK else "one"
        for timesteps, firing in sorted(rows):
            if kind == "capped":
                _capped(timesteps, firing, blocks)
            else:
                _row(timesteps, kind, firing, sides_of(stalls), size)
        _edges(
            edge_of(info.tokens, shape.rows),
            edge_of(cut.group_inputs, shape.lanes),
            edge_of(info.out_features, shape.columns),
        )
        groups = "one" if cut.groups == 1 else "several" if cut.group_inputs > 1 else "of one input"
        _settings(info.weight_bits, info.frac_bits, groups, "on" if spike_stream else "off")
        if self._coding is not None:
            _sequence(f"{kind} after {self._coding}")
        self._coding = kind
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
        self._coding = None
        _reset(PHASES[bool(counters["rows"]) + bool(counters["words"])])
