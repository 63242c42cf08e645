"""Named things of one kind, in one table: those that are built in, and those that other packages bring.

Another package makes its own known by an entry point, in its `pyproject.toml`:

    [project.entry-points."spike_compressor.codings"]
    least_first = "their_package.codings:LeastFirst"

The command line and worker processes find them like the built-in ones; they are imported when they are asked for.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from spike_compressor.errors import InputError

__all__ = ["Registry"]

T = TypeVar("T")
AnyT = TypeVar("AnyT")


class Registry(Generic[T]):
    """A table of names.

    Args:
        kind: noun for what is in it, as error messages name it (`coding`).
        group: entry-point group that brings more of them; None if nobody else can add any.
        convert: makes an entry of what was decorated, or of what an entry point leads to; by default they are the same.
    """

    def __init__(self, kind: str, group: str | None = None, convert: Callable[[Any], T] | None = None) -> None:
        self.kind, self.group = kind, group
        self._convert = convert
        self._entries: dict[str, T] = {}
        self._sources: dict[str, str] = {}
        self._found: dict[str, EntryPoint] | None = None

    def register(self, *names: str, replace: bool = False) -> Callable[[AnyT], AnyT]:
        """Decorator: make a class or function known under one or several names.

        Defining the same class once more (a notebook's cell that is run again) replaces it.

        Args:
            replace: take the place of whatever has the name.

        Raises:
            InputError: one of the names belongs to something else; or there is no name.
        """

        def decorate(thing: AnyT) -> AnyT:
            self.add(thing, *names, replace=replace)
            return thing

        return decorate

    def add(self, thing: AnyT, *names: str, replace: bool = False) -> None:
        """Make `thing` known under names; see `register`."""
        if not names:
            raise InputError(f"a {self.kind} needs a name to be registered under")
        source = _source(thing)
        for name in names:
            taken = self._sources.get(name)
            if taken is not None and taken != source and not replace:
                raise InputError(f"{self.kind} {name!r} is registered already, by {taken}; {source} needs another name")
        entry: Any = thing if self._convert is None else self._convert(thing)
        for name in names:
            self._entries[name], self._sources[name] = entry, source

    def get(self, name: str) -> T:
        """What is known under a name.

        Raises:
            InputError: nothing is; names the nearest one that is. Or an entry point that cannot be imported, or two
                packages that bring the same name.
        """
        point = self._entry_points().get(name)
        if point is not None and self._sources.get(name) != point.value:
            self._load(point)
        if name not in self._entries:
            close = difflib.get_close_matches(str(name), self.names(), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(f"unknown {self.kind} {name!r}{hint} There are: {', '.join(self.names()) or 'none'}")
        return self._entries[name]

    def names(self) -> tuple[str, ...]:
        """All names, sorted; nothing is imported."""
        return tuple(sorted({*self._entries, *self._entry_points()}))

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    @contextlib.contextmanager
    def temporarily(self) -> Iterator[None]:
        """What is registered within the block is forgotten after it; for tests and examples."""
        before = dict(self._entries), dict(self._sources)
        try:
            yield
        finally:
            self._entries, self._sources = before

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._found is None:
            self._found = {}
            for point in entry_points(group=self.group) if self.group else ():
                other = self._found.get(point.name)
                if other is not None and other.value != point.value:
                    raise InputError(
                        f"{self.kind} {point.name!r} comes from two packages, {other.value} and {point.value}; "
                        "uninstall one of them"
                    )
                self._found[point.name] = point
        return self._found

    def _load(self, point: EntryPoint) -> None:
        taken = self._sources.get(point.name)
        try:
            thing = point.load()
        except Exception as error:
            package = point.dist.name if point.dist else point.value
            raise InputError(
                f"{self.kind} {point.name!r} cannot be imported from {point.value} of the package {package}: {error}"
            ) from error
        if taken is not None and taken != _source(thing):
            raise InputError(
                f"{self.kind} {point.name!r} is registered already, by {taken}; the entry point {point.value} needs "
                "another name"
            )
        if self._sources.get(point.name) != _source(thing):  # else its decorator has done so while it was imported
            self.add(thing, point.name)


def _source(thing: object) -> str:
    """Where a class, a function or an instance was defined, as an entry point writes it."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{getattr(named, '__module__', '?')}:{getattr(named, '__qualname__', '?')}"
