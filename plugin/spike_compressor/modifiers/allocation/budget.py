"""Spike budgets: what a plan may cost, and spending it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from pydantic import Field, model_validator

from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.errors import InputError
from spike_compressor.fields import CheckedFields
from spike_compressor.modifiers.allocation.measured import Measured, Slot
from spike_compressor.runtime.plan import TemporalScale

#: Sums of many float costs differ from the limit by rounding; a plan that meets it exactly is within it.
_ROUNDING = 1e-9


class Budget(CheckedFields):
    """`budget:` of `MSTSModifier`: exactly one of its fields.

    Attributes:
        mean_timesteps: mean T over layers and modalities, weighted by calibration tokens x MACs, from 1 to 7.
        sops_per_token: synaptic operations of all spiking layers for one token of the language model.
        spikes_per_input: the same over the multiply-accumulates that they stand for: spikes of an input, weighted by
            the outputs that each reaches. What fits one model fits another.
    """

    path_in_messages: ClassVar[str] = "MSTSModifier.budget"

    mean_timesteps: float | None = Field(default=None, ge=1, le=MAX_TIMESTEPS)
    sops_per_token: float | None = Field(default=None, gt=0)
    spikes_per_input: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise InputError(f"MSTSModifier.budget needs exactly one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def counts_operations(self) -> bool:
        """Whether spikes are paid for, and not timesteps."""
        return self.mean_timesteps is None

    @property
    def uniform_timesteps(self) -> int | None:
        """T if the budget is a whole number of timesteps, which needs no weights to be kept."""
        T = self.mean_timesteps
        return int(T) if T is not None and int(T) == T else None

    def costs(self, measured: Measured, options: Callable[[Slot], Iterable[TemporalScale]]) -> Costs:
        """What every slot costs at every temporal scale that it may have, and the limit.

        Args:
            measured: rows of every slot, and their spikes if the budget counts synaptic operations.
            options: of a slot, those of fewer timesteps first.

        Raises:
            InputError: the cheapest options alone exceed the budget.
        """
        cost = measured.sops if self.counts_operations else _timesteps(measured)
        tables = {slot: {option: float(cost(slot, option)) for option in options(slot)} for slot in measured.rows}
        if self.sops_per_token is not None:
            limit = self.sops_per_token * sum(measured.tokens.values())
        else:
            mean = self.spikes_per_input if self.mean_timesteps is None else self.mean_timesteps
            assert mean is not None
            limit = mean * sum(measured.weight(slot) for slot in measured.rows)
        costs = Costs(tables, limit)
        least = costs.total(costs.cheapest())
        if least > limit * (1 + _ROUNDING):
            (name, asked), *_ = self.model_dump(exclude_none=True).items()
            ratios = ", at the ratios that fire least" if self.counts_operations else ""
            raise InputError(
                f"MSTSModifier.budget: {name} {asked:g} is less than min_timesteps and overrides take by themselves"
                f"{ratios}, {least / limit * asked:.6g}; raise the budget or lower the bounds"
            )
        return costs


def _timesteps(measured: Measured) -> Callable[[Slot, TemporalScale], float]:
    return lambda slot, scale: scale.timesteps * measured.weight(slot)


@dataclass(frozen=True)
class Costs:
    """Costs of slots by temporal scale, in the unit of a budget.

    Attributes:
        tables: slot -> temporal scale -> cost, for those that the slot may have, in rising order of T. Slots are in the
            order of the model.
        limit: what all slots together may cost.
    """

    tables: Mapping[Slot, Mapping[TemporalScale, float]]
    limit: float

    def cheapest(self) -> dict[Slot, TemporalScale]:
        """The temporal scale of least cost of every slot; the first of equals."""
        return {slot: min(table, key=table.__getitem__) for slot, table in self.tables.items()}

    def total(self, chosen: Mapping[Slot, TemporalScale]) -> float:
        """Cost of a choice."""
        return sum(self.tables[slot][scale] for slot, scale in chosen.items())

    def fits(self, cost: float) -> bool:
        """Whether a total is within the limit, up to rounding."""
        return cost <= self.limit * (1 + _ROUNDING)


def fill(costs: Costs, order: list[tuple[Slot, TemporalScale]]) -> dict[Slot, TemporalScale]:
    """Start from the cheapest and raise slots step by step, in the given order, as long as the limit allows.

    Args:
        costs: of the slots.
        order: (slot, what to raise it to), best first; for one slot in rising order of T. A step that does not fit is
            passed over, and with it the further ones of its slot.
    """
    chosen = costs.cheapest()
    spent = costs.total(chosen)
    stopped: set[Slot] = set()
    for slot, scale in order:
        if slot in stopped or scale.timesteps <= chosen[slot].timesteps:
            continue
        extra = costs.tables[slot][scale] - costs.tables[slot][chosen[slot]]
        if costs.fits(spent + extra):
            chosen[slot], spent = scale, spent + extra
        else:
            stopped.add(slot)
    return chosen


def spend(costs: Costs, errors: Mapping[Slot, Mapping[TemporalScale, float]]) -> dict[Slot, TemporalScale]:
    """Spend a budget where it buys most: error removed per unit of cost.

    Each slot walks along the lower convex hull of its (cost, error) points, and the steps of all slots are taken
    steepest first: as long as the budget lasts this is the least total error that any plan reaches at its cost
    (Shoham and Gersho, 1988, for bits). What is left over goes to single steps that still fit. Ties fall to the earlier
    layer, so the plan is the same every time.

    Args:
        costs: of the slots.
        errors: slot -> temporal scale -> error, same unit for all slots.
    """
    frontiers = {slot: _frontier(table, errors[slot]) for slot, table in costs.tables.items()}
    reached = dict.fromkeys(frontiers, 0)
    spent = sum(frontier[0].cost for frontier in frontiers.values())
    place = {slot: index for index, slot in enumerate(costs.tables)}
    for hull in (True, False):
        queue: list[tuple[float, int, Slot, int]] = []

        def offer(slot: Slot, hull: bool = hull, queue: list[tuple[float, int, Slot, int]] = queue) -> None:
            step = _best_step(frontiers[slot], reached[slot], hull)
            if step is not None:
                heapq.heappush(queue, (-step[0], place[slot], slot, step[1]))

        for slot in frontiers:
            offer(slot)
        while queue:
            _, _, slot, point = heapq.heappop(queue)
            extra = frontiers[slot][point].cost - frontiers[slot][reached[slot]].cost
            if costs.fits(spent + extra):
                reached[slot], spent = point, spent + extra
                offer(slot)
    return {slot: frontier[reached[slot]].scale for slot, frontier in frontiers.items()}


class _Point(NamedTuple):
    cost: float
    error: float
    scale: TemporalScale


def _frontier(cost: Mapping[TemporalScale, float], error: Mapping[TemporalScale, float]) -> list[_Point]:
    """The options that no other one beats, in rising cost and falling error; of equals the first."""
    points = sorted((_Point(cost[scale], error[scale], scale) for scale in cost), key=lambda point: point[:2])
    frontier = points[:1]
    for point in points[1:]:
        if point.error < frontier[-1].error:
            frontier.append(point)
    return frontier


def _best_step(frontier: list[_Point], current: int, hull: bool) -> tuple[float, int] | None:
    """(error removed per cost, point) of the steepest step up from `current`, or of the next one; None at the end."""
    best: tuple[float, int] | None = None
    here = frontier[current]
    for index in range(current + 1, len(frontier)):
        slope = (here.error - frontier[index].error) / max(frontier[index].cost - here.cost, 1e-30)
        if best is None or slope > best[0]:
            best = (slope, index)
        if not hull:
            break
    return best
