"""The names of modalities: text, vision and audio, and any that are registered beside them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import torch
from torch import Tensor

from spike_compressor.errors import InputError
from spike_compressor.registry import Registry

#: Name -> code. A code stands in masks and trace bundles; recipes, plans and files carry names.
MODALITIES: Registry[int] = Registry("modality")
TEXT, VISION, AUDIO = 0, 1, 2
_MOST = 256  # a code takes one byte
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def register_modality(name: str) -> int:
    """Make a modality known beside text, vision and audio: `register_modality("depth")`.

    Args:
        name: lower-case letters, digits and underscores.

    Returns:
        Its code in masks. Codes are given in the order of registration; a name that is known already keeps its own.

    Raises:
        InputError: a name of another form.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"a modality's name is made of lower-case letters, digits and underscores, got {name!r}")
    if name in MODALITIES:
        return MODALITIES.get(name)
    code = len(MODALITIES.registered())
    if code == _MOST:
        raise InputError(f"modality {name!r} would be one more than the {_MOST} that masks can tell apart")
    MODALITIES.register(name)(code)
    return code


for _name in ("text", "vision", "audio"):
    register_modality(_name)


def modality_names() -> tuple[str, ...]:
    """Names of all modalities, in the order of their codes."""
    return tuple(MODALITIES.registered())


def modality_code(name: str) -> int:
    """The code of a modality.

    Raises:
        InputError: no such modality; names the nearest one.
    """
    return MODALITIES.get(name)


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """Some of the known names, in the order of their codes."""
    return tuple(name for name in modality_names() if name in names)


def lies_in(name: str, modules: Iterable[str]) -> bool:
    """Whether a module is one of `modules`, dotted names or `re:` patterns, or lies within one of them."""
    return any(
        re.match(module.removeprefix("re:"), name) is not None
        if module.startswith("re:")
        else name == module or name.startswith(module + ".")
        for module in modules
    )


def rows_by_modality(modality: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
    """Where the rows of each modality are.

    Args:
        modality: uint8, any shape: the code of each row.
        valid: bool, of the same shape, False at rows that are to be left out; None if there are none.

    Returns:
        bool of the same shape by name, only of modalities that have rows, in the order of their codes.
    """
    counted = modality if valid is None else modality[valid]
    masks = {}
    for code in torch.unique(counted).tolist():
        mask = modality == code
        masks[modality_names()[code]] = mask if valid is None else mask & valid
    return masks


def require_codes(mask: Tensor, what: str, names: tuple[str, ...] | None = None) -> None:
    """Refuse a mask that holds anything but codes of modalities.

    Args:
        mask: integers of any shape.
        what: stands at the head of the message.
        names: the modalities that it may hold; None for all that are known.

    Raises:
        InputError: another value.
    """
    allowed = {modality_code(name): name for name in (modality_names() if names is None else names)}
    strange = [code for code in torch.unique(mask).tolist() if code not in allowed]
    if strange:
        codes = ", ".join(f"{code} {name}" for code, name in allowed.items())
        raise InputError(f"{what} has the value {strange[0]}, which is no modality here; there are {codes}")
