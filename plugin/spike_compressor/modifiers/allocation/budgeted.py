"""What strategies that spend a budget have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.errors import InputError
from spike_compressor.modifiers.allocation.base import Allocation, Need
from spike_compressor.modifiers.allocation.budget import Budget, Costs
from spike_compressor.modifiers.allocation.measured import Measured, Slot
from spike_compressor.runtime.plan import SpikePlan, timesteps_by_modality


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
