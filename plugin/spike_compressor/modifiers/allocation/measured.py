"""What calibration found out about the layers that are to spike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spike_compressor.modality import modality_names
from spike_compressor.modifiers.evolution import Evolution
from spike_compressor.modifiers.sensitivity import ErrorTable
from spike_compressor.runtime.plan import SpikePlan

#: A layer's rows of one modality: (module name, modality).
Slot = tuple[str, str]


@dataclass
class Measured:
    """Everything that an allocation may look at.

    Attributes:
        modalities: of the model, in the order of their codes.
        macs: multiply-accumulates of one row, K x N, by module name.
        rows: calibration rows by slot, padding left out; slots without rows are not in it. In the order of the model.
        tokens: tokens of the language model by modality.
        pinned: slots whose T the user's overrides fix.
        decoder_layer: index of the decoder layer that a module is part of; modules outside are not in it.
        evolution: how hidden states turn from layer to layer, if it was asked for.
        errors: error and spikes by T, by slot, if they were asked for.
        samples: prompts that errors were measured on.
    """

    modalities: tuple[str, ...] = field(default_factory=modality_names)
    macs: dict[str, int] = field(default_factory=dict)
    rows: dict[Slot, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    pinned: dict[Slot, int] = field(default_factory=dict)
    decoder_layer: dict[str, int] = field(default_factory=dict)
    evolution: Evolution | None = None
    errors: dict[Slot, ErrorTable] = field(default_factory=dict)
    samples: int = 0

    def weight(self, slot: Slot) -> int:
        """Multiply-accumulates that a slot's rows take: what one timestep of it weighs in a budget."""
        return self.rows[slot] * self.macs[slot[0]]

    def mean_timesteps(self, plan: Mapping[str, Mapping[str, int]]) -> float:
        """Mean T of a plan over slots, weighted by tokens x MACs."""
        total = sum(self.weight(slot) for slot in self.rows)
        return sum(self.weight(slot) * plan[slot[0]][slot[1]] for slot in self.rows) / total if total else 0.0

    def sops_per_token(self, plan: Mapping[str, Mapping[str, int]]) -> float:
        """Synaptic operations per token of a plan, from the measured spikes."""
        tokens = sum(self.tokens.values())
        total = sum(self.sops(slot, plan[slot[0]][slot[1]]) for slot in self.rows)
        return total / tokens if tokens else 0.0

    def sops(self, slot: Slot, timesteps: int) -> float:
        """Synaptic operations of a slot's rows at T, from the spikes of those rows that were measured."""
        return self.errors[slot].spikes_per_row(timesteps) * self.weight(slot) / self.errors[slot].width

    def completed(self, chosen: Mapping[Slot, int], modules: list[str] | tuple[str, ...]) -> SpikePlan:
        """A whole plan of the T of slots: a modality that a module never saw takes the most that it has."""
        plan: SpikePlan = {}
        for name in modules:
            table = {m: chosen[name, m] for m in self.modalities if (name, m) in chosen}
            # a module that no row reached: its T has no effect here, and the dearest is the safest
            default = max(table.values(), default=max(chosen.values(), default=7))
            plan[name] = {m: table.get(m, default) for m in self.modalities}
        return plan
