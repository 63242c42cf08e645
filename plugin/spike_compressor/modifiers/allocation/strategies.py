"""The allocation strategies, a small class each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from loguru import logger

from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.errors import InputError
from spike_compressor.modifiers.allocation.base import Allocation, Need, register_allocation
from spike_compressor.modifiers.allocation.budget import Budget, Costs, fill, spend
from spike_compressor.modifiers.allocation.measured import Measured, Slot
from spike_compressor.runtime.plan import SpikePlan, read_plan, timesteps_by_modality


@register_allocation("fixed")
class Fixed(Allocation):
    """The same T by modality in every layer: `timesteps: {vision: 3, text: 4}`."""

    fields = ("timesteps",)

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.timesteps = timesteps_by_modality(self._required("timesteps"), "MSTSModifier.timesteps")

    def plan(self, modules: Sequence[str], measured: Measured) -> SpikePlan:
        return {name: dict(self.timesteps) for name in modules}


@register_allocation("file")
class File(Allocation):
    """A plan written by hand or by an earlier run: YAML, module name -> modality -> T."""

    fields = ("plan",)

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.path = self._required("plan")

    def plan(self, modules: Sequence[str], measured: Measured) -> SpikePlan:
        return read_plan(self.path, modules)


class Budgeted(Allocation):
    """A strategy that spends a budget within bounds."""

    fields: ClassVar[tuple[str, ...]] = ("budget", "min_timesteps", "max_timesteps")

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.budget: Budget = self._required("budget")
        low, high = settings.min_timesteps, settings.max_timesteps
        self.lowest = timesteps_by_modality(1 if low is None else low, "MSTSModifier.min_timesteps")
        self.highest = timesteps_by_modality(MAX_TIMESTEPS if high is None else high, "MSTSModifier.max_timesteps")
        for modality, T in self.lowest.items():
            if self.highest[modality] < T:
                raise InputError(
                    f"MSTSModifier: min_timesteps of {modality} is {T}, above max_timesteps {self.highest[modality]}"
                )

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.ROWS} | ({Need.ERRORS} if self.budget.sops_per_token is not None else set()))

    def plan(self, modules: Sequence[str], measured: Measured) -> SpikePlan:
        chosen = self.choose(self.budget.costs(measured, self.lowest, self.highest), measured)
        return measured.completed(chosen, list(modules))

    def choose(self, costs: Costs, measured: Measured) -> dict[Slot, int]:
        """T of every slot, within the limit."""
        raise NotImplementedError


@register_allocation("uniform")
class Uniform(Budgeted):
    """As equal as the budget allows: every layer and modality has T or T + 1, the larger ones spread over depth."""

    @property
    def needs(self) -> frozenset[Need]:
        # the same whole T everywhere keeps the budget whatever layers weigh
        whole = self.budget.uniform_timesteps
        free = whole is not None and not self.settings.overrides
        inside = whole is not None and all(self.lowest[m] <= whole <= self.highest[m] for m in self.lowest)
        return frozenset() if free and inside else super().needs

    def plan(self, modules: Sequence[str], measured: Measured) -> SpikePlan:
        if not self.needs:
            return {name: timesteps_by_modality(self.budget.uniform_timesteps, "budget") for name in modules}
        return super().plan(modules, measured)

    def choose(self, costs: Costs, measured: Measured) -> dict[Slot, int]:
        def level(T: int) -> dict[Slot, int]:
            return {slot: min(max(T, min(table)), max(table)) for slot, table in costs.tables.items()}

        base = max((T for T in range(1, MAX_TIMESTEPS + 1) if costs.fits(costs.total(level(T)))), default=1)
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


@register_allocation("med")
class Med(Budgeted):
    """More timesteps for the modality that turns faster at a layer, in proportion to MED(l).

    The modalities of a layer get `x_text(l) = c + g r(l) / 2` and `x_vision(l) = c - g r(l) / 2`, where
    `r(l) = MED(l) / max |MED|` lies in -1 .. 1 and g is `med_gain`; modules outside the decoder get `c`. T is x rounded
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

    def choose(self, costs: Costs, measured: Measured) -> dict[Slot, int]:
        assert measured.evolution is not None
        offsets = self._offsets(costs, measured)
        depth = {name: index for index, name in enumerate(dict.fromkeys(name for name, _ in costs.tables))}
        steps = []
        for slot, table in costs.tables.items():
            for T in table:
                # the c at which x = c + offset passes T - 1/2; equals are taken alternately over depth, not front first
                steps.append((T - 0.5 - offsets[slot], _scattered(depth[slot[0]]), slot, T))
        return fill(costs, [(slot, T) for _, _, slot, T in sorted(steps)])

    def _offsets(self, costs: Costs, measured: Measured) -> dict[Slot, float]:
        assert measured.evolution is not None
        discrepancy = measured.evolution.discrepancy
        if discrepancy is None:
            logger.info("one modality only: MED is not defined, and allocation `med` spends its budget evenly")
            return dict.fromkeys(costs.tables, 0.0)
        largest = max(abs(value) for value in discrepancy) or 1.0
        offsets = {}
        for name, modality in costs.tables:
            layer = measured.decoder_layer.get(name)
            relative = 0.0 if layer is None else discrepancy[layer] / largest
            offsets[name, modality] = self.gain / 2 * (relative if modality == "text" else -relative)
        return offsets


def _scattered(index: int) -> float:
    """The van der Corput sequence in base 2: any first part of it is spread evenly over 0 .. 1."""
    value, unit = 0.0, 0.5
    while index:
        value, index, unit = value + unit * (index & 1), index >> 1, unit / 2
    return value


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
