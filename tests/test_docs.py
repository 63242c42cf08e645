"""The documentation runs: Python blocks as they stand, recipes parse, links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from llmcompressor.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(page: Path, language: str) -> list[tuple[str, str | None]]:
    """Code of each block, and what the text block under it shows."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [(block[2], block[3]) for block in found if block[1] == language]


@pytest.fixture
def own_registries() -> Iterator[None]:
    """What the examples register is forgotten afterwards."""
    from spike_compressor.cli.command import COMMANDS
    from spike_compressor.coding.base import CODINGS
    from spike_compressor.evaluations.base import EVALUATIONS
    from spike_compressor.modality.base import ADAPTERS
    from spike_compressor.modifiers.allocation.base import ALLOCATIONS
    from spike_compressor.runtime.backends import BACKENDS

    with contextlib.ExitStack() as stack:
        for table in (ADAPTERS, ALLOCATIONS, BACKENDS, CODINGS, COMMANDS, EVALUATIONS):
            stack.enter_context(table.temporarily())
        yield


@pytest.mark.parametrize(
    ("name", "least"), [("recipes.md", 4), ("architecture.md", 2), ("benchmarks.md", 1), ("compare.md", 2)]
)
def test_python_blocks_run_and_print_what_is_shown(
    name: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_registries: None
) -> None:
    from loguru import logger

    logger.remove()
    monkeypatch.chdir(tmp_path)
    examples = blocks(ROOT / "docs" / name, "python")
    assert len(examples) >= least
    session: dict[str, object] = {"__name__": "__main__"}
    for code, shown in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"docs/{name}", "exec"), session)
        assert printed.getvalue() == (shown or ""), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_recipes_parse(page: Path) -> None:
    for code, _ in blocks(page, "yaml"):
        kinds = [kind for stage in yaml.safe_load(code).values() for group in stage.values() for kind in group]
        assert [type(modifier).__name__ for modifier in Recipe.create_instance(code).modifiers] == kinds
        assert kinds[-1] == "TCLIFModifier"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert anchor in anchors, target


def test_every_field_of_the_modifiers_is_documented() -> None:
    from llmcompressor.modifiers import Modifier
    from spike_compressor import MSTSModifier, TCLIFModifier

    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for modifier in (MSTSModifier, TCLIFModifier):
        section = page.split(f"## {modifier.__name__}\n")[1].split("\n## ")[0]
        rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, re.MULTILINE))
        assert set(rows) == set(modifier.model_fields) - set(Modifier.model_fields)
        for field, default in rows.items():
            value = modifier.model_fields[field].get_default(call_default_factory=True)
            written = default.strip("`")
            assert yaml.safe_load("null" if written == "none" else written) == value, field


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    """Every `spike-compressor …` line in a shell block has arguments that exist."""
    import shlex

    from spike_compressor.cli.program import _parser

    for code, _ in blocks(page, "sh"):
        for line in code.replace("\\\n", " ").splitlines():
            if line.startswith("spike-compressor "):
                _parser().parse_args(shlex.split(line.split("|")[0], comments=True)[1:])
