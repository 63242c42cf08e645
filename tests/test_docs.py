"""The documentation has what it should, and it runs: Python blocks as they stand, recipes, commands, links."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from helpers.workshop import GPTQ, Processor, Workshop, recipe
from llmcompressor.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for where in ("", "docs/", "docs/results/", "examples/") for path in ROOT.glob(f"{where}*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:\.venv/bin/)?(spike-compressor|make) ")

#: page -> what it must have at least, so that blocks that vanish, or are fenced so that no test sees them, are noticed.
#: `command` counts lines that call spike-compressor or make, fenced or indented.
SHOWS: dict[str, dict[str, int]] = {
    "README.md": {"python": 1, "text": 1, "sh": 2, "command": 4, "table": 2, "link": 20, "picture": 1},
    "CHANGELOG.md": {"link": 1},
    "SECURITY.md": {"link": 3},
    "CONTRIBUTING.md": {"python": 6, "systemverilog": 1, "sh": 5, "command": 1, "link": 8},
    "docs/architectures.md": {"table": 4, "link": 2},
    "docs/architecture.md": {"python": 2, "text": 1, "toml": 1, "table": 3, "link": 10},
    "docs/benchmarks.md": {"python": 1, "text": 1, "sh": 1, "command": 1, "table": 1},
    "docs/big_models.md": {"py": 2, "table": 2, "link": 6},
    "docs/checkpoint.md": {"yaml": 1, "python": 1, "table": 6, "link": 2},
    "docs/compare.md": {"python": 2, "text": 2, "sh": 7, "command": 4, "table": 7, "link": 14},
    "docs/demo.md": {"command": 4, "table": 3, "link": 4},
    "docs/glossary.md": {"table": 3, "link": 2},
    "docs/gpu.md": {"sh": 1, "table": 1, "link": 2},
    "docs/hardware.md": {"sh": 1, "command": 4, "table": 5, "link": 25, "picture": 1},
    "docs/kernels.md": {"sh": 1, "command": 1, "table": 2, "link": 1},
    "docs/licences.md": {"table": 3, "link": 1},
    "docs/limits.md": {"link": 5},
    "docs/reliability.md": {"table": 3, "link": 2},
    "docs/moe.md": {"yaml": 1, "table": 2, "link": 1},
    "docs/msts.md": {"sh": 1, "table": 3, "link": 10, "picture": 1},
    "docs/numerics.md": {"python": 12, "text": 12, "table": 4, "link": 10},
    "docs/performance.md": {"sh": 1, "table": 5, "link": 5},
    "docs/qwen2vl.md": {"python": 2, "text": 2, "sh": 5, "json": 1, "command": 2, "table": 1, "link": 8},
    "docs/reconstruction.md": {"yaml": 1, "sh": 1, "table": 2},
    "docs/recipes.md": {"yaml": 6, "python": 8, "text": 6, "table": 10, "link": 25},
    "docs/registers.md": {"table": 2, "link": 1},
    "docs/rtl.md": {"command": 7, "table": 4, "link": 5, "picture": 4},
    "docs/rtl_backend.md": {"py": 2, "command": 5, "table": 4, "link": 4},
    "docs/serving.md": {"py": 1, "sh": 3, "command": 1, "table": 3, "link": 8},
    "docs/smoothing.md": {"yaml": 1, "sh": 1, "table": 2},
    "docs/synthesis.md": {"command": 7, "table": 2, "link": 2},
    "docs/traces.md": {"python": 1, "table": 5},
    "docs/training.md": {"py": 1, "link": 3},
    "docs/verification.md": {"command": 2, "table": 2, "link": 2},
    "docs/results/README.md": {"link": 8},
    "docs/results/rtl_bench.md": {"table": 1, "link": 2},
    "docs/results/rtl_full.md": {"table": 3, "link": 1},
    "docs/results/rtl_shapes.md": {"table": 2},
    "examples/README.md": {"table": 1, "link": 5},
}
#: page with Python blocks -> file that runs them
RUN = {
    "README.md": "tests/test_readme.py",
    "CONTRIBUTING.md": "tests/test_contributing.py",
    "docs/numerics.md": "tests/coding/test_numerics_doc.py",
    "docs/traces.md": "tests/trace/test_bundle.py",
}
#: pages whose Python blocks this file runs, one after the other, in one session
RUN_HERE = (
    "docs/architecture.md",
    "docs/benchmarks.md",
    "docs/checkpoint.md",
    "docs/compare.md",
    "docs/qwen2vl.md",
    "docs/recipes.md",
)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(text: str, language: str) -> list[tuple[str, str | None]]:
    """Code of each block, and what the text block under it shows."""
    return [(block[2], block[3]) for block in BLOCK.finditer(text) if block[1] == language]


def commands(text: str) -> list[str]:
    """Shell lines that call spike-compressor or make, in fences or indented; a line that goes on is joined."""
    shell = "".join(code for code, _ in blocks(text, "sh"))
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^ {4}(\S.*)$", prose, re.MULTILINE)
    lines = [*shell.replace("\\\n", " ").splitlines(), *indented]
    return [line.removeprefix(".venv/bin/") for line in lines if COMMAND.match(line)]


def counted(text: str) -> Counter[str]:
    """How many there are of what `SHOWS` names."""
    found = Counter(re.findall(r"^```(\w+)\n.*?^```$", text, re.DOTALL | re.MULTILINE))
    found["table"] = len(re.findall(r"^\|(?:\s*:?-+:?\s*\|)+$", text, re.MULTILINE))
    found["link"] = len(LINK.findall(text))
    found["picture"] = text.count("![")
    found["command"] = len(commands(text))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_has_what_it_should(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = counted(text)
    name = name_of(page)
    if name not in SHOWS and name.startswith("docs/results/"):
        assert found["table"] >= 1, "a page of results has a table"
        return
    missing = {kind: (least, found[kind]) for kind, least in SHOWS[name].items() if found[kind] < least}
    assert not missing, f"{name} should have at least, and has: {missing}"
    unchecked = set(found) - set(SHOWS[name]) - {"table", "link", "picture", "command"}
    assert not unchecked, f"blocks of {sorted(unchecked)} are not in SHOWS"
    assert not re.search(r"\A```$|\n\n```$", text, re.MULTILINE), "a block without a language is checked by nobody"


@pytest.mark.parametrize("name", SHOWS)
def test_blocks_that_vanish_are_noticed(name: str) -> None:
    """Without its fences, tables, commands or links a page falls below its row of the table."""
    text = (ROOT / name).read_text(encoding="utf-8")
    without = re.sub(r"^```.*?^```$|^\|.*$|^ {4}\S.*$|\]\([^)\s]+\)", "", text, flags=re.DOTALL | re.MULTILINE)
    assert all(counted(without)[kind] < least for kind, least in SHOWS[name].items() if kind != "picture")


def test_every_python_block_is_run_by_a_test() -> None:
    for page in PAGES:
        name = name_of(page)
        if blocks(page.read_text(encoding="utf-8"), "python"):
            assert (name in RUN) != (name in RUN_HERE), f"{name}: who runs its Python blocks?"
    for name, file in RUN.items():
        assert Path(name).name in (ROOT / file).read_text(encoding="utf-8")


@pytest.fixture
def own_registries() -> Iterator[None]:
    """What the examples register is forgotten afterwards, in whichever table it stands."""
    from spike_compressor.registry import Registry

    for module in ("cli.command", "evaluations.base", "modifiers.allocation.base", "runtime.backends"):
        import_module(f"spike_compressor.{module}")
    ours = [module for name, module in sys.modules.items() if name.startswith("spike_compressor")]
    tables = {id(table): table for module in ours for table in vars(module).values() if isinstance(table, Registry)}
    assert len({table.kind for table in tables.values()}) >= 7
    with contextlib.ExitStack() as stack:
        for table in tables.values():
            stack.enter_context(table.temporarily())
        yield


@pytest.mark.parametrize("name", RUN_HERE)
def test_python_blocks_run_and_print_what_is_shown(
    name: str, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_registries: None
) -> None:
    monkeypatch.chdir(tmp_path)
    session: dict[str, object] = {"__name__": "__main__"}
    if name == "docs/checkpoint.md":  # its one block begins with a model, its data and a recipe of the reader's
        session |= {"model": workshop.model("llava"), "processor": Processor(), "batches": workshop.data("llava")}
        Path("recipe.yaml").write_text(recipe(GPTQ), encoding="utf-8")
    for code, shown in blocks((ROOT / name).read_text(encoding="utf-8"), "python"):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, name, "exec"), session)
        assert printed.getvalue() == (shown or ""), code


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_other_blocks_are_well_formed(page: Path) -> None:
    """Programs for other environments compile, project files and shell lines parse."""
    text = page.read_text(encoding="utf-8")
    for code, _ in blocks(text, "py"):
        compile(code, page.name, "exec")
    for code, _ in blocks(text, "sh"):
        assert subprocess.run(["bash", "-n"], input=code, text=True, capture_output=True).stderr == ""
    for code, _ in blocks(text, "toml"):
        tomllib = pytest.importorskip("tomllib")  # not in Python 3.10
        assert tomllib.loads(code)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_recipes_parse(page: Path) -> None:
    for code, _ in blocks(page.read_text(encoding="utf-8"), "yaml"):
        kinds = [kind for stage in yaml.safe_load(code).values() for group in stage.values() for kind in group]
        assert [type(modifier).__name__ for modifier in Recipe.create_instance(code).modifiers] == kinds
        learns = kinds[-1:] == ["SpikeReconstructionModifier"]
        assert kinds[-2 if learns else -1] == "TCLIFModifier"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
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


MAKEFILES = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "rtl/rtl.mk"))


def made(makefiles: str) -> set[str]:
    """What has a rule; `.PHONY` alone makes none."""
    return set(re.findall(r"^([\w-]+):", makefiles, re.MULTILINE))


def test_targets_have_rules() -> None:
    """Of all that the Makefiles list or any page names; `make` is silent about those of `.PHONY` without one."""
    listed = " ".join(re.findall(r"^\.PHONY: (.*)", MAKEFILES, re.MULTILINE)).split()
    listed += re.findall(r"^# +make ([\w-]+)", MAKEFILES, re.MULTILINE)
    for page in PAGES:
        listed += re.findall(r"`make ([a-z][\w-]*)", page.read_text(encoding="utf-8"))
    assert set(listed) - made(MAKEFILES) == set()
    assert made(".PHONY: fuzz\n# make fuzz\n") == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_parse(page: Path) -> None:
    """Arguments of `spike-compressor …` exist, and so do the targets of `make …`."""
    from spike_compressor.cli.program import _parser

    targets = made(MAKEFILES)
    for line in commands(page.read_text(encoding="utf-8")):
        words = re.split(r"  +(?=[^-\s])|[|#]", line)[0].split() if line.startswith("make ") else []
        for target in words[1:]:
            if "=" not in target:
                assert target in targets, line
                break
        if not words:
            _parser().parse_args(shlex.split(line.split("|")[0], comments=True)[1:])
