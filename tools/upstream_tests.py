"""LLM Compressor's own unit tests with and without the plug-in imported: they must end alike.

    python tools/upstream_tests.py SOURCE [TEST ...]

SOURCE is a source tree of LLM Compressor, of the release that is installed; TEST are files or folders in it, those
below if left out. Both runs have the installed package, and the tests of the tree. The exit code is 0 where each test
ends the same in both, whatever that is: what fails for want of a network or a GPU fails in both.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

TESTS = (
    "tests/llmcompressor/core",
    "tests/llmcompressor/modeling",
    "tests/llmcompressor/modifiers",
    "tests/llmcompressor/observers",
    "tests/llmcompressor/pipelines",
    "tests/llmcompressor/recipe",
    "tests/llmcompressor/utils",
    "tests/unit",
)
PLUGIN = "spike_compressor"


def outcomes(report: Path) -> dict[str, str]:
    """How each test ended (passed, failed, error, skipped), by its name, from a JUnit report."""
    found = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        name = f"{case.get('classname')}::{case.get('name')}"
        found[name] = {"failure": "failed"}.get(kinds[0], kinds[0]) if kinds else "passed"
    return found


def run(source: Path, tests: Sequence[str], plugin: bool, report: Path) -> dict[str, str]:
    """Run the tests of a source tree once.

    Args:
        source: the tree.
        tests: files or folders in it.
        plugin: import the plug-in before the tests.
        report: where pytest writes its report.

    Raises:
        RuntimeError: pytest wrote none.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", str(report)]
    command += ["--continue-on-collection-errors", *(["-p", PLUGIN] if plugin else [])]
    existing = [test for test in tests if (source / test).exists()]
    # a fixture of theirs counts what is new in the folder for temporary files, whoever wrote it
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TMPDIR": str(report.parent / report.stem)}
    (report.parent / report.stem).mkdir()
    subprocess.run([*command, *existing], cwd=source, env=environment, check=False)
    if not report.is_file():
        raise RuntimeError(f"pytest left no report of {source}")
    return outcomes(report)


def differing(without: dict[str, str], with_plugin: dict[str, str]) -> list[str]:
    """A line for each test that ended otherwise, or ran in one of both alone."""
    names = sorted(without.keys() | with_plugin.keys())
    pairs = [(name, without.get(name, "did not run"), with_plugin.get(name, "did not run")) for name in names]
    return [
        f"{name}: {before} without the plug-in, {after} with it" for name, before, after in pairs if before != after
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("tests", nargs="*", default=TESTS)
    given = parser.parse_args(arguments)
    if not (given.source / "tests").is_dir():
        print(f"{given.source} is no source tree of LLM Compressor: it has no folder tests", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        without, with_plugin = (
            run(given.source, given.tests, plugin, Path(folder, f"{plugin}.xml")) for plugin in (False, True)
        )
    lines = differing(without, with_plugin)
    for line in lines:
        print(line)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(with_plugin.values()).items()))
    print(f"{len(with_plugin)} tests with the plug-in: {counts}; {len(lines)} end otherwise without it")
    return 1 if lines or not with_plugin else 0


if __name__ == "__main__":
    sys.exit(main())
