"""The package's structure: the rules that `make house` counts, each of them zero, and each able to fail."""

from __future__ import annotations

import sys
from pathlib import Path

import house
import pytest

NAME = house.NAME
#: The bundle format: what hardware people run, with NumPy and nothing else.
READER = ("__init__", "bundle", "codecs", "golden", "golden_groups", "schema", "writer")


@pytest.fixture(scope="module")
def package() -> house.Source:
    return house.Source()


@pytest.mark.parametrize("rule", house.RULES)
def test_the_package_keeps_to(rule: str, package: house.Source) -> None:
    assert house.RULES[rule].find(package) == []


def test_the_documentations_table_has_every_package(package: house.Source) -> None:
    assert set(house.table()) == set(package.packages)
    assert len(package.modules) > 100  # all of it was read
    assert {"errors", "registry", "_version"} <= package.shared


def test_coding_and_the_bundle_reader_need_nothing_else(package: house.Source) -> None:
    def foreign(module: str) -> set[str]:
        names = {i.module for i in package.imports(package.modules[module])}
        return {name if name.startswith(NAME) else name.partition(".")[0] for name in names} - sys.stdlib_module_names

    for module in package.modules:
        if module.startswith(f"{NAME}.coding"):
            outside = {name for name in foreign(module) if not name.startswith(NAME)}
            assert outside <= {"torch"}, module
    beside = {f"{NAME}.errors", f"{NAME}.claims", f"{NAME}.files", f"{NAME}.reading"}
    for name in READER:
        module = f"{NAME}.trace" if name == "__init__" else f"{NAME}.trace.{name}"
        own = {name for name in foreign(module) if not name.startswith(f"{NAME}.trace")}
        assert own <= {"numpy", *beside}, module
    for module in (NAME, f"{NAME}._registration", f"{NAME}._version", *beside):  # what comes with it
        assert {name for name in foreign(module) if not name.startswith(NAME)} == set(), module


#: rule -> files of a small package that break it, and the one line that says so
BROKEN: dict[str, tuple[dict[str, str], str]] = {
    "circles": (
        {"low/a.py": "from small.low import b\n", "low/b.py": "import small.low.a\n"},
        "small.low.a <-> small.low.b",
    ),
    "circles_of_types": (
        {
            "low/a.py": "from small.low.b import x\n",
            "low/b.py": "import typing\nif typing.TYPE_CHECKING:\n    from .a import y\n",
        },
        "small.low.a <-> small.low.b",
    ),
    "circles_of_any": (
        {"low/a.py": "from . import b\n", "low/b.py": "def f():\n    from small.low.a import y\n"},
        "small.low.a <-> small.low.b",
    ),
    "package_circles": (
        {"low/a.py": "def f():\n    import small.high.a\n", "high/a.py": "from small.low import a\n"},
        "high <-> low",
    ),
    "arrows": (
        {"low/a.py": "def f():\n    from ..high import a\n", "high/a.py": ""},
        "low/a.py:2 imports small.high.a",
    ),
    "wall": (
        {"low/a.py": "def f():\n    from small import load\n"},
        "low/a.py:2 imports from small itself",
    ),
    "callbacks": (
        {
            "low/a.py": "AFTER = [print]\n",
            "low/__init__.py": "from small.low.a import AFTER\n",
            "high/a.py": "from small.low import AFTER\nif print not in AFTER:\n    AFTER.append(print)\n",
        },
        "low/a.py:1 AFTER",
    ),
    "registries": (
        {"low/a.py": "_KNOWN: dict = {}\n\ndef register(name):\n    _KNOWN[name] = name\n"},
        "low/a.py:1 _KNOWN",
    ),
    "callable_modules": (
        {"low/__init__.py": "from .run import run\n", "low/run.py": "def run(): ...\n"},
        "low/__init__.py:1 run is a module of small.low too",
    ),
    "long_files": ({"low/a.py": '"""Long."""\n' + "x = 1\n" * 400}, "low/a.py has 401 lines"),
}


def test_every_rule_is_broken_once() -> None:
    assert set(BROKEN) == set(house.RULES)


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_found(rule: str, tmp_path: Path) -> None:
    files, finding = BROKEN[rule]
    assert finding in house.RULES[rule].find(small(tmp_path, files))
    assert house.RULES[rule].find(small(tmp_path / "kept", KEPT)) == []


#: what is close to a broken rule and is none
KEPT = {
    "errors.py": "class InputError(Exception): ...\n",
    "low/__init__.py": "from small.low.a import run\nfrom small.low import b\n",
    "low/a.py": "from small.errors import InputError\nTABLE = {1: 2}\nNAMES = ['x']\n\ndef run():\n    found = []\n"
    "    found.append(TABLE[1])\n    return found\n",
    "low/b.py": '"""Longer than 400 lines, because it is one table."""\n' + "x = 1\n" * 400,
    "high/__init__.py": "from small.low import run\n",
    "high/a.py": "def f():\n    from small.low.a import NAMES\n    return list(NAMES)\n",
}


def small(root: Path, files: dict[str, str]) -> house.Source:
    """A package of two packages, of which `high` may import `low`."""
    folder = root / "small"
    for path, text in {"__init__.py": "", "low/__init__.py": "", "high/__init__.py": "", **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return house.Source(folder, {"low": frozenset(), "high": frozenset({"low"})})
