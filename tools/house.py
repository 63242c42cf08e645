"""How the package's structure stands, read from its source: one line a rule, with what breaks it.

    python tools/house.py        the counts; exit status 1 when one is not zero

`tests/test_house.py` asserts the same rules. Nothing of the package is imported, so that this runs before anything is
installed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "spike_compressor"

#: A file may be longer when its docstring says why, with this number in the sentence.
LINES = 400
_ROW = re.compile(r"^\| `(\w+)` \|[^|\n]*\| ([^|\n]*) \|$", re.MULTILINE)
_WRITES = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault"}
    | {"update"}
)
_LISTS = frozenset({"list", "set", "deque"})
_CONTAINERS = frozenset({"list", "dict", "set", "defaultdict", "deque", "OrderedDict", "Counter"})


@dataclass(frozen=True)
class Import:
    """One imported name: the module it is in, and when the import runs."""

    module: str
    line: int
    when: str  #: `load` (with the module), `types` (under TYPE_CHECKING), `late` (within a function)


@dataclass
class Module:
    """One file of the package."""

    name: str
    path: Path
    text: str
    package: str  #: name of the package that it is in; its own for an `__init__.py`

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""


@dataclass
class Source:
    """The package as files.

    Args:
        folder: the package's folder; its name is the package's.
        allowed: package -> packages that it may import; by default the table of docs/architecture.md.
    """

    folder: Path = ROOT / "plugin" / NAME
    allowed: Mapping[str, frozenset[str]] = field(default_factory=lambda: table())

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def modules(self) -> dict[str, Module]:
        found = {}
        for path in sorted(self.folder.rglob("*.py")):
            parts = [self.name, *path.relative_to(self.folder).with_suffix("").parts]
            package = ".".join(parts[:-1])
            name = package if parts[-1] == "__init__" else ".".join(parts)
            found[name] = Module(name, path, path.read_text(encoding="utf-8"), package)
        return found

    @cached_property
    def packages(self) -> tuple[str, ...]:
        """Folders with code directly in the package."""
        return tuple(path.name for path in sorted(self.folder.iterdir()) if (path / "__init__.py").exists())

    def imports(self, module: Module) -> Iterator[Import]:
        """Every import of a file, wherever in it; of `from package import module`, the module itself."""
        for node, when in _imports(module.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno, when)
                continue
            name = _origin(module, node)
            for alias in node.names:
                inner = f"{name}.{alias.name}"
                yield Import(inner if inner in self.modules else name, node.lineno, when)

    @cached_property
    def shared(self) -> frozenset[str]:
        """Files at the top that every package may use, because they use no package themselves."""
        top = {name: module for name, module in self.modules.items() if name.count(".") == 1}
        return frozenset(
            self.package_of(name)
            for name, module in top.items()
            if module.path.name != "__init__.py"
            and not {self.package_of(i.module) for i in self._inner(module)} & {*self.packages, ""}
        )

    def package_of(self, name: str) -> str:
        """Package, or file at the top, that a module is in; '' for the top `__init__.py`."""
        return name.partition(".")[2].partition(".")[0]

    # -- the rules ---------------------------------------------------------------------------------------------------

    def circles(self, *when: str) -> list[str]:
        """Modules that import each other round a circle, by imports of the given kinds."""
        graph = {
            name: {i.module for i in self.imports(module) if i.when in when and i.module in self.modules} - {name}
            for name, module in self.modules.items()
        }
        return [" <-> ".join(sorted(group)) for group in _components(graph) if len(group) > 1]

    def package_circles(self) -> list[str]:
        """Packages that import each other round a circle, by imports of any kind."""
        graph: dict[str, set[str]] = {name: set() for name in self.packages}
        for name, module in self.modules.items():
            own = self.package_of(name)
            if own in graph:
                graph[own] |= {self.package_of(i.module) for i in self._inner(module)} & set(graph) - {own}
        return [" <-> ".join(sorted(group)) for group in _components(graph) if len(group) > 1]

    def arrows_back(self) -> list[str]:
        """Imports that the table does not allow, and what the table says that is not so."""
        found, used = [], {name: set[str]() for name in self.packages}
        for name, module in self.modules.items():
            own = self.package_of(name)
            if own not in used:
                continue
            allowed = self.allowed.get(own, frozenset())
            for i in self._inner(module):
                target = self.package_of(i.module)
                if i.module == self.name or target == own or target in self.shared:
                    continue
                if target in allowed:
                    used[own].add(target)
                else:
                    found.append(f"{self._place(module, i.line)} imports {i.module}")
        for name in sorted(set(self.allowed) ^ set(used)):
            found.append(f"{name} is {'no package' if name in self.allowed else 'not in the table'}")
        for own, targets in used.items():
            found += [
                f"{own} may import {name}, and does not"
                for name in sorted(self.allowed.get(own, frozenset()) - targets)
            ]
        return found

    def holes_in_the_wall(self) -> list[str]:
        """Files within a package that import from the top: the public names are for users alone."""
        return [
            f"{self._place(module, i.line)} imports from {self.name} itself"
            for name, module in self.modules.items()
            if self.package_of(name) and self.package_of(name) != "cli"
            for i in self._inner(module)
            if i.module == self.name
        ]

    def _written(self) -> Iterator[tuple[str, str]]:
        """Containers at the top of a module that code changes later, or is meant to: where, and the kind."""
        tops: dict[tuple[str, str], tuple[str, str]] = {}
        changed: set[tuple[str, str] | None] = set()
        for name, module in self.modules.items():
            for node in module.tree.body:
                if isinstance(node, ast.Assign | ast.AnnAssign):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    for target in targets:
                        kind = _container(node.value)
                        if isinstance(target, ast.Name) and kind:
                            tops[name, target.id] = f"{self._place(module, node.lineno)} {target.id}", kind
                            empty = isinstance(node.value, ast.List) and not node.value.elts
                            changed |= {(name, target.id)} if empty else set()
        for module in self.modules.values():
            changed |= {self._defined(module, expression) for expression in _changed(module.tree)}
        yield from (where for key, where in sorted(tops.items()) if key in changed)

    def _defined(self, module: Module, expression: ast.expr) -> tuple[str, str] | None:
        """Module and name that a name, or a module's attribute, stands for in a module."""
        if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
            owner = self._bindings[module.name].get(expression.value.id)
            return self._follow(owner[0], expression.attr) if owner and not owner[1] else None
        return self._follow(module.name, expression.id) if isinstance(expression, ast.Name) else None

    def _follow(self, module: str, name: str) -> tuple[str, str]:
        seen = set()
        while (module, name) not in seen and name in self._bindings.get(module, ()):
            seen.add((module, name))
            origin, inner = self._bindings[module][name]
            if not inner:
                break
            module, name = origin, inner
        return module, name

    @cached_property
    def _bindings(self) -> dict[str, dict[str, tuple[str, str]]]:
        """Module -> local name -> module and name that it was imported from; no name for a module itself."""
        found: dict[str, dict[str, tuple[str, str]]] = {}
        for name, module in self.modules.items():
            local = found.setdefault(name, {})
            for node, _ in _imports(module.tree):
                if isinstance(node, ast.ImportFrom):
                    origin = _origin(module, node)
                    for alias in node.names:
                        inner = f"{origin}.{alias.name}"
                        target = (inner, "") if inner in self.modules else (origin, alias.name)
                        local[alias.asname or alias.name] = target
        return found

    def callbacks(self) -> list[str]:
        """Lists at the top of a module that code adds to: whoever is imported changes what is called."""
        return [where for where, kind in self._written() if kind in _LISTS]

    def own_registries(self) -> list[str]:
        """Dictionaries at the top of a module that code adds to: names belong in a `Registry`."""
        return [where for where, kind in self._written() if kind not in _LISTS]

    def callable_modules(self) -> list[str]:
        """Modules that are something else as well: called, or hidden by a name of their package."""
        found = []
        for name, module in self.modules.items():
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef) and any("ModuleType" in ast.unparse(base) for base in node.bases):
                    found.append(f"{self._place(module, node.lineno)} {node.name} is a kind of module")
                if isinstance(node, ast.Assign) and any("sys.modules" in ast.unparse(t) for t in node.targets):
                    found.append(f"{self._place(module, node.lineno)} puts something else in sys.modules")
            if module.path.name == "__init__.py":
                inner = {other.rpartition(".")[2] for other in self.modules if other.rpartition(".")[0] == name}
                found += [
                    f"{self._place(module, line)} {own} is a module of {name} too"
                    for own, line in self._names(module)
                    if own in inner
                ]
        return found

    def long_files(self) -> list[str]:
        """Files of more lines than most need whose docstring does not say why."""
        return [
            f"{self._place(module)} has {lines} lines"
            for module in self.modules.values()
            if (lines := module.text.count("\n")) > LINES and f"{LINES} lines" not in module.docstring
        ]

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _inner(self, module: Module) -> Iterator[Import]:
        return (i for i in self.imports(module) if i.module.partition(".")[0] == self.name)

    def _place(self, module: Module, line: int | None = None) -> str:
        return str(module.path.relative_to(self.folder)) + (f":{line}" if line else "")

    def _names(self, module: Module) -> Iterator[tuple[str, int]]:
        """What an `__init__.py` calls by a name, at once or when it is asked for, other than its modules themselves."""
        for node in module.tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name, node.lineno
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if f"{_origin(module, node)}.{alias.name}" not in self.modules:
                        yield alias.asname or alias.name, node.lineno
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
                # a table of names that a module-level `__getattr__` looks up
                for key in node.value.keys:
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield key.value, key.lineno


