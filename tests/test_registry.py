"""The one registry: names, duplicates, and what other packages bring by entry points."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from spike_compressor import registry as module
from spike_compressor.cli.command import COMMANDS
from spike_compressor.coding.base import CODINGS
from spike_compressor.errors import InputError
from spike_compressor.evaluations.base import EVALUATIONS
from spike_compressor.modality.base import ADAPTERS
from spike_compressor.modifiers.allocation.base import ALLOCATIONS
from spike_compressor.registry import Registry
from spike_compressor.runtime.backends import BACKENDS

SHIPPED = [ADAPTERS, ALLOCATIONS, BACKENDS, CODINGS, COMMANDS, EVALUATIONS]


def colour(name: str = "Red", where: str = "paint") -> type:
    return type(name, (), {"__module__": where})


@pytest.fixture
def colours() -> Registry[Any]:
    registry: Registry[Any] = Registry("colour", "tests.colours", named=True)
    registry.register("red")(colour())
    return registry


class Package:
    """A package that was never installed: its module and the entry points that lead into it."""

    def __init__(self) -> None:
        self.points: list[EntryPoint] = []
        self.module = ModuleType("their_colours")

    def brings(self, name: str, value: str) -> None:
        self.points.append(EntryPoint(name, value, "tests.colours"))

    def entry_points(self, group: str) -> list[EntryPoint]:
        return [point for point in self.points if point.group == group]


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Package:
    package = Package()
    monkeypatch.setitem(sys.modules, "their_colours", package.module)
    monkeypatch.setattr(module, "entry_points", package.entry_points)
    return package


def test_what_is_registered_is_found_by_name_and_told_it(colours: Registry[Any]) -> None:
    blue = colours.register("blue")(colour("Blue"))
    assert colours.get("blue") is blue
    assert blue.name == "blue"
    assert list(colours) == ["blue", "red"]
    assert "blue" in colours
    assert "green" not in colours
    assert 3 not in colours


@pytest.mark.parametrize("name", ["redd", 7, None, ["red"]])
def test_an_unknown_name_is_refused_with_those_that_exist(colours: Registry[Any], name: Any) -> None:
    with pytest.raises(InputError, match=r"colour .*red") as refused:
        colours.get(name)
    assert str(name) in str(refused.value)


def test_the_nearest_name_is_suggested(colours: Registry[Any]) -> None:
    colours.register("violet")(colour("Violet"))
    with pytest.raises(InputError, match=r"'violett'.*'violet'\?"):
        colours.get("violett")


@pytest.mark.parametrize("table", SHIPPED, ids=lambda table: table.kind)
def test_no_registry_lets_a_name_be_taken_silently(table: Registry[Any]) -> None:
    name = next(iter(table))
    before = table.get(name)
    with table.temporarily(), pytest.raises(InputError, match=rf"{table.kind} '{name}' .*paint:Red"):
        table.register(name)(colour())
    assert table.get(name) is before


@pytest.mark.parametrize("table", SHIPPED, ids=lambda table: table.kind)
def test_what_is_registered_temporarily_is_forgotten(table: Registry[Any]) -> None:
    before = table.names()
    with table.temporarily():
        table.register("red")(colour())
        assert "red" in table
        table.get("red")
    assert table.names() == before


def test_the_same_class_again_takes_its_own_place(colours: Registry[Any]) -> None:
    again = colours.register("red")(colour())
    assert colours.get("red") is again


def test_another_takes_a_place_where_it_is_told_to(colours: Registry[Any]) -> None:
    scarlet = colours.register("red", replace=True)(colour("Scarlet"))
    assert colours.get("red") is scarlet


@pytest.mark.parametrize("names", [(), ("",), (colour(),), ("pale", "white")])
def test_a_decorator_needs_one_name(colours: Registry[Any], names: Any) -> None:
    with pytest.raises(InputError, match="colour"):
        colours.register(*names)


def test_an_entry_point_is_imported_when_it_is_asked_for(theirs: Package, colours: Registry[Any]) -> None:
    theirs.brings("teal", "their_colours:Teal")
    assert colours.names() == ("red", "teal")
    assert "teal" in colours
    # in the place of a module that is imported now, and decorates what it defines
    theirs.module.__getattr__ = lambda name: colours.register("teal")(colour(name, "their_colours"))  # type: ignore[method-assign]
    assert colours.get("teal").__name__ == "Teal"
    assert colours.get("teal").name == "teal"


def test_an_entry_point_may_lead_to_what_a_decorator_registered(theirs: Package, colours: Registry[Any]) -> None:
    theirs.brings("teal", "their_colours:Teal")
    teal = colours.register("teal")(colour("Teal", "their_colours.deep"))  # re-exported, so not where it was defined
    theirs.module.Teal = teal  # type: ignore[attr-defined]
    assert colours.get("teal") is teal


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ({"teal": "no_such_colours:Teal"}, "teal.*no_such_colours"),
        ({"teal": "their_colours:Gone"}, "teal.*their_colours:Gone"),
        ({"crimson": "their_colours:Scarlet"}, "crimson.*their_colours.*scarlet"),
        ({"red": "their_colours:Scarlet"}, "red.*their_colours.*scarlet"),
        ({"red": "their_colours:Plain"}, "red.*their_colours:Plain"),
        ({"plain": "their_colours:Plain"}, "plain.*their_colours:Plain"),
    ],
)
def test_a_faulty_entry_point_harms_only_who_asks_for_it(
    theirs: Package, colours: Registry[Any], points: dict[str, str], says: str
) -> None:
    theirs.module.Scarlet = colours.register("scarlet")(colour("Scarlet", "their_colours"))  # type: ignore[attr-defined]
    theirs.module.Plain = colour("Plain", "their_colours")  # type: ignore[attr-defined]
    for name, value in points.items():
        theirs.brings(name, value)
    assert set(points) <= set(colours.names())
    assert colours.get("scarlet") is theirs.module.Scarlet
    for _ in range(2):
        with pytest.raises(InputError, match=says):
            colours.get(*points)


def test_two_packages_with_one_name_are_refused(theirs: Package, colours: Registry[Any]) -> None:
    theirs.module.Teal = teal = colours.register("teal")(colour("Teal", "their_colours"))  # type: ignore[attr-defined]
    theirs.module.Sea = colour("Sea", "their_colours")  # type: ignore[attr-defined]
    for value in ("their_colours:Teal", "their_colours:Teal", "their_colours:Sea"):  # one is found in two places
        theirs.brings("teal", value)
    assert colours.get("red")
    with pytest.raises(InputError, match=r"teal.*their_colours:Sea"):
        colours.get("teal")
    theirs.points.pop()
    again: Registry[Any] = Registry("colour", "tests.colours", named=True)
    again.register("teal")(teal)
    assert again.get("teal") is teal


def test_the_groups_are_the_documented_ones() -> None:
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    groups = {table.group for table in SHIPPED if table.group}
    assert len(groups) == 5
    assert all(f"`{group}`" in page for group in groups)
