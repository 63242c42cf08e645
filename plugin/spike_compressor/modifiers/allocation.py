"""Strategies that give every layer and modality its timesteps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import yaml

from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.errors import InputError
from spike_compressor.modality import MODALITIES

#: module name -> modality -> T
SpikePlan = dict[str, dict[str, int]]


def timesteps_by_modality(value: Any, where: str) -> dict[str, int]:
    """`4` or `{vision: 3, text: 4}` as a T for every modality.

    Raises:
        InputError: another shape, an unknown or missing modality, T outside 1 .. 7.
    """
    table = dict.fromkeys(MODALITIES, value) if not isinstance(value, Mapping) else dict(value)
    unknown = sorted(set(table) - set(MODALITIES))
    missing = [name for name in MODALITIES if name not in table]
    if unknown or missing:
        problem = f"unknown modality {unknown[0]!r}" if unknown else f"no T for {missing[0]}"
        raise InputError(f"{where}: {problem}; give one T, or one for each of {', '.join(MODALITIES)}")
    for name, T in table.items():
        if isinstance(T, bool) or not isinstance(T, int) or not 1 <= T <= MAX_TIMESTEPS:
            raise InputError(f"{where}: T of {name} must be an integer from 1 to {MAX_TIMESTEPS}, got {T!r}")
    return {name: table[name] for name in MODALITIES}


class Allocation:
    """Decides T for each layer and modality.

    A strategy is a subclass with a `name`, decorated with `register_allocation`. `settings` are the fields of
    `MSTSModifier`; the constructor refuses those that make no sense for the strategy.
    """

    name: ClassVar[str]

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def plan(self, modules: Sequence[str]) -> SpikePlan:
        """T of every module in `modules`."""
        raise NotImplementedError

    def _needs(self, field: str) -> Any:
        value = getattr(self.settings, field)
        if value is None:
            raise InputError(f"MSTSModifier: allocation {self.name!r} needs the field `{field}`")
        return value

    def _refuses(self, *fields: str) -> None:
        for field in fields:
            if getattr(self.settings, field) is not None:
                raise InputError(f"MSTSModifier: `{field}` has no meaning with allocation {self.name!r}; remove it")


_STRATEGIES: dict[str, type[Allocation]] = {}
AllocationT = TypeVar("AllocationT", bound=type[Allocation])


def register_allocation(strategy: AllocationT) -> AllocationT:
    """Class decorator: make a strategy known to `MSTSModifier.allocation` under its `name`."""
    _STRATEGIES[strategy.name] = strategy
    return strategy


def available_allocations() -> tuple[str, ...]:
    """Names that `MSTSModifier.allocation` takes."""
    return tuple(_STRATEGIES)


def get_allocation(name: str) -> type[Allocation]:
    """The strategy of that name.

    Raises:
        InputError: unknown name.
    """
    if name not in _STRATEGIES:
        raise InputError(f"MSTSModifier: unknown allocation {name!r}; there are: {', '.join(_STRATEGIES)}")
    return _STRATEGIES[name]


@register_allocation
class Fixed(Allocation):
    """The same T by modality in every layer: `timesteps: {vision: 3, text: 4}`."""

    name = "fixed"

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._refuses("plan")
        self.timesteps = timesteps_by_modality(self._needs("timesteps"), "MSTSModifier.timesteps")

    def plan(self, modules: Sequence[str]) -> SpikePlan:
        return {name: dict(self.timesteps) for name in modules}


@register_allocation
class File(Allocation):
    """A plan written by hand or by an earlier run: YAML, module name -> modality -> T."""

    name = "file"

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._refuses("timesteps")
        self.path = self._needs("plan")

    def plan(self, modules: Sequence[str]) -> SpikePlan:
        try:
            with open(self.path, encoding="utf-8") as file:
                content = yaml.safe_load(file)
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"MSTSModifier.plan: cannot read {self.path}: {error}") from error
        if not isinstance(content, dict):
            raise InputError(f"MSTSModifier.plan: {self.path} is no mapping of module names to timesteps")
        missing = [name for name in modules if name not in content]
        surplus = [name for name in content if name not in set(modules)]
        if missing or surplus:
            problem = f"says nothing of {missing[0]}" if missing else f"names {surplus[0]}, which is not targeted"
            raise InputError(f"MSTSModifier.plan: {self.path} {problem}")
        return {name: timesteps_by_modality(content[name], f"{self.path}: {name}") for name in modules}


def apply_overrides(plan: SpikePlan, overrides: Mapping[str, Any]) -> SpikePlan:
    """Replace T where a module's name matches: `{"re:.*down_proj": {text: 6}}`, later entries win.

    Raises:
        InputError: a pattern that matches no module of the plan, or a bad T.
    """
    result = {name: dict(table) for name, table in plan.items()}
    for pattern, value in overrides.items():
        where = f"MSTSModifier.overrides[{pattern!r}]"
        matches = [name for name in result if _matches(name, pattern, where)]
        if not matches:
            raise InputError(f"{where} matches none of the {len(result)} spiking modules")
        for name in matches:
            merged = {**result[name], **value} if isinstance(value, Mapping) else value
            result[name] = timesteps_by_modality(merged, where)
    return result


def _matches(name: str, pattern: str, where: str) -> bool:
    if not pattern.startswith("re:"):
        return name == pattern
    try:
        return re.match(pattern.removeprefix("re:"), name) is not None
    except re.error as error:
        raise InputError(f"{where} is no regular expression: {error}") from error
