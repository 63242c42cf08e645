"""Older versions of `spike_config.json`, brought up to the present one step by step; and which version to write.

A new version of the schema adds one function here, and its number in `schema.SCHEMA_VERSION`. Where all that is new
in it are fields which most files leave out, it lists them in `ADDED`: files without them are written as before, so that
earlier releases open them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spike_compressor.checkpoint.schema import SCHEMA_VERSION
from spike_compressor.errors import InputError

Content = dict[str, Any]


def _rename_sees(content: Content) -> Content:
    """1 -> 2: `sees` of a layer entry is called `modalities`."""
    plan = content.get("plan")
    if not isinstance(plan, Mapping):  # the schema says what is wrong with it
        return content
    return {**content, "plan": {name: _renamed(entry, "sees", "modalities") for name, entry in plan.items()}}


def _renamed(entry: Any, old: str, new: str) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    return {new if key == old else key: value for key, value in entry.items()}


def _by_modality(content: Content) -> Content:
    """2 -> 3: what was said of vision alone is said of any modality."""
    content = dict(content)
    for holder, old, new in (
        ("", "placeholder_ids", "placeholders"),
        ("adapter", "vision_modules", "modules"),
        ("evolution", "discrepancy", "discrepancy"),
    ):
        part = content.get(holder) if holder else content
        if not isinstance(part, Mapping) or part.get(old) is None:
            continue
        of_vision = {"vision": part[old]} if part[old] else {}
        changed = {new if key == old else key: of_vision if key == old else value for key, value in part.items()}
        content = {**content, holder: changed} if holder else changed
    return content


def _unchanged(content: Content) -> Content:
    """3 -> 4: layers may have a `threshold_statistic`."""
    return content


#: version -> the fields that are all that is new in it, `*` for any name or element on the way.
ADDED: dict[int, tuple[str, ...]] = {4: ("plan.*.threshold_statistic",)}

#: version -> what makes the next version's content of it. Contents are as they were read: their form is not checked
#: yet, and they are left as they are.
MIGRATIONS: dict[int, Callable[[Content], Content]] = {1: _rename_sees, 2: _by_modality, 3: _unchanged}


def require_known_version(content: Any, where: str) -> None:
    """Refuse what no migration leads to the present version from.

    Args:
        content: of the file, of any form.
        where: path of the file, for the message.

    Raises:
        InputError: no schema version, or an unknown one; says what reads it.
    """
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is not int or version < 1:
        raise InputError(f"{where} has schema version {version!r}, which there never was; copy the checkpoint again")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{where} has schema version {version}, this package reads up to {SCHEMA_VERSION}; upgrade "
            "spike-compressor to open it"
        )


def oldest(content: Content) -> Content:
    """The same content as of the oldest version that says all of it.

    Args:
        content: of the present version.

    Returns:
        What is to be written; `schema_version` is all that may differ.
    """
    version = SCHEMA_VERSION
    while not any(_holds(content, path.split(".")) for path in ADDED.get(version, ("",))):
        version -= 1
    return {**content, "schema_version": version}


def _holds(content: Any, path: list[str]) -> bool:
    """Whether there is anything at a path; the empty one is in everything."""
    if not path or path == [""]:
        return True
    if not isinstance(content, Mapping):
        return False
    inside = content.values() if path[0] == "*" else [content[path[0]]] if path[0] in content else []
    return any(_holds(value, path[1:]) for value in inside)


def migrated(content: Content) -> Content:
    """Content of a known version as one of the present version, in a dictionary of its own."""
    content = dict(content)
    while content["schema_version"] < SCHEMA_VERSION:
        version = content["schema_version"]
        content = {**MIGRATIONS[version](content), "schema_version": version + 1}
    return content
