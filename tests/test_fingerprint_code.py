"""The hash of code notices what changes a result, and nothing else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from helpers import edited
from spike_compressor import fingerprint_code
from spike_compressor.demo.evaluations import DemoQuestions
from spike_compressor.evaluations.docvqa import DocVQA
from spike_compressor.evaluations.lm_eval import HarnessTask
from spike_compressor.evaluations.textvqa import TextVQA
from spike_compressor.fingerprint_code import MODEL, digest_of_code, modules_behind

FILES = {
    "__init__.py": '"""A package."""\nfrom foreign.scores import Score, mean\nfrom foreign.unused import never\n',
    "scores.py": '''"""Scores."""
from __future__ import annotations

from dataclasses import dataclass

import foreign.late as later
from foreign import helpers
from foreign.constants import LIMIT


def mean(values: list[float], start: int = 0) -> float:
    """Their mean."""
    return sum(values[start:]) / len(values)


@dataclass
class Score:
    """A score."""

    value: float = 1.0

    def judge(self, answers: list[float]) -> float:
        # only as many as there may be
        from foreign.local import weight

        return mean([helpers.double(a) for a in answers if a < LIMIT]) * weight() + later.zero()
''',
    "helpers/__init__.py": "from foreign.helpers.arithmetic import double\nfrom foreign.helpers.other import triple\n",
    "helpers/arithmetic.py": "def double(value):\n    return 2 * value\n",
    "helpers/other.py": "def triple(value):\n    return 3 * value\n",
    "constants.py": "LIMIT = 10\n",
    "local.py": "def weight():\n    return 1\n",
    "late.py": "def zero():\n    return 0\n",
    "unused.py": "def never():\n    return 1\n",
}


class Package:
    """A package `foreign` on disk that is hashed as it stands, as a fresh process would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "foreign"
        for name, text in FILES.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        text = FILES[name]
        assert old in text
        (self.folder / name).write_text(text.replace(old, new), encoding="utf-8")

    def digest(self) -> str:
        forget()
        return digest_of_code(importlib.import_module("foreign.scores").Score)


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "foreign"]:
        del sys.modules[name]
    for cached in (fingerprint_code._file, fingerprint_code._parsed, fingerprint_code._closure):
        cached.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Package(tmp_path)
    forget()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("scores.py", '"""Their mean."""', '"""The mean of values."""'),
        ("scores.py", '"""A score."""\n', ""),
        ("scores.py", "# only as many as there may be", "# and no more"),
        ("scores.py", "\n\n\ndef mean", "\n\n\n\n# that is\n\ndef mean"),
        ("scores.py", "a < LIMIT", "(a < LIMIT)"),
        ("helpers/arithmetic.py", "    return", '    "Two of it."\n    return'),
        ("helpers/other.py", "3 * value", "4 * value"),
        ("unused.py", "return 1", "return 2"),
    ],
)
def test_what_does_not_compute_does_not_count(package: Package, name: str, old: str, new: str) -> None:
    before = package.digest()
    package.edit(name, old, new)
    assert package.digest() == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("constants.py", "10", "11"),
        ("scores.py", "a < LIMIT", "a <= LIMIT"),
        ("scores.py", "start: int = 0", "start: int = 1"),
        ("scores.py", "value: float = 1.0", "value: float = 2.0"),
        ("scores.py", "value: float", "value: int"),
        ("scores.py", "@dataclass\n", "@dataclass(order=True)\n"),
        ("helpers/arithmetic.py", "2 * value", "value + value"),
        ("local.py", "return 1", "return 2"),
        ("late.py", "return 0", "return 1"),
    ],
)
def test_a_changed_computation_counts_in_whatever_module_it_is(package: Package, name: str, old: str, new: str) -> None:
    before = package.digest()
    package.edit(name, old, new)
    assert package.digest() != before


def test_names_that_a_package_passes_on_lead_to_their_modules(package: Package) -> None:
    forget()
    import foreign  # type: ignore[import-not-found]

    assert modules_behind(foreign.Score) == (
        "foreign.constants",
        "foreign.helpers.arithmetic",
        "foreign.late",
        "foreign.local",
        "foreign.scores",
    )


