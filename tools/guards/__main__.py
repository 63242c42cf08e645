"""Take every guard of the package away, one by one, and see a test fail: `make guards`.

    python -m guards [TEST …] [--processes N]        from tools/; all tests but the slow ones, if left out

A guard is a statement that raises an error of the package's own making (`sites`). Tests run as they are, and again
without each guard that raised in them (`plugin`). What is found is kept in build/guards/ by module, so a run of some
tests adds to what others found; what was found of a module that has changed since is forgotten. Ends with code 1 if
a guard could be taken away unseen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from guards.sites import all_guards

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "plugin" / "spike_compressor"
BUILD = ROOT / "build" / "guards"
#: What `make vllm-test`, `harness-test` and `ray-test` are for.
ELSEWHERE = ("integrations/", "comparison/engines/on_ray")
PAGE = ROOT / "docs" / "results" / "guards.md"


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="guards", description=__doc__.partition("\n")[0])
    parser.add_argument("tests", nargs="*", default=["tests"], help="files or folders (default: tests)")
    parser.add_argument("--processes", type=int, default=1, help="of pytest (default: 1)")
    parser.add_argument("--report-only", action="store_true", help="write the page from what was found before")
    args = parser.parse_args()
    _forget_what_changed()
    if not args.report_only:
        environment = {**os.environ, "GUARDS_FOLDER": str(BUILD), "OMP_NUM_THREADS": "1"}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "guards.plugin",
            "-q",
            "-m",
            "not slow",
            "-p",
            "no:cacheprovider",
        ]
        if args.processes > 1:
            command += ["-n", str(args.processes), "--dist", "loadfile"]
        python_path = os.pathsep.join([str(ROOT / "tools"), os.environ.get("PYTHONPATH", "")])
        subprocess.run([*command, *args.tests], cwd=ROOT, env={**environment, "PYTHONPATH": python_path}, check=False)
    found = {entry["guard"]: entry for entry in map(_read, sorted(BUILD.glob("*.json")))}
    PAGE.write_text(page(list(all_guards(PACKAGE)), found), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))
    return int(any(not entry["missed"] for entry in found.values()))


def page(places: list[str], found: dict[str, dict[str, Any]]) -> str:
    """The report."""
    missed = [place for place in places if place in found and found[place]["missed"]]
    unseen = [place for place in places if place in found and not found[place]["missed"]]
    unreached = [place for place in places if place not in found]
    elsewhere = [place for place in unreached if place.startswith(ELSEWHERE)]
    unreached = [place for place in unreached if place not in elsewhere]
    lines = [
        "# Guards taken away",
        "",
        "Label: measured by `make guards`. A guard is a statement of the package that raises an error; each was taken",
        "away, and the tests that it had raised in were run without it. Only what is raised in the process of the test",
        "itself is seen, not in programs that a test starts; and only tests that `make test` has. After eight tests",
        "that reach a guard and do not miss it, no other is tried.",
        "",
        "| | guards |",
        "| --- | --: |",
        f"| in all | {len(places)} |",
        f"| taken away, and a test failed | {len(missed)} |",
        f"| taken away, and no test failed | {len(unseen)} |",
        f"| of engines and harnesses that have tests in environments of their own | {len(elsewhere)} |",
        f"| no test raises it in its own process | {len(unreached)} |",
    ]
    for title, some in (("Taken away unseen", unseen), ("Not raised", unreached)):
        if some:
            lines += ["", f"## {title}", "", *(f"- `{place}`{_source(place)}" for place in some)]
    return "\n".join(lines) + "\n"


def _source(place: str) -> str:
    name, _, line = place.partition(":")
    text = (PACKAGE / name).read_text(encoding="utf-8").splitlines()[int(line) - 1].strip()
    return f": `{text}`" if "`" not in text else ""


def _read(path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(path.read_text())
    return entry


def _forget_what_changed() -> None:
    """Delete what was found of modules as they are no more."""
    BUILD.mkdir(parents=True, exist_ok=True)
    known = BUILD / "modules"
    before = dict(line.split(" ") for line in known.read_text().splitlines()) if known.is_file() else {}
    now = {
        path.relative_to(PACKAGE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    for path in BUILD.glob("*.json"):
        name = _read(path)["guard"].partition(":")[0]
        if before.get(name) != now.get(name):
            path.unlink()
    known.write_text("".join(f"{name} {digest}\n" for name, digest in now.items()))


if __name__ == "__main__":
    sys.exit(main())
