"""Documentation names files and folders that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "plugin" / "spike_compressor"
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")} - {ROOT / "CHANGELOG.md"})
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|sv|svh|md|core|yaml|toml))(?::\d+)?`")
#: What a user or a run makes, what stands for a name, and budgets.
MADE = re.compile(
    r"^(out|build|spiking|trace|my-trace|compared|weights|cells|checkpoint|dist)/|[A-Z]{3,}/|^\.venv/|^\d/\d$"
)
#: Files of a checkpoint or a report, of a user, of other projects.
ELSEWHERE = {
    "recipe.yaml",
    "plan.yaml",
    "calibration.jsonl",
    "run.py",
    "report.md",
    "run_spiking.py",
    "my_models.py",
    "vqaEval.py",
    "No/Yes",
    "write_bundle.py",
    "README.md",
    "spike_compressor/kernels/libspike_kernels.so",
}


def named(page: Path) -> list[str]:
    """Paths in backticks outside blocks of code."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [path for path in PATH.findall(text) if not MADE.search(path) and path not in ELSEWHERE]


def new_files(page: Path) -> set[str]:
    """Files that the page asks to be written: a path alone on a line, and its content in the block below."""
    return set(re.findall(r"^`([\w/.]+)`:\n\n```", page.read_text(encoding="utf-8"), re.MULTILINE))


def exists(page: Path, path: str) -> bool:
    """From the repository, the page, the package or the hardware; or the name of a file somewhere in the tree."""
    bases = (ROOT, page.parent, PACKAGE, ROOT / "rtl", ROOT / "tb", ROOT / "docs")
    if any((base / path).exists() for base in bases):
        return True
    parents = (ROOT / "rtl", ROOT / "tb", ROOT / "benchmarks", PACKAGE, ROOT / "recipes", ROOT / "tools")
    return any(found for parent in parents for found in parent.rglob(path))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_paths_exist(page: Path) -> None:
    expected = new_files(page)
    assert [path for path in named(page) if path not in expected and not exists(page, path)] == []


def test_paths_are_found_at_all() -> None:
    assert len(PAGES) >= 15
    assert sum(len(named(page)) for page in PAGES) > 100
    assert not exists(ROOT / "README.md", "compare/sweep.py")