def test_a_package_used_as_a_whole_counts_as_a_whole(package: Package) -> None:
    package.edit("scores.py", "helpers.double(a)", "vars(helpers)['double'](a)")
    forget()
    found = modules_behind(importlib.import_module("foreign.scores").Score)
    assert {"foreign.helpers", "foreign.helpers.arithmetic", "foreign.helpers.other"} <= set(found)


def test_a_class_from_elsewhere_brings_this_packages_modules_too(tmp_path: Path, package: Package) -> None:
    """A plug-in counts with its own modules, with its base class's, and with its version."""
    (package.folder / "plugin.py").write_text(
        "from spike_compressor.evaluations import Evaluation\n\n\nclass Own(Evaluation):\n    pass\n", encoding="utf-8"
    )
    forget()
    own = importlib.import_module("foreign.plugin").Own
    found = modules_behind(own, beside=MODEL)
    assert {"foreign.plugin", "spike_compressor.evaluations.base"} <= set(found)
    assert "spike_compressor.evaluations.textvqa" not in found
    before = digest_of_code(own)
    (tmp_path / "foreign-1.dist-info").mkdir()
    (tmp_path / "foreign-1.dist-info" / "METADATA").write_text("Name: foreign\nVersion: 1\n", encoding="utf-8")
    (tmp_path / "foreign-1.dist-info" / "top_level.txt").write_text("foreign\n", encoding="utf-8")
    fingerprint_code._versions.cache_clear()
    assert digest_of_code(own) != before
    fingerprint_code._versions.cache_clear()


def test_instances_partials_and_classes_are_the_same_code(package: Package) -> None:
    forget()
    scores = importlib.import_module("foreign.scores")
    assert digest_of_code(scores.Score) == digest_of_code(scores.Score(3.0)) == digest_of_code(partial(scores.mean))


def defined(text: str) -> type:
    space: dict[str, type] = {"__name__": "a_notebook"}  # type: ignore[dict-item]
    exec(text, space)
    return space["Own"]


def test_code_without_a_file_is_hashed_as_it_is_compiled() -> None:
    text = (
        "class Own:\n    '''Doc.'''\n    limit = 3\n    def run(self, x=1):\n        '''Doc.'''\n        return x + 1\n"
    )
    before = digest_of_code(defined(text))
    assert digest_of_code(defined(text.replace("Doc.", "Other."))) == before
    for old, new in (("x + 1", "x + 2"), ("x + 1", "x - 1"), ("x=1", "x=2"), ("limit = 3", "limit = 4")):
        assert digest_of_code(defined(text.replace(old, new))) != before


@pytest.fixture
def own_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    edited.forget()


@pytest.mark.parametrize(
    ("module", "old", "new", "counts"),
    [
        ("evaluations.docvqa", "THRESHOLD = 0.5", "THRESHOLD = 0.4", True),
        ("evaluations.docvqa", "Least similarity", "The least similarity", False),
        ("evaluations.bootstrap", "RESAMPLES = 10_000", "RESAMPLES = 1_000", True),
        ("evaluations.vqa", "dont don't", "dont donut", False),
    ],
)
def test_an_evaluation_depends_on_what_it_computes_with(
    module: str, old: str, new: str, counts: bool, tmp_path: Path, own_package: pytest.MonkeyPatch
) -> None:
    before = digest_of_code(DocVQA, beside=MODEL)
    edited.edit(own_package, tmp_path, module, old, new)
    assert (digest_of_code(DocVQA, beside=MODEL) != before) is counts


def test_evaluations_leave_the_model_to_its_own_key() -> None:
    for evaluation in (DemoQuestions, DocVQA, TextVQA, HarnessTask):
        found = modules_behind(evaluation, beside=MODEL)
        assert evaluation.__module__ in found
        assert "spike_compressor.evaluations.bootstrap" in found
        assert not [name for name in found if name.startswith(MODEL)]
    assert "spike_compressor.evaluations.vqa" in modules_behind(TextVQA)
    assert "spike_compressor.demo.model" in modules_behind(DemoQuestions)  # how questions are put
    assert "spike_compressor.runtime.linear" in modules_behind(HarnessTask)  # were they not left out