def table(page: Path = ROOT / "docs" / "architecture.md") -> dict[str, frozenset[str]]:
    """Package -> packages that it may import, as the documentation shows them."""
    rows = dict(_ROW.findall(page.read_text(encoding="utf-8")))
    return {name: frozenset(re.findall(r"`(\w+)`", cell)) for name, cell in rows.items()}


def _imports(tree: ast.AST, when: str = "load") -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for node in ast.iter_child_nodes(tree):
        inner = when
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner = "late"
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            inner = "types"
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, when
        else:
            yield from _imports(node, inner)


def _origin(module: Module, node: ast.ImportFrom) -> str:
    """Absolute name of the module that a `from … import` names."""
    parts = module.package.split(".")
    base = parts[: len(parts) - node.level + 1] if node.level else []
    return ".".join([*base, *filter(None, [node.module])])


def _container(value: ast.expr | None) -> str | None:
    """Kind of a container that can be added to; None for anything else."""
    kinds = {ast.List: "list", ast.ListComp: "list", ast.Dict: "dict", ast.DictComp: "dict", ast.Set: "set"}
    if type(value) in kinds:
        return kinds[type(value)]
    if isinstance(value, ast.Call):
        called = value.func.value if isinstance(value.func, ast.Subscript) else value.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        return name if name in _CONTAINERS else None
    return None


