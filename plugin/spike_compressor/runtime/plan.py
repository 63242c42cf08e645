"""Spike plans: the timesteps and threshold ratios of each layer's rows of each modality, in memory and as YAML."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml

from spike_compressor.coding import MOST_TIMESTEPS
from spike_compressor.errors import InputError
from spike_compressor.files import write_text
from spike_compressor.modality import MODALITIES, in_order, modality_names
from spike_compressor.registry import nearest
from spike_compressor.yaml_files import read_yaml

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class TemporalScale:
    """What a plan gives a layer's rows of one modality.

    Attributes:
        timesteps: T, 1 to 8.
        ratio: threshold ratio of dynamic thresholds, in (0, 2]; None: whatever `TCLIFModifier.threshold_ratio` says.
    """

    timesteps: int
    ratio: float | None = None


#: An entry of a plan: T alone, or T and a ratio.
PlanEntry: TypeAlias = int | TemporalScale
#: module name -> modality -> entry
SpikePlan: TypeAlias = Mapping[str, Mapping[str, PlanEntry]]


@dataclass(frozen=True)
class Override:
    """What a user fixes of a `TemporalScale`: T, the ratio, or both. None: left as it is."""

    timesteps: int | None = None
    ratio: float | None = None

    def over(self, entry: PlanEntry) -> TemporalScale:
        """The entry with what is fixed in the place of what it had."""
        scale = temporal_scale(entry)
        return TemporalScale(
            scale.timesteps if self.timesteps is None else self.timesteps,
            scale.ratio if self.ratio is None else self.ratio,
        )

    def over_earlier(self, other: Override | None) -> Override:
        """What this one and an earlier one fix together; where both fix the same, this one does."""
        if other is None:
            return self
        return Override(
            other.timesteps if self.timesteps is None else self.timesteps,
            other.ratio if self.ratio is None else self.ratio,
        )


def temporal_scale(entry: PlanEntry) -> TemporalScale:
    """An entry of a plan in its long form."""
    return entry if isinstance(entry, TemporalScale) else TemporalScale(entry)


def checked_timesteps(value: Any, where: str, longest: int = MOST_TIMESTEPS) -> int | dict[str, int]:
    """`4` or `{vision: 3, text: 4}`, as it was given, before a model is there to say which modalities it has.

    Args:
        value: what was given.
        where: of it, for messages.
        longest: the largest T of the coding, where that is known.

    Raises:
        InputError: another shape, an unknown modality (names the nearest known one), T outside 1 .. `longest`.
    """
    return _checked(value, where, partial(require_timesteps, longest=longest), "T")


def timesteps_by_modality(value: Any, where: str, modalities: Sequence[str] | None = None) -> dict[str, int]:
    """`4` or `{vision: 3, text: 4}` as a T for every modality.

    Args:
        value: one T, or T by modality. What it says of modalities that are not asked for has no effect: one recipe
            serves a model that sees and one that does not.
        where: of it, for messages.
        modalities: those that must have a T; None for those that are named, or of one T for all that are known.

    Raises:
        InputError: another shape, an unknown or missing modality, T outside 1 .. 8.
    """
    return _by_modality(checked_timesteps(value, where), where, modalities, "T")


def checked_ratios(value: Any, where: str) -> float | dict[str, float]:
    """`0.5` or `{vision: 0.5, text: 0.7}`, likewise: threshold ratios.

    Raises:
        InputError: another shape, an unknown modality, a ratio outside (0, 2].
    """
    return _checked(value, where, _ratio, "ratio")


def ratios_by_modality(value: Any, where: str, modalities: Sequence[str] | None = None) -> dict[str, float]:
    """`0.5` or `{vision: 0.5, text: 0.7}` as a threshold ratio for every modality, like `timesteps_by_modality`.

    Raises:
        InputError: another shape, an unknown or missing modality, a ratio outside (0, 2].
    """
    return _by_modality(checked_ratios(value, where), where, modalities, "ratio")


def scales_by_modality(value: Any, where: str, modalities: Sequence[str] | None = None) -> dict[str, TemporalScale]:
    """`4`, `{timesteps: 7, ratio: 0.4}`, or either of them by modality, as a temporal scale for every modality.

    Args:
        value: such a value, or a `TemporalScale` in the place of any of them.
        where, modalities: as `timesteps_by_modality` takes them.

    Raises:
        InputError: another shape, an unknown or missing modality, a value out of range, a ratio without T.
    """
    return _by_modality(_checked(value, where, _scale, "T"), where, modalities, "T")


def overrides_by_modality(value: Any, where: str) -> dict[str, Override]:
    """`6`, `{ratio: 0.4}`, `{timesteps: 7, ratio: 0.4}`, or any of them by modality: for those that are named, or all.

    Raises:
        InputError: another shape, an unknown modality, a value out of range.
    """
    return _by_modality(_checked(value, where, _override, "T"), where, None, "T")


def _checked(value: Any, where: str, one: Callable[[Any, str], ValueT], noun: str) -> ValueT | dict[str, ValueT]:
    """A value, or one by modality, as `one(value, what)` takes it."""
    if not isinstance(value, Mapping) or (value and _FIELDS.issuperset(value)):
        return one(value, f"{where}: {noun}")
    if not value:
        raise InputError(f"{where}: give one {noun}, or one for each modality of the model")
    found = {}
    for name, inner in value.items():
        try:
            MODALITIES.get(name)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        found[name] = one(inner, f"{where}: {noun} of {name}")
    return {name: found[name] for name in in_order(found)}


def _by_modality(
    checked: ValueT | dict[str, ValueT], where: str, modalities: Sequence[str] | None, noun: str
) -> dict[str, ValueT]:
    if not isinstance(checked, dict):
        return dict.fromkeys(modality_names() if modalities is None else modalities, checked)
    missing = [name for name in modalities or () if name not in checked]
    if missing:
        raise InputError(
            f"{where}: no {noun} for {missing[0]}; the model has {', '.join(modalities or ())}: give one {noun}, or "
            "one for each"
        )
    return {name: checked[name] for name in (checked if modalities is None else modalities)}


def require_timesteps(value: Any, what: str, longest: int = MOST_TIMESTEPS) -> int:
    """A value that is a T.

    Args:
        value: that is said to be one.
        what: it is, for the message.
        longest: the largest T of the coding.

    Raises:
        InputError: no integer from 1 to `longest`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= longest:
        raise InputError(f"{what} must be an integer from 1 to {longest}, got {value!r}")
    return value


