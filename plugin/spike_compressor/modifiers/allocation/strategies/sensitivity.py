"""`sensitivity`: T and threshold ratios where they remove most error for their cost."""

from __future__ import annotations

from typing import Any

from spike_compressor.errors import InputError
from spike_compressor.modifiers.allocation.base import Need, register_allocation
from spike_compressor.modifiers.allocation.budget import Costs, spend
from spike_compressor.modifiers.allocation.budgeted import Budgeted
from spike_compressor.modifiers.allocation.measured import Measured, Slot
from spike_compressor.runtime.plan import TemporalScale


@register_allocation("sensitivity")
class Sensitivity(Budgeted):
    """Where most error is removed for the cost, measured on the calibration data.

    Under a budget of timesteps each T has its ratio of least error. Under one of synaptic operations each pair of T and
    ratio is an option of its own, with its error and its spikes, but for those that clip so much that their error
    promises too much.
    """

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

    def options(self, slot: Slot, timesteps: int, measured: Measured) -> list[TemporalScale]:
        # timesteps are paid whatever the ratio, so the one of least error is the best; operations are not
        if not self.budget.counts_operations or not measured.ratios(slot):
            return super().options(slot, timesteps, measured)
        return [TemporalScale(timesteps, ratio) for ratio in measured.ratios(slot)]

    def worth_taking(self, slot: Slot, options: list[TemporalScale], measured: Measured) -> list[TemporalScale]:
        if not self.budget.counts_operations or not measured.ratios(slot):
            return options
        table = measured.errors[slot]
        sound = [option for option in options if not table.overloaded(option.timesteps, option.ratio)]
        return sound or options  # where bounds leave T so few that all of them clip, the least error is all there is

    def choose(self, costs: Costs, measured: Measured) -> dict[Slot, TemporalScale]:
        errors = {slot: {scale: measured.error(slot, scale) for scale in table} for slot, table in costs.tables.items()}
        return spend(costs, errors)
