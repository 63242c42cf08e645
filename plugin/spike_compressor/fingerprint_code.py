"""Hash of the code that computes something: of the modules behind a class or function, and of what those import.

The code that counts is found from the classes that are used, not from lists of files. A module is hashed by its syntax
tree, so that comments, docstrings and layout do not matter and a constant, an operator, a default or a helper does.
Imports are followed within this package and within the package that the class is from; a name that a package's
`__init__` passes on leads to the module that defines it, and not to all others that `__init__` imports. Other packages
count by their versions (`fingerprint.versions`).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from spike_compressor.fingerprint import digest

_PACKAGE = __name__.partition(".")[0]
#: Packages whose code makes a spiking model; a result that is kept beside the model's own hash need not repeat them.
MODEL = tuple(f"{_PACKAGE}.{layer}" for layer in ("coding", "modality", "runtime", "modifiers", "checkpoint"))


def digest_of_code(*things: Any, beside: Iterable[str] = ()) -> str:
    """SHA-256 of the code behind classes, functions, modules or instances.

    Modules are read once per process: what is edited while it runs is not what it computes with. What has no source,
    as in a notebook, is hashed by its compiled functions.

    Args:
        things: where to begin. `functools.partial` stands for what it calls.
        beside: modules and packages that are left out, because something else stands for them.
    """
    found = {name: _read(name).digest for name in modules_behind(*things, beside=beside)}
    for thing in map(_definition, things):
        name = _module_name(thing)
        if _file(name) is None:
            found[f"{name}:{getattr(thing, '__qualname__', '')}"] = digest(_compiled(thing))
        if name.partition(".")[0] != _PACKAGE:
            found.update(_versions(name.partition(".")[0]))
    return digest(found)


def modules_behind(*things: Any, beside: Iterable[str] = ()) -> tuple[str, ...]:
    """Names of the modules whose code `digest_of_code` hashes, sorted; to see what a result depends on."""
    found: set[str] = set()
    for thing in map(_definition, things):
        packages = (_module_name(thing).partition(".")[0], _PACKAGE)
        kinds = inspect.getmro(thing) if isinstance(thing, type) else (thing,)
        found |= _closure(tuple(_module_name(kind) for kind in kinds), packages, tuple(beside))
    return tuple(sorted(found))


def _definition(thing: Any) -> Any:
    """The class, function or module that a thing is, or is an instance of."""
    thing = thing.func if isinstance(thing, functools.partial) else thing
    return thing if isinstance(thing, (type, ModuleType)) or hasattr(thing, "__qualname__") else type(thing)


@dataclass(frozen=True)
class _Module:
    """What is read of a module.

    Attributes:
        digest: of its normalised syntax tree.
        imports: (module, name) of what it imports and runs; the name is empty where it is the module itself.
        passed_on: name -> (module, name) of what is imported at its top level, for type checkers alone too.
        defined: names that it gives a meaning itself.
    """

    digest: str
    imports: frozenset[tuple[str, str]]
    passed_on: dict[str, tuple[str, str]]
    defined: frozenset[str]


@functools.cache
def _closure(names: tuple[str, ...], tops: tuple[str, ...], beside: tuple[str, ...]) -> frozenset[str]:
    """Modules that have a source, from `names` on, along their imports within the packages `tops`."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        outside = any(name == left or name.startswith(f"{left}.") for left in beside)
        if name in found or outside or name.partition(".")[0] not in tops or _file(name) is None:
            continue
        found.add(name)
        waiting += [_defining(module, symbol) for module, symbol in _read(name).imports if module.split(".")[0] in tops]
    return frozenset(found)


def _defining(module: str, symbol: str) -> str:
    """The module that gives a name its meaning, which `module` is asked for."""
    for _ in range(10):  # from hand to hand; no package passes a name on in a circle
        file = _file(module)
        if not symbol or file is None or file.name != "__init__.py":
            return module
        read = _read(module)
        if symbol in read.defined:
            return module
        if symbol in read.passed_on and read.passed_on[symbol] != (module, symbol):
            module, symbol = read.passed_on[symbol]
        elif _file(f"{module}.{symbol}") is not None:
            module, symbol = f"{module}.{symbol}", ""
        else:
            return module
    return module


def _read(name: str) -> _Module:
    file = _file(name)
    assert file is not None, name
    return _parsed(name, file)


