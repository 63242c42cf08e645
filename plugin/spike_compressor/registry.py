"""Named things of one kind, in one table: those that are built in, and those that other packages bring.

Another package makes its own known by an entry point, in its `pyproject.toml`:

    [project.entry-points."spike_compressor.codings"]
    least_first = "their_package.codings:LeastFirst"

The command line and worker processes find them like the built-in ones; they are imported when they are asked for, and
register themselves then, with the same decorator as those and under the name of the entry point.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import Any, Generic, TypeVar

from spike_compressor.errors import InputError

__all__ = ["Registry", "import_folder", "nearest"]

T = TypeVar("T")
AnyT = TypeVar("AnyT")


class Registry(Generic[T]):
    """A table of names.

    Args:
        kind: noun for what is in it, as error messages name it (`coding`).
        group: entry-point group that brings more of them; None if nobody else can add any.
        named: what is in it has one name, and is told: its attribute `name` is set.
        convert: makes an entry of what was registered, or of what an entry point leads to; by default they are the
            same.
    """

    def __init__(
        self, kind: str, group: str | None = None, *, named: bool = False, convert: Callable[[Any], T] | None = None
    ) -> None:
        self.kind, self.group = kind, group
        self._named, self._convert = named, convert
        self._entries: dict[str, T] = {}
        self._sources: dict[str, str] = {}
        self._points: dict[str, list[EntryPoint]] | None = None
        self._settled: set[str] = set()

    def register(self, *names: str, replace: bool = False) -> Callable[[AnyT], AnyT]:
        """Decorator: make a class or function known under one or several names.

        Defining the same class once more (a notebook's cell that is run again) replaces it.

        Args:
            replace: take the place of whatever has the name.

        Raises:
            InputError: one of the names belongs to something else; or there is no name, or more than one in a registry
                whose entries are told theirs.
        """
        if not names or not all(isinstance(name, str) and name for name in names):
            raise InputError(f"a {self.kind} is registered under a name: register(name)")
        if self._named and len(names) > 1:
            raise InputError(f"a {self.kind} has one name; got {', '.join(names)}")

        def decorate(thing: AnyT) -> AnyT:
            source = _source(thing)
            for name in names:
                taken = self._sources.get(name)
                if taken is not None and taken != source and not replace:
                    raise InputError(
                        f"{self.kind} {name!r} is registered already, by {taken}; {source} needs another name"
                    )
            if self._named:
                thing.name = names[0]  # type: ignore[attr-defined]
            entry: Any = thing if self._convert is None else self._convert(thing)
            for name in names:
                self._entries[name], self._sources[name] = entry, source
            return thing

        return decorate

    def get(self, name: str) -> T:
        """What is known under a name.

        Raises:
            InputError: nothing is; names the nearest one that is. Or an entry point that cannot be imported, or a name
                that two packages bring.
        """
        if name not in self:
            close = nearest(str(name), self.names())
            hint = f"did you mean {close!r}? There are" if close else "there are"
            raise InputError(f"unknown {self.kind} {name!r}; {hint}: {', '.join(self.names()) or 'none'}")
        if name not in self._settled:
            for point in self._entry_points().get(name, ()):
                self._load(point)
            self._settled.add(name)
        return self._entries[name]

    def names(self) -> tuple[str, ...]:
        """All names, sorted; nothing is imported."""
        return tuple(sorted({*self._entries, *self._entry_points()}))

    def registered(self) -> dict[str, T]:
        """What has been registered in this process, by name; entry points that nobody asked for are left out."""
        return dict(self._entries)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._entries or name in self._entry_points())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    @contextlib.contextmanager
    def temporarily(self) -> Iterator[None]:
        """What is registered within the block is forgotten after it; for tests and examples."""
        before = dict(self._entries), dict(self._sources), set(self._settled)
        try:
            yield
        finally:
            self._entries, self._sources, self._settled = before

    def _entry_points(self) -> dict[str, list[EntryPoint]]:
        if self._points is None:
            self._points = {}
            for point in entry_points(group=self.group) if self.group else ():
                same = self._points.setdefault(point.name, [])
                if all(other.value != point.value for other in same):  # one package may be found in two places
                    same.append(point)
        return self._points

    def _load(self, point: EntryPoint) -> None:
        try:
            thing = point.load()
        except Exception as error:
            raise InputError(
                f"{self.kind} {point.name!r} cannot be imported from {point.value} of the package {_package(point)}: "
                f"{error}"
            ) from error
        source = _source(thing)
        # a process that gets an instance by pickle imports the class, and knows nothing of entry points
        known = [name for name, other in self._sources.items() if other == source]
        if point.name not in known:
            found = f"registers itself as {', '.join(known)}" if known else "does not register itself"
            raise InputError(
                f"{self.kind} {point.name!r} of the package {_package(point)}: {point.value} {found}; decorate it with "
                "the name of its entry point"
            )


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module


def _source(thing: object) -> str:
    """Where a class, a function or an instance was defined, as an entry point writes it."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{getattr(named, '__module__', '?')}:{getattr(named, '__qualname__', '?')}"


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of `names` that a wrong name was probably meant to be; None if none is like it.

    Args:
        name: that is none of them.
        names: that there are.
        cutoff: least likeness, 0 (anything) to 1 (equal).
    """
    close = difflib.get_close_matches(name, dict.fromkeys(names), 1, cutoff)
    return close[0] if close else None


def import_folder(package: str, path: Iterable[str]) -> None:
    """Import every module of a folder, so that what is decorated in it is known.

    Args:
        package: `__name__` of the folder's package.
        path: its `__path__`.
    """
    for module in iter_modules(path):
        import_module(f"{package}.{module.name}")
