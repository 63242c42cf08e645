"""What an allocation strategy is, and the registry of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar, TypeVar

from spike_compressor.errors import InputError
from spike_compressor.modifiers.allocation.measured import Measured, Slot
from spike_compressor.modifiers.matching import did_you_mean
from spike_compressor.registry import Registry
from spike_compressor.runtime.plan import Override, SpikePlan, TemporalScale, overrides_by_modality


class Need(Enum):
    """What a strategy wants to know of the calibration data.

    `ROWS`, how many token rows each layer has of each modality, and `EVOLUTION`, how hidden states turn from layer to
    layer, are the same before and after weights are quantized. `ERRORS`, what each T costs and spoils, belongs to the
    quantized model.
    """

    ROWS = "rows"
    EVOLUTION = "evolution"
    ERRORS = "errors"


class Allocation:
    """Decides T for each layer and modality, and the threshold ratio if it likes.

    A strategy is a subclass, decorated with `register_allocation("name")`. `settings` are the fields of
    `MSTSModifier`; the constructor refuses those that make no sense for the strategy.
    """

    #: Set by `register_allocation`.
    name: ClassVar[str]
    #: Fields of `MSTSModifier` that this strategy reads, beside those that serve all.
    fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        for field in (
            "timesteps",
            "plan",
            "budget",
            "min_timesteps",
            "max_timesteps",
            "weighting",
            "samples",
            "med_gain",
        ):
            if field not in self.fields and getattr(settings, field) is not None:
                raise InputError(f"MSTSModifier: `{field}` has no meaning with allocation {self.name!r}; remove it")

    @property
    def needs(self) -> frozenset[Need]:
        """What must be measured before `plan` can be called; nothing for a strategy that looks at no data."""
        return frozenset()

    def check(self, modules: Mapping[str, Sequence[str]], pinned: Mapping[Slot, Override]) -> None:
        """Refuse, before anything is measured, what no measurement can make possible.

        Args:
            modules: names of the layers that are to spike, and the modalities that their rows can have.
            pinned: what the user's overrides fix of slots.

        Raises:
            InputError: no plan can keep the settings.
        """

    def most_timesteps(self, modalities: Sequence[str]) -> Mapping[str, int] | None:
        """The largest T that a plan may have, by modality; None where only the plan will tell."""
        return None

    def plan(self, modules: Sequence[str], measured: Measured) -> SpikePlan:
        """T of every module in `modules`, for every one of `measured.modalities`, or a `TemporalScale`: T and a ratio.

        Args:
            modules: names of the layers that are to spike, in the order of the model.
            measured: what calibration found, as far as `needs` asked for it.

        Raises:
            InputError: a budget that cannot be kept, or a plan that does not fit the model.
        """
        raise NotImplementedError

    def _required(self, field: str) -> Any:
        value = getattr(self.settings, field)
        if value is None:
            raise InputError(f"MSTSModifier: allocation {self.name!r} needs the field `{field}`")
        return value


ALLOCATIONS: Registry[type[Allocation]] = Registry("allocation", "spike_compressor.allocations", named=True)
AllocationT = TypeVar("AllocationT", bound=type[Allocation])


def register_allocation(name: str) -> Callable[[AllocationT], AllocationT]:
    """Class decorator: make a strategy known to `MSTSModifier.allocation` under a name.

    Raises:
        InputError: the name belongs to another one.
    """
    return ALLOCATIONS.register(name)


def available_allocations() -> tuple[str, ...]:
    """Names that `MSTSModifier.allocation` takes, sorted."""
    return ALLOCATIONS.names()


def get_allocation(name: str) -> type[Allocation]:
    """The strategy of that name.

    Raises:
        InputError: unknown name.
    """
    return ALLOCATIONS.get(name)


def overridden(
    modules: Sequence[str], overrides: Mapping[str, Any], modalities: Sequence[str]
) -> dict[str, dict[str, Override]]:
    """What overrides say of which modules: name -> modality -> what is fixed, only where they say something.

    `{"re:.*down_proj": {text: 6}}`, `{"re:.*o_proj": {ratio: 0.4}}`; later entries win. What they say of modalities
    beside `modalities` has no effect.

    Raises:
        InputError: a pattern that matches none of `modules`, or a bad T or ratio.
    """
    result: dict[str, dict[str, Override]] = {}
    for pattern, value in overrides.items():
        where = f"MSTSModifier.overrides[{pattern!r}]"
        matches = [name for name in modules if _matches(name, pattern, where)]
        if not matches:
            raise InputError(
                f"{where} matches none of the {len(modules)} spiking modules{did_you_mean(pattern, modules)}"
            )
        given = overrides_by_modality(value, where)  # what is not given keeps what it had
        for name in matches:
            table = result.setdefault(name, {})
            table.update({m: given[m].over_earlier(table.get(m)) for m in modalities if m in given})
    return result


def apply_overrides(
    plan: SpikePlan, overrides: Mapping[str, Any], modalities: Sequence[str]
) -> dict[str, dict[str, TemporalScale]]:
    """The plan with T and ratios replaced where `overridden` says so."""
    changes = overridden(list(plan), overrides, modalities)
    return {
        name: {m: changes.get(name, {}).get(m, Override()).over(entry) for m, entry in table.items()}
        for name, table in plan.items()
    }


def _matches(name: str, pattern: str, where: str) -> bool:
    if not pattern.startswith("re:"):
        return name == pattern
    try:
        return re.match(pattern.removeprefix("re:"), name) is not None
    except re.error as error:
        raise InputError(f"{where} is no regular expression: {error}") from error
