"""What strategies that spend a budget have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.errors import InputError
from spike_compressor.modifiers.allocation.base import Allocation, Need
from spike_compressor.modifiers.allocation.budget import Budget, Costs
from spike_compressor.modifiers.allocation.measured import Measured, Slot
from spike_compressor.runtime.plan import Override, SpikePlan, TemporalScale, timesteps_by_modality


class Budgeted(Allocation):
    """A strategy that spends a budget within bounds."""

    fields: ClassVar[tuple[str, ...]] = ("budget", "min_timesteps", "max_timesteps")

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.budget: Budget = self._required("budget")
        self.bounds()

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.ROWS} | ({Need.ERRORS} if self.budget.counts_operations else set()))

    def bounds(self, modalities: Sequence[str] | None = None) -> tuple[dict[str, int], dict[str, int]]:
        """Least and greatest T by modality: of `modalities`, or of those that the settings name.

        Raises:
            InputError: a modality without a bound where others have one, or bounds that leave no T.
        """
        low, high = self.settings.min_timesteps, self.settings.max_timesteps
        lowest = timesteps_by_modality(1 if low is None else low, "MSTSModifier.min_timesteps", modalities)
        highest = timesteps_by_modality(
            MAX_TIMESTEPS if high is None else high, "MSTSModifier.max_timesteps", modalities
        )
        for modality, T in lowest.items():
            if highest.get(modality, MAX_TIMESTEPS) < T:
                raise InputError(
                    f"MSTSModifier: min_timesteps of {modality} is {T}, above max_timesteps {highest[modality]}"
                )
        return lowest, highest

    def most_timesteps(self, modalities: Sequence[str]) -> Mapping[str, int]:
        return self.bounds(modalities)[1]

    def check(self, modules: Mapping[str, Sequence[str]], pinned: Mapping[Slot, Override]) -> None:
        lowest, _ = self.bounds(tuple(dict.fromkeys(name for names in modules.values() for name in names)))
        slots = [(module, modality) for module, modalities in modules.items() for modality in modalities]
        least = min(pinned.get(slot, Override()).timesteps or lowest[slot[1]] for slot in slots)
        mean = self.budget.mean_timesteps
        if mean is not None and least > mean:
            raise InputError(
                f"MSTSModifier.budget: mean_timesteps {mean:g} is less than min_timesteps and overrides take by "
                f"themselves, {least} or more in every layer; raise the budget or lower the bounds"
            )

    def plan(self, modules: Sequence[str], measured: Measured) -> SpikePlan:
        lowest, highest = self.bounds(measured.modalities)

        def options(slot: Slot) -> list[TemporalScale]:
            pinned = measured.pinned.get(slot, Override()).timesteps
            within = range(lowest[slot[1]], highest[slot[1]] + 1) if pinned is None else (pinned,)
            every = [option for T in within for option in self.options(slot, T, measured)]
            return self.worth_taking(slot, every, measured)

        return measured.completed(self.choose(self.budget.costs(measured, options), measured), list(modules))

    def options(self, slot: Slot, timesteps: int, measured: Measured) -> list[TemporalScale]:
        """The temporal scales of T that a slot may have: one, of the ratio of least error where that is known."""
        return [TemporalScale(timesteps, measured.best_ratio(slot, timesteps))]

    def worth_taking(self, slot: Slot, options: list[TemporalScale], measured: Measured) -> list[TemporalScale]:
        """Of all options of a slot, in rising order of T, those that `choose` is to see, one at least."""
        return options

    def choose(self, costs: Costs, measured: Measured) -> dict[Slot, TemporalScale]:
        """One of its options for every slot, within the limit."""
        raise NotImplementedError
