"""`sensitivity`: T where it removes most error for its cost."""

from __future__ import annotations

from typing import Any

from spike_compressor.errors import InputError
from spike_compressor.modifiers.allocation.base import Need, register_allocation
from spike_compressor.modifiers.allocation.budget import Costs, spend
from spike_compressor.modifiers.allocation.budgeted import Budgeted
from spike_compressor.modifiers.allocation.measured import Measured, Slot


@register_allocation("sensitivity")
class Sensitivity(Budgeted):
    """Timesteps where they remove most error for their cost, measured on the calibration data."""

    fields = (*Budgeted.fields, "weighting", "samples")

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        if settings.samples is not None and settings.weighting == "output":
            raise InputError(
                "MSTSModifier: `samples` has no meaning with weighting `output`, whose pass reads what other modifiers "
                "read; remove it, or use weighting `gradient`"
            )

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
