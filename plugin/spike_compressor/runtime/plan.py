"""Spike plans: how many timesteps each layer spends on the rows of each modality, in memory and as YAML."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.errors import InputError
from spike_compressor.files import write_text
from spike_compressor.modality import MODALITIES, in_order, modality_names
from spike_compressor.registry import nearest

#: module name -> modality -> T
SpikePlan = dict[str, dict[str, int]]


def checked_timesteps(value: Any, where: str) -> int | dict[str, int]:
    """`4` or `{vision: 3, text: 4}`, as it was given, before a model is there to say which modalities it has.

    Raises:
        InputError: another shape, an unknown modality (names the nearest known one), T outside 1 .. 7.
    """
    if isinstance(value, Mapping):
        if not value:
            raise InputError(f"{where}: give one T, or one for each modality of the model")
        for name, T in value.items():
            try:
                MODALITIES.get(name)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
            _require_timesteps(T, f"{where}: T of {name}")
        return {name: value[name] for name in in_order(value)}
    _require_timesteps(value, f"{where}: T")
    return int(value)


def timesteps_by_modality(value: Any, where: str, modalities: Sequence[str] | None = None) -> dict[str, int]:
    """`4` or `{vision: 3, text: 4}` as a T for every modality.

    Args:
        value: one T, or T by modality. What it says of modalities that are not asked for has no effect: one recipe
            serves a model that sees and one that does not.
        where: of it, for messages.
        modalities: those that must have a T; None for those that are named, or of one T for all that are known.

    Raises:
        InputError: another shape, an unknown or missing modality, T outside 1 .. 7.
    """
    checked = checked_timesteps(value, where)
    if not isinstance(checked, dict):
        return dict.fromkeys(modality_names() if modalities is None else modalities, checked)
    missing = [name for name in modalities or () if name not in checked]
    if missing:
        raise InputError(
            f"{where}: no T for {missing[0]}; the model has {', '.join(modalities or ())}: give one T, or one for each"
        )
    return {name: checked[name] for name in (checked if modalities is None else modalities)}


def _require_timesteps(value: Any, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_TIMESTEPS:
        raise InputError(f"{what} must be an integer from 1 to {MAX_TIMESTEPS}, got {value!r}")


def read_plan(
    path: str | os.PathLike[str], modules: Sequence[str] | None = None, modalities: Sequence[str] | None = None
) -> SpikePlan:
    """Read a plan: YAML, module name -> T or modality -> T.

    Args:
        path: of the file.
        modules: the modules that it must name, no more and no less; None takes what it names.
        modalities: the modalities that each module must have a T for; None takes what it names.

    Raises:
        InputError: no such file, no YAML, no mapping; a module too many or missing; a bad T. Names file and module.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read the plan {path}: {error}") from error
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
    return {str(name): timesteps_by_modality(content[name], f"{path}: {name}", modalities) for name in names}


def write_plan(plan: Mapping[str, Mapping[str, int]], path: str | os.PathLike[str], comment: str = "") -> Path:
    """Write a plan as YAML that `read_plan` and `allocation: file` read; the same plan gives the same bytes.

    Args:
        plan: module name -> modality -> T.
        path: of the file; it is replaced as a whole.
        comment: lines to stand at its head.

    Raises:
        InputError: the file cannot be written.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    for name, table in plan.items():
        row = ", ".join(f"{modality}: {table[modality]}" for modality in in_order(table))
        lines.append(f"{yaml.safe_dump(name, width=10**6).splitlines()[0]}: {{{row}}}")
    return write_text(path, "\n".join(lines) + "\n")
