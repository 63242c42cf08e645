"""Things that are made of an object once and kept with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Deriving:
    """Keeps what is derived from it in a field `_derived`, a dictionary of its own, as long as it lives."""

    _derived: dict[Any, Any]

    def derived(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` gives, which depends on this object and the hashable key alone: made once."""
        try:
            found: T = self._derived[key]
        except KeyError:
            found = self._derived[key] = make()
        return found
