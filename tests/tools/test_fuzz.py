"""Damaged files are taken or refused, as `tools/fuzz` has found them; and what it looks at can be found wrong."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import spike_compressor
import yaml
from fuzz.campaign import CORPUS
from fuzz.cases import Bench, chosen, kept
from fuzz.mutate import CANARY
from fuzz.targets import TARGETS, Plan
from spike_compressor import errors, reading, yaml_files
from spike_compressor.trace import bundle

PACKAGE = Path(spike_compressor.__file__).parent
KEPT = list(kept(CORPUS))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", sorted({target for target, _, _ in KEPT}))
def test_what_once_went_wrong(name: str, bench: Bench) -> None:
    wrong = {}
    for number, (target, file, data) in enumerate(KEPT):
        if target == name and (fault := bench.run(bench.target(name), file, data)) is not None:
            wrong[number, file] = fault
    assert wrong == {}


@pytest.mark.parametrize("name", TARGETS.names())
def test_some_damage(name: str, bench: Bench) -> None:
    target = bench.target(name)
    wrong = {}
    for number in range(5 if target.share <= 2 else 25):
        _, random = chosen(7, number, name)
        if (fault := bench.run(target, *target.damage(random))) is not None:
            wrong[number] = fault
    assert wrong == {}


def test_cases_follow_from_seed_and_number(bench: Bench) -> None:
    target = bench.target("plan")
    assert target.damage(chosen(3, 14)[1]) == target.damage(chosen(3, 14)[1]) != target.damage(chosen(3, 15)[1])
    assert {chosen(0, number)[0] for number in range(2000)} == set(TARGETS.names())


def unguarded_parsers(patched: pytest.MonkeyPatch) -> None:
    for module in (reading, yaml_files):
        patched.setattr(module, "parsed", lambda form, where, parse: parse())


def long_messages(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(errors.InputError, "LONGEST", 10**9)


def unsafe_yaml(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(yaml, "SafeLoader", yaml.UnsafeLoader)


def members_believed(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(bundle, "_BROKEN_ARCHIVE", ())


def writes_elsewhere(patched: pytest.MonkeyPatch) -> None:
    read = TARGETS.get("cell").read
    patched.setattr(TARGETS.get("cell"), "read", lambda self: (Path(CANARY).touch(), read(self)))


#: A command that leaves a mark, where a reader of YAML runs it.
COMMAND = f"!!python/object/apply:os.system ['touch {CANARY}']".encode()
LONG = "\n".join(f"{module}: {{text: {[255] * 2000}}}" for module in Plan.modules).encode()
#: What takes a guard away, and the target whose cases must show it: a file, or damage that a seed gives.
GUARDS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str, bytes, str]] = {
    "parsers": (unguarded_parsers, "manifest", b"[" * 50_000, "RecursionError"),
    "parsers of YAML": (unguarded_parsers, "plan", b"a: !!timestamp x", "Error"),
    "messages": (long_messages, "plan", LONG, "a message of"),
    "plain YAML": (
        unsafe_yaml,
        "plan",
        COMMAND,
        "executed",
    ),
    "archives": (members_believed, "archive", b"PK", "BadZipFile"),
    "places": (writes_elsewhere, "cell", b"{}", "executed"),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_a_missing_guard_is_found(guard: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    take_away, name, data, said = GUARDS[guard]
    target = bench.target(name)
    file = target.damage(Random(0))[0]
    assert bench.run(target, file, data) is None
    take_away(monkeypatch)
    fault = bench.run(target, file, data)
    assert fault is not None
    assert said in fault


FORBIDDEN = {
    "eval",
    "exec",
    "__import__",
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "joblib",
    "torch.load",
    "np.load",
    "os.system",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "yaml.Loader",
    "yaml.FullLoader",
    "yaml.UnsafeLoader",
}


def forbidden(source: str) -> set[str]:
    """What of `FORBIDDEN` a module calls or imports; and arrays that may be pickles."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Name, ast.Attribute)):
            found.add(ast.unparse(node))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found |= {name.partition(".")[0] for name in names}
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found |= set() if ast.unparse(node.value) == "False" else {"pickle"}
    return found & FORBIDDEN


def test_nothing_that_files_hold_is_executed() -> None:
    found = {path.name: names for path in PACKAGE.rglob("*.py") if (names := forbidden(path.read_text()))}
    assert found == {"data.py": {"np.load"}}  # the demo's own questions, without pickles
    assert forbidden("import pickle.x\nnp.savez(f, allow_pickle=True)\neval('1')") == {"pickle", "eval"}
    assert forbidden("yaml.load(x, Loader=yaml.UnsafeLoader)") == {"yaml.UnsafeLoader"}
