"""README.md tells the truth: its program runs, its badges and its table are those of the repository."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
import spike_compressor
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAM = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.split("## What it achieves")[1].split("\n## ")[0].splitlines()
    if line.startswith("| ") and not line.startswith(("| what", "| ---"))
]


def test_there_is_one_program() -> None:
    assert len(PROGRAM) == TEXT.count("```python") == 1
    assert len(ROWS) >= 5


def test_the_program_runs_offline_and_prints_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import llmcompressor  # noqa: F401 - gives its log a place when it is imported
    from loguru import logger

    logger.remove()  # LLM Compressor's log, on standard output as well
    monkeypatch.chdir(tmp_path)
    code, shown = PROGRAM[0]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert printed.getvalue() == shown
    assert (tmp_path / "spiking" / "spike_config.json").is_file()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_each_result_stands_in_the_table_that_it_names(row: list[str]) -> None:
    what, result, label, source = row
    assert re.search("measured|simulated|synthesised|estimated", label)
    named = re.findall(r"\(([^)#]+\.md)", source)
    earlier = [row for row in ROWS[: ROWS.index(row)] if ".md" in row[3]]
    page = (ROOT / (named or re.findall(r"\(([^)#]+\.md)", earlier[-1][3]))[0]).read_text(encoding="utf-8")
    numbers = re.findall(r"(?<!W)\d+(?:\.\d+)?", result)
    assert numbers, what
    assert [number for number in numbers if number not in page] == [], what


def test_badges_say_what_the_package_says() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # tomllib is not in Python 3.10
    low, end = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project).groups()  # type: ignore[union-attr]
    licence = re.search(r'^license = "(.*)"', project, re.MULTILINE).group(1)  # type: ignore[union-attr]
    python = (ROOT / "docs" / "assets" / "badge-python.svg").read_text(encoding="utf-8")
    assert re.findall(r"3\.(\d+)", python)[:2] == [low, str(int(end) - 1)]
    assert f"3.{low} to 3.{int(end) - 1}" in TEXT
    assert f">{licence}<" in (ROOT / "docs" / "assets" / "badge-licence.svg").read_text(encoding="utf-8")


def test_citation_and_changelog_name_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == spike_compressor.__version__
    assert "2604.18610" in citation["references"][0]["url"]
    titles = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert titles[:2] == ["Unreleased", spike_compressor.__version__]


def test_serving_is_what_its_page_says() -> None:
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    server = r"^serving/bin/python -m vllm(?:.*\\\n)*.*$"
    assert re.findall(server, TEXT, re.MULTILINE) == re.findall(server, page, re.MULTILINE)
    assert len(re.findall(server, TEXT, re.MULTILINE)) == 1
    install = r"^serving/bin/pip .*?(?=\s+#|$)"
    assert re.findall(install, TEXT, re.MULTILINE) == re.findall(install, page, re.MULTILINE)
    exports = r"^export VLLM_\w+=\d+"
    assert re.findall(exports, TEXT, re.MULTILINE) == re.findall(exports, page, re.MULTILINE) != []
