"""`sensitivity`: T where it removes most error for its cost."""

from __future__ import annotations

from spike_compressor.modifiers.allocation.base import Need, register_allocation
from spike_compressor.modifiers.allocation.budget import Costs, spend
from spike_compressor.modifiers.allocation.budgeted import Budgeted
from spike_compressor.modifiers.allocation.measured import Measured, Slot


@register_allocation("sensitivity")
class Sensitivity(Budgeted):
    """Timesteps where they remove most error for their cost, measured on the calibration data."""

    fields = (*Budgeted.fields, "weighting")

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {Need.ERRORS}

    def choose(self, costs: Costs, measured: Measured) -> dict[Slot, int]:
        # an error is that of one row: every row counts
        errors = {
            slot: {T: measured.rows[slot] * measured.errors[slot].error(T) for T in table}
            for slot, table in costs.tables.items()
        }
        return spend(costs, errors)