@functools.cache
def _parsed(name: str, file: Path) -> _Module:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    nodes = list(ast.walk(tree))
    typing_only = {id(inner) for node in nodes if _is_for_type_checkers(node) for inner in ast.walk(node)}
    imports: set[tuple[str, str]] = set()
    aliases: dict[str, tuple[str, str]] = {}
    passed_on: dict[str, tuple[str, str]] = {}
    for node in nodes:
        for bound, target in _imported(node, package):
            if id(node) not in typing_only:
                imports.add(target)
                aliases[bound] = target
    for node in _top_level(tree):
        passed_on.update(_imported(node, package))
    imports |= _reached_through_packages(nodes, aliases, imports)
    defined = {name for node in _top_level(tree) for name in _definitions(node)}
    normalised = ast.dump(_Normaliser().visit(tree))
    return _Module(hashlib.sha256(normalised.encode()).hexdigest(), frozenset(imports), passed_on, frozenset(defined))


def _imported(node: ast.AST, package: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """(bound name, (module, name)) of an import statement."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            bound, whole = (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0], alias.name)
            yield bound, (whole, "")
    elif isinstance(node, ast.ImportFrom):
        base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            yield alias.asname or alias.name, (module, "" if alias.name == "*" else alias.name)


def _reached_through_packages(
    nodes: list[ast.AST], aliases: dict[str, tuple[str, str]], imports: set[tuple[str, str]]
) -> set[tuple[str, str]]:
    """What is reached as an attribute of an imported package: of `import p` and `p.f()`, (p, f).

    A package of which nothing but attributes are used does not count as a whole: it leaves `imports`.
    """
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    owners = {id(node.value) for node in attributes}
    bare = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in owners}
    found: set[tuple[str, str]] = set()
    for node in attributes:
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        module = _package_at(aliases[owner]) if owner in aliases else None
        if module is not None:
            found.add((module, node.attr))
            if owner not in bare:
                imports.discard(aliases[owner])
    return found


def _package_at(target: tuple[str, str]) -> str | None:
    """The package that an import binds, if it is one."""
    module = ".".join(filter(None, target))
    file = _file(module)
    return module if file is not None and file.name == "__init__.py" else None


def _top_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Statements of a module, those under `if` and `try` included."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            waiting += list(ast.iter_child_nodes(node))


def _definitions(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name))


def _is_for_type_checkers(node: ast.AST) -> bool:
    test = node.test if isinstance(node, ast.If) else None
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


class _Normaliser(ast.NodeTransformer):
    """Takes strings out that stand alone: docstrings, which nothing computes with."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)


@functools.cache
def _file(name: str) -> Path | None:
    """The source file of a module, which is not imported for it; None if it has none."""
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded is not None:
        return _source_file(Path(loaded))
    top, _, rest = name.partition(".")
    try:
        spec = importlib.util.find_spec(top)  # of a package's own module this would import the package
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return _source_file(Path(spec.origin)) if spec.origin is not None else None
    places = [Path(folder, *rest.split(".")) for folder in spec.submodule_search_locations or ()]
    files = [file for place in places for file in (place / "__init__.py", place.with_suffix(".py"))]
    return next(filter(None, map(_source_file, files)), None)


def _source_file(file: Path) -> Path | None:
    return file if file.suffix == ".py" and file.is_file() else None


def _module_name(thing: Any) -> str:
    return str(thing.__name__ if isinstance(thing, ModuleType) else thing.__module__)


@functools.cache
def _versions(top: str) -> dict[str, str]:
    """Versions of the distributions that a foreign package is from."""
    names = importlib.metadata.packages_distributions().get(top, ())
    return {f"version of {name}": importlib.metadata.version(name) for name in sorted(set(names))}


def _compiled(thing: Any) -> Any:
    """Plain values that stand for a class or function without a source file."""
    if isinstance(thing, (staticmethod, classmethod)):
        return _compiled(thing.__func__)
    if isinstance(thing, property):
        return [_compiled(part) for part in (thing.fget, thing.fset) if part is not None]
    code = getattr(thing, "__code__", None)
    if isinstance(code, CodeType):
        return [_instructions(code, getattr(thing, "__doc__", None)), repr(getattr(thing, "__defaults__", None))]
    if isinstance(thing, type):
        hidden = ("__doc__", "__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__")
        return {name: _compiled(value) for name, value in sorted(vars(thing).items()) if name not in hidden}
    return repr(thing) if isinstance(thing, (int, float, str, bytes, bool, tuple, frozenset, type(None))) else ""


def _instructions(code: CodeType, doc: str | None = None) -> list[Any]:
    constants = [
        _instructions(value) if isinstance(value, CodeType) else repr(value)
        for index, value in enumerate(code.co_consts)
        if not (index == 0 and doc is not None and value == doc)
    ]
    return [code.co_code.hex(), list(code.co_names), constants]
