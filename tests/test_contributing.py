"""CONTRIBUTING.md, followed word for word in a copy of the tree: its files are written, its commands run and pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^```sh\n\.venv/bin/python -m pytest (.*?)\n```$", re.MULTILINE)
PYTHON = ("Add a coding", "Add a statistic", "Add an architecture", "Add an allocation")


class Section:
    """A recipe: the new file, its test, and what the command runs."""

    def __init__(self, title: str) -> None:
        text = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
        (self.file, self.code), (self.test, self.test_code) = FILE.findall(text)
        (command,) = COMMAND.findall(text)
        self.arguments = command.split()

    def follow(self, tree: Path) -> None:
        """Write both files; neither may be there yet."""
        for path, text in ((self.file, self.code), (self.test, self.test_code)):
            assert not (tree / path).exists(), f"{path} is there already; the recipe should add another one"
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text, encoding="utf-8")


def copied(tree: Path, *names: str) -> Path:
    """The parts of the repository that a command needs."""
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, tree / name)
    return tree


def outcomes(tree: Path, arguments: list[str]) -> dict[str, set[str]]:
    """Runs pytest as the page says; test file -> what its tests did."""
    report = tree / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(tree / "plugin"), "PYTEST_ADDOPTS": ""}
    ran = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    print(ran.stdout, ran.stderr)  # for whoever sees this test fail
    assert report.is_file()
    found: dict[str, set[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        name = (case.get("classname") or case.get("name") or "").replace(".", "/") + ".py"
        problems = {child.tag for child in case if child.tag in ("failure", "error", "skipped")}
        found.setdefault(name, set()).update(problems or {"passed"})
    return found


def test_each_recipe_is_one_file_and_its_test() -> None:
    titles = re.findall(r"^## (Add .*)$", PAGE, re.MULTILINE)
    assert titles == [*PYTHON, "Add an RTL variant"]
    for title in titles:
        assert Section(title).test in Section(title).arguments
    assert len(FILE.findall(PAGE)) == 2 * len(titles)


def test_the_python_recipes_work_and_their_tests_can_fail(tmp_path: Path) -> None:
    tree = copied(tmp_path, "plugin", "tests", "pyproject.toml", "README.md")
    sections = [Section(title) for title in PYTHON]
    for section in sections:
        section.follow(tree)
    found = outcomes(tree, [argument for section in sections for argument in section.arguments])
    assert found.keys() == {argument for section in sections for argument in section.arguments}
    assert set().union(*found.values()) == {"passed"}, found

    for section in sections:
        (tree / section.file).unlink()
    found = outcomes(tree, [section.test for section in sections])
    for section in sections:
        assert found[section.test] & {"failure", "error"}, f"{section.test} passes without {section.file}"


@pytest.mark.slow
def test_the_rtl_recipe_works_and_its_test_can_fail(tmp_path: Path) -> None:
    pytest.importorskip("cocotb")
    tree = copied(tmp_path, "plugin", "tb", "rtl", "pyproject.toml", "README.md")
    for runtime in (ROOT / "build" / "rtl").glob("runtime-*"):  # Verilator's own library, compiled for other benches
        shutil.copytree(runtime, tree / "build" / "rtl" / runtime.name)
    section = Section("Add an RTL variant")
    section.follow(tree)
    wrong = section.code.replace("sum_o + operands_i[i]", "sum_o | operands_i[i]")
    assert wrong != section.code
    assert outcomes(tree, section.arguments) == {section.test: {"passed"}}
    (tree / section.file).write_text(wrong, encoding="utf-8")
    assert "failure" in outcomes(tree, section.arguments)[section.test]
