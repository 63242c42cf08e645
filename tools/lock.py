"""What continuous integration installs, each file by its SHA-256: `locks/cp311-linux-x86_64.txt`, one for each Python.

    python tools/lock.py make         resolve the packages anew (`make lock-file`) and write this Python's lock
    python tools/lock.py install      install what it lists into this Python's environment (`make locked-setup`)

Where a file has another hash, nothing is installed. Versions are those of constraints.txt. Builds that a machine's own
index has under a local version (`torch 2.13.0+cpu`) are left out: on other machines their bytes are others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "locks"
#: What .ci/run installs: groups of pyproject.toml, the package with what its tests take, and pip itself.
GROUPS = ("rtl", "verify", "test", "lint", "docs")
REQUIREMENTS = ("torch", ".[eval]", "pip")
#: Stands behind packages that are built here.
SOURCE = "# built from source"


def tag() -> str:
    """Which Python this is, on which platform: the name of its lock."""
    return f"cp{sys.version_info[0]}{sys.version_info[1]}-{sysconfig.get_platform()}"


def normal(name: str) -> str:
    """A package's name as indexes spell it."""
    return name.lower().replace("_", "-").replace(".", "-")


def lines_of(report: Mapping[str, Any]) -> list[str]:
    """The lines of a lock, sorted, from pip's report of what it would install.

    Raises:
        ValueError: a package that pip knows no SHA-256 of.
    """
    lines = []
    for entry in report["install"]:
        name, version = normal(entry["metadata"]["name"]), entry["metadata"]["version"]
        download = entry["download_info"]
        if "dir_info" in download or "+" in version:
            continue
        digest = download.get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is None:
            raise ValueError(f"{name} {version} comes without a SHA-256")
        built = "" if download["url"].endswith(".whl") else f"  {SOURCE}"
        lines.append(f"{name}=={version} --hash=sha256:{digest}{built}")
    return sorted(lines)


def read(lock: Path) -> list[str]:
    """The lines of a lock without its heading."""
    return [line for line in lock.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def make() -> Path:
    """Write the lock of this Python; returns its path."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        groups = [word for group in GROUPS for word in ("--group", group)]
        _pip("install", "--dry-run", "--ignore-installed", "--report", str(report), "--constraint", "constraints.txt",
             *groups, *REQUIREMENTS)  # fmt: skip
        lines = lines_of(json.loads(report.read_text(encoding="utf-8")))
    LOCKS.mkdir(exist_ok=True)
    lock = LOCKS / f"{tag()}.txt"
    lock.write_text("# Made by `make lock-file`; `make locked-setup` installs it.\n" + "\n".join(lines) + "\n")
    return lock


def install(lock: Path, *options: str) -> None:
    """Install what a lock lists, no dependency beside it; wheels first, as what is built needs some of them.

    Args:
        lock: to install.
        options: of pip install.

    Raises:
        CalledProcessError: a file has another hash, or pip found none.
    """
    lines = read(lock)
    wheels = [line for line in lines if SOURCE not in line]
    sources = [line.partition("  #")[0] for line in lines if SOURCE in line]
    for some, how in ((wheels, ("--only-binary", ":all:")), (sources, ("--no-build-isolation",))):
        if not some:
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(some) + "\n")
            file.flush()
            _pip("install", "--require-hashes", "--no-deps", *how, *options, "--requirement", file.name)


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments, "--quiet"], check=True, cwd=ROOT)


def main(arguments: Sequence[str] | None = None) -> int:
    """What the command line does; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("make", "install"))
    what = parser.parse_args(arguments).what
    lock = LOCKS / f"{tag()}.txt"
    try:
        if what == "make":
            print(f"{len(read(make()))} packages in {lock.relative_to(ROOT)}")
        elif lock.is_file():
            install(lock)
        else:
            print(f"no {lock.relative_to(ROOT)}: packages are installed by version alone")
    except subprocess.CalledProcessError:
        print(f"{lock.relative_to(ROOT)} and what the index has do not agree; see above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
