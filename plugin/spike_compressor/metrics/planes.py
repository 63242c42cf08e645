"""What hardware sees of spikes: which planes fire at all, and how evenly spikes lie in the lanes that add them.

A plane is all spikes of a row in one timestep. The spike core cuts a row, group of weight scales by group, into
blocks of `slots` chunks of `lanes` inputs; input k of a block belongs to lane `k mod lanes`. What a chunk or a row
without a spike costs, and how long the fullest lane keeps the others waiting, is what event-driven hardware pays beside
additions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.coding import spikes_from_codes
from spike_compressor.layer_kinds import layer_kind
from spike_compressor.modality import rows_by_modality
from spike_compressor.runtime import LayerSpikes, SpikingLinear, observing, spiking_layers


@dataclass
class PlaneCounts:
    """Counts of one layer and modality, or of several; lists have an entry a timestep, the last step first.

    Attributes:
        inputs: neuron evaluations, rows x K.
        rows: planes, by timestep: rows that have this step.
        chunks: chunks of these planes.
        firing_rows: how many planes hold a spike.
        firing_chunks: how many chunks do.
        spikes: spikes fired.
        fullest: spikes of the fullest lane, summed over blocks and planes.
    """

    inputs: int = 0
    rows: list[int] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    firing_rows: list[int] = field(default_factory=list)
    firing_chunks: list[int] = field(default_factory=list)
    spikes: int = 0
    fullest: int = 0

    def add(self, other: PlaneCounts) -> None:
        """Add counts; steps of equal place from the last are summed."""
        self.inputs += other.inputs
        self.spikes += other.spikes
        self.fullest += other.fullest
        for name in ("rows", "chunks", "firing_rows", "firing_chunks"):
            mine, theirs = getattr(self, name), getattr(other, name)
            mine += [0] * (len(theirs) - len(mine))
            for index, count in enumerate(theirs):
                mine[index] += count

    def to_dict(self, lanes: int) -> dict[str, Any]:
        """Shares and ratios, as plain values; the first step first.

        Args:
            lanes: that the counts are of.
        """
        return {
            "spikes_per_input": self.spikes / self.inputs if self.inputs else 0.0,
            "rows_firing": _shares(self.firing_rows, self.rows),
            "chunks_firing": _shares(self.firing_chunks, self.chunks),
            "imbalance": lanes * self.fullest / self.spikes if self.spikes else 1.0,
        }


def _shares(parts: list[int], wholes: list[int]) -> list[float]:
    return [part / whole if whole else 0.0 for part, whole in zip(reversed(parts), reversed(wholes), strict=True)]


@dataclass
class PlaneRecord:
    """Planes of a run, by (module name, modality).

    Attributes:
        lanes: inputs of a chunk.
        slots: chunks of a block.
        layers: counts of each layer and modality.
        kinds: kind of each layer, by module name.
    """

    lanes: int
    slots: int
    layers: dict[tuple[str, str], PlaneCounts] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)

    def by_kind(self) -> dict[str, PlaneCounts]:
        """Counts summed over the layers of a kind, all modalities; kinds in the order of the model."""
        found: dict[str, PlaneCounts] = {}
        for (name, _), counts in self.layers.items():
            found.setdefault(self.kinds[name], PlaneCounts()).add(counts)
        return {kind: found[kind] for kind in dict.fromkeys(self.kinds.values()) if kind in found}

    def to_dict(self) -> dict[str, Any]:
        """Shares and ratios of each kind of layer, and of all of them."""
        kinds = self.by_kind()
        whole = PlaneCounts()
        for counts in kinds.values():
            whole.add(counts)
        return {
            "lanes": self.lanes,
            "slots": self.slots,
            "all": whole.to_dict(self.lanes),
            "by_kind": {kind: counts.to_dict(self.lanes) for kind, counts in kinds.items()},
        }


@contextlib.contextmanager
def record_planes(model: nn.Module, lanes: int = 16, slots: int = 16) -> Iterator[PlaneRecord]:
    """Count planes, chunks and lanes of all spiking layers within the block; padding is left out.

    Args:
        model: that spikes.
        lanes: inputs that are added at once, as `Lanes` of the spike core.
        slots: chunks of a block, as `Slots`; groups of weight scales end blocks.

    Yields:
        The record, which fills while the block runs.

    Raises:
        InputError: the model does not spike.
    """
    kinds = {name: layer_kind(name, layer.modalities) for name, layer in spiking_layers(model).items()}
    record = PlaneRecord(lanes, slots, kinds=kinds)

    def observe(layer: SpikingLinear, event: LayerSpikes) -> None:
        for modality, rows in rows_by_modality(event.modality, event.valid).items():
            zero_point = None if event.zero_point is None else event.zero_point[rows]
            T, coding = layer.spec.timesteps[modality], layer.spec.coding
            train = spikes_from_codes(event.codes[rows].to(torch.int16), T, coding, zero_point=zero_point)
            counts = record.layers.setdefault((event.name, modality), PlaneCounts())
            planes = [plane != 0 for plane in train.planes()]
            if layer.silenced is not None:  # an unsigned coding's level is none where nothing may fire
                planes = [plane & ~layer.silenced for plane in planes]
            counts.add(_counted(planes, layer.integer.groups, lanes, slots))

    with observing(model, layers=observe):
        yield record


def _counted(planes: list[Tensor], groups: int, lanes: int, slots: int) -> PlaneCounts:
    """Counts of planes bool [M, K], the first step first."""
    found = PlaneCounts()
    for fired in reversed(planes):
        M, K = fired.shape
        width = K // groups
        block = min(slots, -(-width // lanes))
        short = -width % (block * lanes)
        padded = nn.functional.pad(fired.view(M, groups, width), (0, short)).view(M, -1, block, lanes)
        chunks = padded.any(dim=3)
        found.inputs = M * K
        found.rows.append(M)
        found.chunks.append(M * groups * -(-width // lanes))
        found.firing_rows.append(int(chunks.flatten(1).any(dim=1).sum()))
        found.firing_chunks.append(int(chunks.sum()))
        found.spikes += int(fired.sum())
        found.fullest += int(padded.sum(dim=2).amax(dim=2).sum())
    return found
