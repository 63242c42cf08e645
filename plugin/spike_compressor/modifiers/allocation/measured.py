"""What calibration found out about the layers that are to spike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.modality import modality_names
from spike_compressor.modifiers.evolution import Evolution
from spike_compressor.modifiers.sensitivity import ErrorTable
from spike_compressor.runtime.plan import Override, PlanEntry, SpikePlan, TemporalScale, temporal_scale

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
        pinned: what the user's overrides fix of slots.
        decoder_layer: index of the decoder layer that a module is part of; modules outside are not in it.
        evolution: how hidden states turn from layer to layer, if it was asked for.
        errors: error and spikes by T, by slot, if they were asked for.
        samples: prompts that errors were measured on.
    """

    modalities: tuple[str, ...] = field(default_factory=modality_names)
    macs: dict[str, int] = field(default_factory=dict)
    rows: dict[Slot, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    pinned: dict[Slot, Override] = field(default_factory=dict)
    decoder_layer: dict[str, int] = field(default_factory=dict)
    evolution: Evolution | None = None
    errors: dict[Slot, ErrorTable] = field(default_factory=dict)
    samples: int = 0

    def weight(self, slot: Slot) -> int:
        """Multiply-accumulates that a slot's rows take: what one timestep of it weighs in a budget."""
        return self.rows[slot] * self.macs[slot[0]]

    def mean_timesteps(self, plan: SpikePlan) -> float:
        """Mean T of a plan over slots, weighted by tokens x MACs."""
        total = sum(self.weight(slot) for slot in self.rows)
        spent = sum(self.weight((name, m)) * temporal_scale(plan[name][m]).timesteps for name, m in self.rows)
        return spent / total if total else 0.0

    def sops_per_token(self, plan: SpikePlan) -> float:
        """Synaptic operations per token of a plan, from the measured spikes."""
        tokens = sum(self.tokens.values())
        total = sum(self.sops((name, m), temporal_scale(plan[name][m])) for name, m in self.rows)
        return total / tokens if tokens else 0.0

    def sops(self, slot: Slot, scale: TemporalScale) -> float:
        """Synaptic operations of a slot's rows at a temporal scale, from the spikes of those that were measured."""
        table = self.errors[slot]
        return table.spikes_per_row(scale.timesteps, scale.ratio) * self.weight(slot) / table.width

    def error(self, slot: Slot, scale: TemporalScale) -> float:
        """Error of all of a slot's rows at a temporal scale: an error that was measured is that of one row."""
        return self.rows[slot] * self.errors[slot].error(scale.timesteps, scale.ratio)

    def ratios(self, slot: Slot) -> tuple[float, ...]:
        """The threshold ratios that a plan may choose from; none where there is no choice or nothing was measured."""
        table = self.errors.get(slot)
        return table.ratios if table is not None and len(table.ratios) > 1 and table.rows else ()

    def best_ratio(self, slot: Slot, timesteps: int) -> float | None:
        """The ratio of least error at T, where there is a choice."""
        return self.errors[slot].ratio(timesteps) if self.ratios(slot) else None

    def completed(self, chosen: Mapping[Slot, TemporalScale], modules: list[str] | tuple[str, ...]) -> SpikePlan:
        """A whole plan of what slots get: a modality that a module never saw takes the most T that it has."""
        plan: dict[str, dict[str, PlanEntry]] = {}
        most = max((scale.timesteps for scale in chosen.values()), default=MAX_TIMESTEPS)
        for name in modules:
            table = {m: chosen[name, m] for m in self.modalities if (name, m) in chosen}
            # a module that no row reached: its T has no effect here, and the dearest is the safest
            T = max((scale.timesteps for scale in table.values()), default=most)
            plan[name] = {m: table.get(m, TemporalScale(T)) for m in self.modalities}
        return plan
