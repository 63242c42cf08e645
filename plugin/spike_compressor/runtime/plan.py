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


def read_plan(path: str | os.PathLike[str], modules: Sequence[str] | None = None) -> SpikePlan:
    """Read a plan: YAML, module name -> T or modality -> T.

    Args:
        path: of the file.
        modules: the modules that it must name, no more and no less; None takes what it names.

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
            problem = f"says nothing of {missing[0]}" if missing else f"names {surplus[0]}, which is not targeted"
            raise InputError(f"the plan {path} {problem}")
    names = content if modules is None else modules
    return {str(name): timesteps_by_modality(content[name], f"{path}: {name}") for name in names}


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
        row = ", ".join(f"{modality}: {table[modality]}" for modality in MODALITIES)
        lines.append(f"{yaml.safe_dump(name, width=10**6).splitlines()[0]}: {{{row}}}")
    return write_text(path, "\n".join(lines) + "\n")
