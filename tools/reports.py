"""Reports of tests that run in environments of their own, from pytest's XML, as one page.

    python tools/reports.py section NAME COMMAND XML… --packages torch vllm    build/reports/NAME.md
    python tools/reports.py page                                               docs/results/test_full.md of them all

A section is written by the interpreter that ran the tests, whose packages it names. Only the standard library is
imported, so that any of them can.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "build/reports"
PAGE = ROOT / "docs/results/test_full.md"
#: Sections in the order of the page.
SECTIONS = ("test-cuda", "ray-test", "vllm-test", "harness-test")
_HEAD = """# Tests in environments of their own

`make test-full` runs them, each in packages that the others must do without. Here is what each printed when it ran last
(measured: the commands below, then `python tools/reports.py page`).
"""
#: Lines that a test prints for this page, as `LOGITS llava: …`; not those of a log.
_SAID = re.compile(r"^(?!INFO|WARNING|ERROR|DEBUG)[A-Z0-9]{4,}(?: [\w.-]+)?: .+", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What became of the tests of one file."""

    file: str
    passed: int
    skipped: tuple[str, ...]  #: why, a sentence for each
    failed: tuple[str, ...]  #: names of tests
    seconds: float
    said: tuple[str, ...]


def outcomes(path: Path) -> list[Outcome]:
    """The files of one XML report of pytest, in the order in which they ran."""
    cases: dict[str, list[ET.Element]] = {}
    for case in ET.parse(path).getroot().iter("testcase"):
        cases.setdefault(_file(case), []).append(case)
    return [_outcome(name, of) for name, of in cases.items()]


def _file(case: ET.Element) -> str:
    """`tests.integrations.vllm.test_text` or a class in it: the module alone. An error of collection has no class."""
    parts = (case.get("classname") or case.get("name") or "?").split(".")
    last = max((n for n, part in enumerate(parts) if part.startswith("test_")), default=len(parts) - 1)
    return "/".join(parts[: last + 1]) + ".py"


def _outcome(name: str, cases: Sequence[ET.Element]) -> Outcome:
    skipped = [one for case in cases for one in case.findall("skipped")]
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    said = [
        (case, line) for case in cases for out in case.findall("system-out") for line in _SAID.findall(out.text or "")
    ]
    return Outcome(
        file=name,
        passed=len(cases) - len(skipped) - len(failed),
        skipped=tuple(one.get("message") or "" for one in skipped),
        failed=tuple(case.get("name") or "?" for case in failed),
        seconds=sum(float(case.get("time") or 0) for case in cases),
        said=tuple(f"{case.get('name')}: {line}" for case, line in said),
    )


def section(name: str, command: str, results: Sequence[Outcome], packages: Sequence[str]) -> str:
    """One section of the page."""
    versions = ", ".join(f"{one} {_version(one)}" for one in packages)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    lines = [
        f"## `{command}`",
        "",
        f"{today}, Python {platform.python_version()}, {_processor()}, {os.cpu_count()} cores; {versions}.",
        "",
        "| file | passed | skipped | failed | seconds |",
        "| --- | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {one.file} | {one.passed} | {len(one.skipped)} | {len(one.failed)} | {one.seconds:,.0f} |"
        for one in results
    ]
    told = [f"- failed: {one.file}: {test}" for one in results for test in one.failed]
    told += [f"- skipped: {one.file}: {why}" for one in results for why in dict.fromkeys(one.skipped)]
    told += [f"- {line}" for one in results for line in one.said]
    return "\n".join([*lines, *(["", *told] if told else [])]).replace(f"{ROOT}/", "") + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.machine()


def page(reports: Path) -> str:
    """The page of the sections that are there.

    Raises:
        FileNotFoundError: one of them is not.
    """
    missing = [name for name in SECTIONS if not (reports / f"{name}.md").exists()]
    if missing:
        raise FileNotFoundError(f"{reports} has no report of {', '.join(missing)}: run make {' '.join(missing)}")
    return "\n".join([_HEAD, *((reports / f"{name}.md").read_text(encoding="utf-8") for name in SECTIONS)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)
    one = actions.add_parser("section")
    one.add_argument("name", choices=SECTIONS)
    one.add_argument("command")
    one.add_argument("xml", type=Path, nargs="+")
    one.add_argument("--packages", nargs="+", required=True)
    actions.add_parser("page")
    args = parser.parse_args(arguments)
    try:
        if args.action == "page":
            PAGE.write_text(page(REPORTS), encoding="utf-8")
        else:
            results = [outcome for path in args.xml for outcome in outcomes(path)]
            REPORTS.mkdir(parents=True, exist_ok=True)
            text = section(args.name, args.command, results, args.packages)
            (REPORTS / f"{args.name}.md").write_text(text, encoding="utf-8")
    except (FileNotFoundError, ET.ParseError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
