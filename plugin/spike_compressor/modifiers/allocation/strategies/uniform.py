"""`uniform`: T as equal as the budget allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.modifiers.allocation.base import Need, register_allocation
from spike_compressor.modifiers.allocation.budget import Costs
from spike_compressor.modifiers.allocation.budgeted import Budgeted
from spike_compressor.modifiers.allocation.measured import Measured, Slot
from spike_compressor.runtime.plan import SpikePlan, TemporalScale, timesteps_by_modality


@register_allocation("uniform")
class Uniform(Budgeted):
    """As equal as the budget allows: every layer and modality has T or T + 1, the larger ones spread over depth."""

    @property
    def needs(self) -> frozenset[Need]:
        # the same whole T everywhere keeps the budget whatever layers weigh
        whole = self.budget.uniform_timesteps
        free = whole is not None and not self.settings.overrides
        lowest, highest = self.bounds()
        inside = whole is not None and max(lowest.values()) <= whole <= min(highest.values())
        return frozenset() if free and inside else super().needs

    def plan(self, modules: Sequence[str], measured: Measured) -> SpikePlan:
        if not self.needs:
            timesteps = timesteps_by_modality(self.budget.uniform_timesteps, "budget", measured.modalities)
            return {name: dict(timesteps) for name in modules}
        return super().plan(modules, measured)

    def choose(self, costs: Costs, measured: Measured) -> dict[Slot, TemporalScale]:
        def level(T: int) -> dict[Slot, TemporalScale]:
            """T, or the nearest that a slot may have."""
            return {
                slot: min(table, key=lambda scale: abs(scale.timesteps - T)) for slot, table in costs.tables.items()
            }

        base = max((T for T in range(1, MAX_TIMESTEPS + 1) if costs.fits(costs.total(level(T)))), default=None)
        if base is None:  # more timesteps can fire fewer spikes, at a ratio of their own
            return costs.cheapest()
        chosen, raised = level(base), level(base + 1)
        extras = {slot: costs.tables[slot][raised[slot]] - costs.tables[slot][chosen[slot]] for slot in costs.tables}
        share = (costs.limit - costs.total(chosen)) / (sum(extras.values()) or math.inf)
        by_module: dict[str, list[Slot]] = {}
        for slot in costs.tables:
            by_module.setdefault(slot[0], []).append(slot)
        given = due = 0.0
        for slots in by_module.values():  # like Bresenham's line: the total given never runs ahead of what is due
            extra = sum(extras[slot] for slot in slots)
            due += extra * share
            if extra and given + extra <= due * (1 + 1e-9):
                given += extra
                chosen.update({slot: raised[slot] for slot in slots})
        return chosen
