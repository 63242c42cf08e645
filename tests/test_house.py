"""Imports go one way: what each room may import, read from its source."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "plugin" / "spike_compressor"
NAME = "spike_compressor"

#: room -> rooms that it may import; `docs/architecture.md` shows the same table
MAY_IMPORT: dict[str, set[str]] = {
    "coding": set(),
    "modality": set(),
    "runtime": {"coding", "modality"},
    "modifiers": {"checkpoint", "coding", "metrics", "modality", "runtime"},
    "checkpoint": {"modality", "runtime"},
    "trace": {"coding", "modality", "runtime"},
    "metrics": {"coding", "modality", "runtime"},
    "plot": {"checkpoint"},
    "integrations": {"checkpoint"},
    "evaluations": {"integrations"},
    "comparison": {"checkpoint", "coding", "evaluations", "metrics", "plot", "runtime"},
    "demo": {"checkpoint", "evaluations", "metrics", "runtime", "trace"},
    "cli": {"checkpoint", "comparison", "demo", "modifiers", "plot", "trace"},
}
#: Files at the top of the package that every room may use.
SHARED = {
    "_version",
    "errors",
    "fields",
    "files",
    "fingerprint",
    "progress",
    "quiet",
    "registry",
}
#: The bundle format: what hardware people run, with NumPy and nothing else.
READER = ("__init__", "bundle", "golden", "schema", "writer")


def imported(file: Path) -> Iterator[str]:
    """Absolute names of the modules that a file imports, wherever in it."""
    package = [NAME, *file.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *filter(None, [node.module])])
            yield name
            if name == NAME:
                yield from (f"{NAME}.{alias.name}" for alias in node.names)


def rooms_of(file: Path) -> set[str]:
    """Rooms, or shared files, of the package that a file imports."""
    found = set()
    for name in imported(file):
        top, _, rest = name.partition(".")
        if top == NAME:
            first = rest.split(".")[0]
            known = first and ((PACKAGE / first).exists() or (PACKAGE / f"{first}.py").exists())
            found.add(first if known else "__init__")
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    used = set()
    for file in sorted((PACKAGE / room).rglob("*.py")):
        wrong = rooms_of(file) - MAY_IMPORT[room] - SHARED - {room}
        assert not wrong, f"{file.relative_to(ROOT)} imports {sorted(wrong)}"
        used |= rooms_of(file)
    assert used - SHARED - {room} == MAY_IMPORT[room], "the table allows more than is used"


def test_every_room_is_in_the_table() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(MAY_IMPORT)


def test_there_is_no_way_round() -> None:
    order: list[str] = []
    left = dict(MAY_IMPORT)
    while left:
        ready = sorted(room for room, needs in left.items() if needs <= set(order))
        assert ready, f"a circle among {sorted(left)}"
        order += ready
        for room in ready:
            del left[room]


def test_coding_and_the_bundle_reader_need_nothing_else() -> None:
    standard = sys.stdlib_module_names
    for file in sorted((PACKAGE / "coding").rglob("*.py")):
        tops = {name.partition(".")[0] for name in imported(file)}
        assert tops - standard <= {"torch", NAME}, file
    for name in READER:
        file = PACKAGE / "trace" / f"{name}.py"
        assert {top for top in (n.partition(".")[0] for n in imported(file)) if top not in standard} <= {"numpy", NAME}
        assert rooms_of(file) <= {"trace", "errors", "files"}, file
    for name in ("__init__", "_registration", "_version", "errors", "files"):  # what a bundle's reader imports with it
        tops = {module.partition(".")[0] for module in imported(PACKAGE / f"{name}.py")}
        assert tops <= {*standard, NAME}, name


def test_the_documentation_shows_this_table() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|\n]*\| ([^|\n]*) \|$", page, re.MULTILINE))
    shown = {room: set(re.findall(r"`(\w+)`", cell)) for room, cell in rows.items()}
    assert shown == MAY_IMPORT
