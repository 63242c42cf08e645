"""The guards of the package: every statement that raises an error of its own making."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

#: A function that each guard asks whether it is there, in modules that are compiled by `with_switches`.
SWITCH = "__guard_is_there__"
#: What is raised not because of something wrong, or by what cannot be called.
NO_GUARDS = ("NotImplementedError", "AttributeError", "StopIteration", "SystemExit", "_EarlyStopError")


def guards(source: str, where: str) -> list[str]:
    """Places of the guards of a module, `where:line`, in order."""
    places = [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise) and _is_guard(node)]
    return [f"{where}:{line}" for line in sorted(places)]


def all_guards(package: Path) -> Iterator[str]:
    """Places of all guards below a folder, in order."""
    for path in sorted(package.rglob("*.py")):
        yield from guards(path.read_text(encoding="utf-8"), path.relative_to(package).as_posix())


def with_switches(source: str, where: str) -> ast.Module:
    """A module in which `raise X(…)` is `if SWITCH("where:line"): raise X(…)`."""
    tree = ast.parse(source)
    _Switches(where).visit(tree)
    return ast.fix_missing_locations(tree)


def _is_guard(node: ast.Raise) -> bool:
    if not isinstance(node.exc, ast.Call):
        return False
    return ast.unparse(node.exc.func).rpartition(".")[2] not in NO_GUARDS


class _Switches(ast.NodeTransformer):
    def __init__(self, where: str) -> None:
        self._where = where

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        if not _is_guard(node):
            return node
        asked = ast.Call(ast.Name(SWITCH, ast.Load()), [ast.Constant(f"{self._where}:{node.lineno}")], [])
        return ast.copy_location(ast.If(asked, [node], []), node)
