"""The page of tests that run in environments of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import reports

TESTS = """
import pytest

def test_says():
    print("\\nLOGITS tiny_model: 12 of 12 are equal")
    print("no line for the page")
    print("WARNING: nor is this")

def test_fails():
    assert 1 == 2

def test_is_left_out():
    pytest.skip("no weights")

class TestMore:
    def test_in_a_class(self):
        pass
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("report")
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    run = [sys.executable, "-m", "pytest", "--junitxml=report.xml", "-o", "junit_logging=system-out", "test_some.py"]
    found = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 1, found.stdout
    return tmp_path / "report.xml"


def test_a_section_counts_what_passed_and_repeats_what_was_said(report: Path) -> None:
    (found,) = reports.outcomes(report)
    assert found.file.endswith("test_some.py")
    assert (found.passed, found.skipped, found.failed) == (2, ("no weights",), ("test_fails",))
    assert found.said == ("test_says: LOGITS tiny_model: 12 of 12 are equal",)

    text = reports.section("vllm-test", "make vllm-test", [found], ["pytest", "no-such-package"])
    assert f"pytest {pytest.__version__}, no-such-package missing." in text
    assert "test_some.py | 2 | 1 | 1 |" in text
    assert "- failed: " in text
    assert "- test_says: LOGITS tiny_model: 12 of 12 are equal" in text


def test_a_page_takes_all_sections_or_names_what_lacks(report: Path, tmp_path: Path) -> None:
    sections = [name for name in reports.SECTIONS if name != "ray-test"]
    for name in sections:
        (tmp_path / f"{name}.md").write_text(f"## `make {name}`\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="run make ray-test"):
        reports.page(tmp_path)
    (tmp_path / "ray-test.md").write_text("## `make ray-test`\n", encoding="utf-8")
    assert [line for line in reports.page(tmp_path).splitlines() if line.startswith("## ")] == [
        f"## `make {name}`" for name in reports.SECTIONS
    ]
