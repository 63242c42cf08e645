"""Tests may run in any order; the order that saves time loses none of them."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.order import LONGEST, ROOT, longest_first

TESTS = sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("tb/*.py")])


def test_the_files_that_run_first_exist() -> None:
    assert [name for name in LONGEST if not (ROOT / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)


def test_every_test_stays_and_a_files_tests_keep_their_order() -> None:
    others = [ROOT / "tests" / "a.py", ROOT / "tests" / "b.py"]
    items = [
        SimpleNamespace(path=path, number=n) for path in (*others, ROOT / LONGEST[1], ROOT / LONGEST[0]) for n in (0, 1)
    ]
    ordered = longest_first(items)  # type: ignore[arg-type]
    assert [item.path for item in ordered[::2]] == [ROOT / LONGEST[0], ROOT / LONGEST[1], *others]
    assert [item.number for item in ordered] == [0, 1] * 4


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_test_imports_another(file: Path) -> None:
    """What two files need lies in tests/helpers, or among the benches' own modules."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        wrong = [name for name in names if name.split(".")[-1].startswith("test_") or name.split(".")[-1] == "conftest"]
        assert not wrong, f"line {node.lineno}"  # type: ignore[attr-defined]


def test_nothing_but_tests_lies_beside_them() -> None:
    """Helpers are in tests/helpers; what a test gives to a model is in a folder of its own."""
    beside = [path for path in ROOT.glob("tests/*/*.py") if path.parent.name != "helpers"]
    assert [path for path in beside if not path.name.startswith(("test_", "conftest"))] == []


def test_no_module_of_the_benches_has_the_name_of_a_helper() -> None:
    """All of these folders are on the path of imports."""
    places: dict[str, list[str]] = {}
    for folder in ("tests", "tb", "benchmarks", "tools"):
        for path in (ROOT / folder).iterdir():
            if path.suffix == ".py" or (path / "__init__.py").is_file():
                places.setdefault(path.stem, []).append(folder)
    twice = {name: folders for name, folders in places.items() if len(folders) > 1 and name != "conftest"}
    assert not twice
