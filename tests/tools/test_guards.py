"""What takes guards away finds them, and takes the right one."""

from __future__ import annotations

from typing import Any

import pytest
from guards.__main__ import page
from guards.sites import SWITCH, guards, with_switches

SOURCE = """
def root(x):
    if x < 0:
        raise ValueError(f"{x} has no root")
    if x == 7:
        raise NotImplementedError("abstract")
    try:
        return x**0.5
    except TypeError as error:
        raise errors.InputError("no number") from error
"""


def test_guards_are_what_raises_errors_of_its_own() -> None:
    assert guards(SOURCE, "a.py") == ["a.py:4", "a.py:10"]
    assert guards("try:\n  x\nexcept ValueError:\n  raise\n", "a.py") == []


def test_one_is_taken_away() -> None:
    asked: list[str] = []

    def switch(place: str) -> bool:
        asked.append(place)
        return place != "a.py:4"

    space: dict[str, Any] = {SWITCH: switch}
    exec(compile(with_switches(SOURCE, "a.py"), "a.py", "exec"), space)
    assert isinstance(space["root"](-4), complex)
    assert asked == ["a.py:4"]
    with pytest.raises(NotImplementedError):
        space["root"](7)
    space[SWITCH] = lambda place: True
    with pytest.raises(ValueError, match="-4 has no root"):
        space["root"](-4)


def test_page_counts_each_kind() -> None:
    found = {
        "errors.py:1": {"missed": True},
        "errors.py:2": {"missed": False},
    }
    text = page(["errors.py:1", "errors.py:2", "errors.py:3"], found)
    assert "| taken away, and a test failed | 1 |" in text
    assert "## Taken away unseen\n\n- `errors.py:2`" in text
    assert "## Not raised\n\n- `errors.py:3`" in text
