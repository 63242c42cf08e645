"""Module names as few regular expressions: a mixture of experts has tens of thousands of Linears."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable

#: Parts of a name that are the same in all layers and experts, in all experts of a layer, and all of it.
_SHAPES: tuple[Callable[[list[str]], tuple[str | None, ...]], ...] = (
    lambda parts: tuple(None if part.isdecimal() else part for part in parts),
    lambda parts: _without_last_number(parts),
    lambda parts: tuple(parts),
)


def name_patterns(names: Iterable[str], everything: Iterable[str]) -> list[str]:
    """Patterns, as `quantization_config` takes them (`re:...`), that match `names` and no other module.

    Args:
        names: of the modules to match.
        everything: names of all modules of the model.

    Returns:
        Sorted; numbers of layers or experts are left open where that matches no other module.
    """
    left = set(names)
    others = [name.split(".") for name in set(everything) - left]
    patterns = []
    for shape in _SHAPES:
        taken = {shape(parts) for parts in others}
        alike = defaultdict(list)
        for name in left:
            alike[shape(name.split("."))].append(name)
        for key, members in alike.items():
            exact = None not in key
            if key not in taken and (exact or len(members) > 1):
                patterns.append("re:" + r"\.".join(r"\d+" if part is None else re.escape(part) for part in key) + "$")
                left -= set(members)
    return sorted(patterns)


def _without_last_number(parts: list[str]) -> tuple[str | None, ...]:
    last = max((index for index, part in enumerate(parts) if part.isdecimal()), default=None)
    return tuple(None if index == last else part for index, part in enumerate(parts))