def _ratio(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 2:
        raise InputError(f"{what} must be a number in (0, 2], got {value!r}")
    return float(value)


#: Keys of an entry that says more than T.
_FIELDS = frozenset({"timesteps", "ratio"})


def _override(value: Any, what: str) -> Override:
    if not isinstance(value, Mapping):
        return Override(require_timesteps(value, what))
    unknown = next((key for key in value if key not in _FIELDS), None)
    if unknown is not None or not value:
        raise InputError(
            f"{what} must be an integer from 1 to {MOST_TIMESTEPS} or have the keys timesteps and ratio, "
            f"got {dict(value)!r}"
        )
    return Override(
        require_timesteps(value["timesteps"], f"{what}: timesteps") if "timesteps" in value else None,
        _ratio(value["ratio"], f"{what}: ratio") if "ratio" in value else None,
    )


def _scale(value: Any, what: str) -> TemporalScale:
    if isinstance(value, TemporalScale):
        value = {"timesteps": value.timesteps} | ({} if value.ratio is None else {"ratio": value.ratio})
    found = _override(value, what)
    if found.timesteps is None:
        raise InputError(f"{what} is missing beside its ratio, got {dict(value)!r}")
    return TemporalScale(found.timesteps, found.ratio)


def read_plan(
    path: str | os.PathLike[str], modules: Sequence[str] | None = None, modalities: Sequence[str] | None = None
) -> dict[str, dict[str, PlanEntry]]:
    """Read a plan: YAML, module name -> entry or modality -> entry; an entry is T, or `{timesteps: 7, ratio: 0.41}`.

    Args:
        path: of the file.
        modules: the modules that it must name, no more and no less; None takes what it names.
        modalities: the modalities that each module must have a T for; None takes what it names.

    Raises:
        InputError: no such file, no YAML, no mapping; a module too many or missing; a bad T. Names file and module.
    """
    content = read_yaml(path, f"the plan {path}")
    if not isinstance(content, dict):
        raise InputError(f"{path} is no plan: it must map module names to timesteps")
    if modules is not None:
        known = set(modules)
        missing = [name for name in modules if name not in content]
        surplus = [name for name in content if name not in known]
        if missing or surplus:
            close = nearest(str(surplus[0]), modules) if surplus else None
            hint = f"; did you mean {close!r}?" if close else ""
            problem = f"says nothing of {missing[0]}" if missing else ""
            if surplus:
                problem = ", and ".join(filter(None, [problem, f"names {surplus[0]}, which is not targeted"])) + hint
            raise InputError(f"the plan {path} {problem}")
    names = content if modules is None else modules
    return {
        str(name): {
            modality: scale.timesteps if scale.ratio is None else scale
            for modality, scale in scales_by_modality(content[name], f"{path}: {name}", modalities).items()
        }
        for name in names
    }


def write_plan(plan: SpikePlan, path: str | os.PathLike[str], comment: str = "") -> Path:
    """Write a plan as YAML that `read_plan` and `allocation: file` read; the same plan gives the same bytes.

    Args:
        plan: module name -> modality -> entry.
        path: of the file; it is replaced as a whole.
        comment: lines to stand at its head.

    Raises:
        InputError: the file cannot be written.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    for name, table in plan.items():
        row = ", ".join(f"{modality}: {_flow(table[modality])}" for modality in in_order(table))
        lines.append(f"{yaml.safe_dump(name, width=10**6).splitlines()[0]}: {{{row}}}")
    return write_text(path, "\n".join(lines) + "\n")


def _flow(entry: PlanEntry) -> str:
    scale = temporal_scale(entry)
    # repr of a float is the shortest text that reads back as the same float
    return str(scale.timesteps) if scale.ratio is None else f"{{timesteps: {scale.timesteps}, ratio: {scale.ratio!r}}}"
