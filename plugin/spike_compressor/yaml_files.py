"""YAML that somebody else wrote: plain values alone."""

from __future__ import annotations

import os
from typing import Any

import yaml

from spike_compressor.errors import InputError
from spike_compressor.reading import parsed, read_text

#: Values that a YAML document may stand for with all its aliases written out.
MAX_VALUES = 1_000_000


class _Tagged(yaml.SafeLoader):
    """Takes a value with a tag of the document's own for None."""


_Tagged.add_multi_constructor("!", lambda *_: None)


def read_yaml(path: str | os.PathLike[str], where: str = "") -> Any:
    """What a YAML file holds: plain values alone.

    Args:
        path: of the file.
        where: what the message calls it; its path if left empty.

    Raises:
        InputError: it cannot be read, is larger than `MAX_BYTES`, or as `parse_yaml`.
    """
    return parse_yaml(read_text(path, "YAML", where), where or str(path))


def parse_yaml(text: str, where: str, *, unique: bool = False, tags: bool = False) -> Any:
    """What a YAML text stands for: plain values alone.

    Args:
        text: the document.
        where: it is, for the message.
        unique: a key that stands twice in a mapping is an error; YAML keeps the last.
        tags: a value with a tag of the document's own (`!function`) is None, not an error.

    Raises:
        InputError: no YAML, nested too deep, tags that are no plain value, an alias of what it stands in, aliases that
            stand for more than `MAX_VALUES` values, or a key twice.
    """

    def parse() -> Any:
        try:
            loader = _Tagged(text) if tags else yaml.SafeLoader(text)
            node = loader.get_single_node()
            if node is None:
                return None
            _count(node, {}, where if unique else None)
            return loader.construct_document(node)
        except yaml.YAMLError as error:
            raise ValueError(error) from None

    return parsed("YAML", where, parse)


def _count(node: Any, known: dict[int, int], unique: str | None) -> int:
    """Values below a node with every alias written out. Raises ValueError where there is no end, or too many.

    Args:
        node: of a document.
        known: what was found of other nodes, by their id.
        unique: name of the document, if no key may stand twice in a mapping.
    """
    found = known.get(id(node))
    if found is None:
        known[id(node)] = -1
        if unique is not None and node.id == "mapping":
            _require_unique_keys(node, unique)
        children = node.value if isinstance(node.value, list) else []
        pairs = [child for entry in children for child in (entry if isinstance(entry, tuple) else (entry,))]
        found = known[id(node)] = 1 + sum(_count(child, known, unique) for child in pairs)
    if found < 0:
        raise ValueError("an alias stands inside of what it is an alias of")
    if found > MAX_VALUES:
        raise ValueError(f"its aliases stand for more than {MAX_VALUES:,} values")
    return found


def _require_unique_keys(node: Any, name: str) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if key.id != "scalar":
            continue
        line = key.start_mark.line + 1
        if key.value != "<<" and key.value in seen:
            raise InputError(
                f"{name}, line {line}: {key.value} stands twice, first in line {seen[key.value]}, and only the last "
                "would count; remove one, or put a second modifier into a group of its own"
            )
        seen[key.value] = line