def _changed(tree: ast.AST) -> Iterator[ast.expr]:
    """Expressions that code within functions adds to, takes from, or writes into."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _WRITES:
                yield node.func.value
            if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
                targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
                for target in targets:
                    yield target.value if isinstance(target, ast.Subscript) else target
    for node in _at_the_top(tree):  # there, only calls: what a module sets itself while it loads is its value
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            if isinstance(called, ast.Attribute) and called.attr in _WRITES:
                yield called.value


def _at_the_top(tree: ast.AST) -> Iterator[ast.AST]:
    """Statements that run while a module loads, within `if`, `try` and loops, too."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield node
            yield from _at_the_top(node)


def _components(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Strongly connected components (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            found.append(stack[at:])
            del stack[at:]

    for name in graph:
        if name not in index:
            visit(name)
    return found


@dataclass(frozen=True)
class Rule:
    """What is counted, and must be zero."""

    title: str
    find: Callable[[Source], list[str]]


RULES: dict[str, Rule] = {
    "circles": Rule("import circles, module level", lambda source: source.circles("load")),
    "circles_of_types": Rule("import circles, TYPE_CHECKING too", lambda source: source.circles("load", "types")),
    "circles_of_any": Rule(
        "import circles, within functions too", lambda source: source.circles("load", "types", "late")
    ),
    "package_circles": Rule("circles of packages, by any import", Source.package_circles),
    "arrows": Rule("arrows back up", Source.arrows_back),
    "wall": Rule("imports through the public names", Source.holes_in_the_wall),
    "callbacks": Rule("package-level callback lists", Source.callbacks),
    "registries": Rule("registries that are no Registry", Source.own_registries),
    "callable_modules": Rule("modules that are callables, too", Source.callable_modules),
    "long_files": Rule(f"files over {LINES} lines without a reason", Source.long_files),
}


def main() -> int:
    source = Source()
    lines = sum(module.text.count("\n") for module in source.modules.values())
    print(f"{len(source.modules)} files, {lines:,} lines, {len(source.packages)} packages")
    broken = 0
    for rule in RULES.values():
        found = rule.find(source)
        broken += len(found)
        print(f"{len(found):4}  {rule.title}")
        for line in found:
            print(f"        {line}")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
