"""Spike budgets: what a plan may cost, and spending it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field, model_validator

from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.errors import InputError
from spike_compressor.fields import CheckedFields
from spike_compressor.modifiers.allocation.measured import Measured, Slot

#: Sums of many float costs differ from the limit by rounding; a plan that meets it exactly is within it.
_ROUNDING = 1e-9


class Budget(CheckedFields):
    """`budget:` of `MSTSModifier`: exactly one of its fields.

    Attributes:
        mean_timesteps: mean T over layers and modalities, weighted by calibration tokens x MACs, from 1 to 7.
        sops_per_token: synaptic operations of all spiking layers for one token of the language model.
    """

    path_in_messages: ClassVar[str] = "MSTSModifier.budget"

    mean_timesteps: float | None = Field(default=None, ge=1, le=MAX_TIMESTEPS)
    sops_per_token: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        if (self.mean_timesteps is None) == (self.sops_per_token is None):
            raise InputError("MSTSModifier.budget needs exactly one of mean_timesteps and sops_per_token")
        return self

    @property
    def uniform_timesteps(self) -> int | None:
        """T if the budget is a whole number of timesteps, which needs no weights to be kept."""
        T = self.mean_timesteps
        return int(T) if T is not None and int(T) == T else None

    def costs(self, measured: Measured, lowest: Mapping[str, int], highest: Mapping[str, int]) -> Costs:
        """What every slot costs at every T that it may have, and the limit.

        Args:
            measured: rows of every slot, and their spikes if the budget counts synaptic operations.
            lowest: least T by modality.
            highest: greatest T by modality.

        Raises:
            InputError: the bounds alone exceed the budget.
        """
        tables = {}
        for slot in measured.rows:
            pinned = measured.pinned.get(slot)
            low, high = (lowest[slot[1]], highest[slot[1]]) if pinned is None else (pinned, pinned)
            cost = measured.sops if self.sops_per_token is not None else _timesteps(measured)
            tables[slot] = {T: float(cost(slot, T)) for T in range(low, high + 1)}
        if self.sops_per_token is not None:
            limit = self.sops_per_token * sum(measured.tokens.values())
        else:
            assert self.mean_timesteps is not None
            limit = self.mean_timesteps * sum(measured.weight(slot) for slot in measured.rows)
        costs = Costs(tables, limit)
        least = costs.total(costs.lowest())
        if least > limit * (1 + _ROUNDING):
            (name, asked), *_ = self.model_dump(exclude_none=True).items()
            raise InputError(
                f"MSTSModifier.budget: {name} {asked:g} is less than min_timesteps and overrides take by themselves, "
                f"{least / limit * asked:.6g}; raise the budget or lower the bounds"
            )
        return costs


def _timesteps(measured: Measured) -> Callable[[Slot, int], float]:
    return lambda slot, T: T * measured.weight(slot)


@dataclass(frozen=True)
class Costs:
    """Costs of slots by T, in the unit of a budget.

    Attributes:
        tables: slot -> T -> cost, for the T that the slot may have. In the order of the model.
        limit: what all slots together may cost.
    """

    tables: Mapping[Slot, Mapping[int, float]]
    limit: float

    def lowest(self) -> dict[Slot, int]:
        """The least T of every slot."""
        return {slot: min(table) for slot, table in self.tables.items()}

    def total(self, chosen: Mapping[Slot, int]) -> float:
        """Cost of a choice of T."""
        return sum(self.tables[slot][T] for slot, T in chosen.items())

    def fits(self, cost: float) -> bool:
        """Whether a total is within the limit, up to rounding."""
        return cost <= self.limit * (1 + _ROUNDING)


def fill(costs: Costs, order: list[tuple[Slot, int]]) -> dict[Slot, int]:
    """Start from the least T of every slot and raise slots by one, in the given order, as long as the limit allows.

    Args:
        costs: of the slots.
        order: (slot, T to raise it to), best first; for one slot in rising order of T. A step that does not fit is
            passed over, and with it the further ones of its slot.
    """
    chosen = costs.lowest()
    spent = costs.total(chosen)
    stopped: set[Slot] = set()
    for slot, T in order:
        if slot in stopped or T not in costs.tables[slot]:
            continue
        extra = costs.tables[slot][T] - costs.tables[slot][chosen[slot]]
        if costs.fits(spent + extra):
            chosen[slot], spent = T, spent + extra
        else:
            stopped.add(slot)
    return chosen


def spend(costs: Costs, errors: Mapping[Slot, Mapping[int, float]]) -> dict[Slot, int]:
    """Spend a budget where it buys most: error removed per unit of cost.

    Each slot walks along the lower convex hull of its (cost, error) points, and the steps of all slots are taken
    steepest first: as long as the budget lasts this is the least total error that any plan reaches at its cost
    (Shoham and Gersho, 1988, for bits). What is left over goes to single steps that still fit. Ties fall to the earlier
    layer, so the plan is the same every time.

    Args:
        costs: of the slots.
        errors: slot -> T -> error, same unit for all slots.
    """
    chosen = costs.lowest()
    spent = costs.total(chosen)
    place = {slot: index for index, slot in enumerate(costs.tables)}
    for hull in (True, False):
        queue: list[tuple[float, int, Slot, int]] = []

        def offer(slot: Slot, hull: bool = hull, queue: list[tuple[float, int, Slot, int]] = queue) -> None:
            step = _best_step(costs.tables[slot], errors[slot], chosen[slot], hull)
            if step is not None:
                heapq.heappush(queue, (-step[0], place[slot], slot, step[1]))

        for slot in costs.tables:
            offer(slot)
        while queue:
            _, _, slot, T = heapq.heappop(queue)
            extra = costs.tables[slot][T] - costs.tables[slot][chosen[slot]]
            if costs.fits(spent + extra):
                chosen[slot], spent = T, spent + extra
                offer(slot)
    return chosen


def _best_step(
    cost: Mapping[int, float], error: Mapping[int, float], current: int, hull: bool
) -> tuple[float, int] | None:
    """(error removed per cost, T) of the steepest step up from `current`, or of the next single one; None if none."""
    best: tuple[float, int] | None = None
    for T in sorted(cost):
        gain = error[current] - error[T]
        if current >= T or gain <= 0:
            continue
        extra = max(cost[T] - cost[current], 1e-30)  # a step that costs nothing is steeper than any other
        if best is None or gain / extra > best[0]:
            best = (gain / extra, T)
        if not hull:
            break
    return best
