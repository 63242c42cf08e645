"""`med`: T by the modality evolution discrepancy."""

from __future__ import annotations

from typing import Any

from loguru import logger

from spike_compressor.modifiers.allocation.base import Need, register_allocation
from spike_compressor.modifiers.allocation.budget import Costs, fill
from spike_compressor.modifiers.allocation.budgeted import Budgeted
from spike_compressor.modifiers.allocation.measured import Measured, Slot
from spike_compressor.runtime.plan import TemporalScale


@register_allocation("med")
class Med(Budgeted):
    """More timesteps for the modality that turns faster at a layer, in proportion to MED(l).

    The modalities of a layer get `x_text(l) = c + g r(l) / 2` and `x_vision(l) = c - g r(l) / 2`, where
    `r(l) = MED(l) / max |MED|` lies in -1 .. 1 and g is `med_gain`; modules outside the decoder get `c`. With more than
    two modalities, `x_m(l) = c + g (D_m(l) - mean D(l)) / max |D_a - D_b|`, which is the same for two. T is x rounded
    so that the budget is kept: c rises from below, and each slot steps up as its x passes a half, until the budget is
    spent. So at equal c, T_text(l) - T_vision(l) never falls when MED(l) rises. The proxy is SpikeMLLM's
    (arXiv 2604.18610), the rule is our reconstruction.
    """

    fields = (*Budgeted.fields, "med_gain")

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.gain = 1.0 if settings.med_gain is None else float(settings.med_gain)

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {Need.EVOLUTION}

    def choose(self, costs: Costs, measured: Measured) -> dict[Slot, TemporalScale]:
        offsets = self._offsets(costs, measured)
        depth = {name: index for index, name in enumerate(dict.fromkeys(name for name, _ in costs.tables))}
        steps = []
        for slot, table in costs.tables.items():
            for scale in table:
                # the c at which x = c + offset passes T - 1/2; equals are taken alternately over depth, not front first
                due = scale.timesteps - 0.5 - offsets[slot]
                steps.append((due, _scattered(depth[slot[0]]), slot, scale.timesteps, scale))
        return fill(costs, [(slot, scale) for *_, slot, _, scale in sorted(steps, key=lambda step: step[:4])])

    def _offsets(self, costs: Costs, measured: Measured) -> dict[Slot, float]:
        # a model of one modality has curves where its decoder layers are known, and needs none
        deviations = {} if measured.evolution is None else measured.evolution.deviations()
        if not deviations:
            logger.info("one modality only: MED is not defined, and allocation `med` spends its budget evenly")
            return dict.fromkeys(costs.tables, 0.0)
        offsets = {}
        for name, modality in costs.tables:
            layer = measured.decoder_layer.get(name)
            curve = deviations.get(modality)
            offsets[name, modality] = 0.0 if layer is None or curve is None else self.gain * curve[layer]
        return offsets


def _scattered(index: int) -> float:
    """The van der Corput sequence in base 2: any first part of it is spread evenly over 0 .. 1."""
    value, unit = 0.0, 0.5
    while index:
        value, index, unit = value + unit * (index & 1), index >> 1, unit / 2
    return value
