"""What a campaign has finished, by name, in a file that belongs to the state of the sources.

A campaign that was killed goes on where it was; one whose sources have changed begins anew.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toolchain import BUILD, HARNESS, ROOT, RTL, TB

FOLDER = BUILD / "campaign"


class Ledger:
    """Results of a kind of parts.

    Args:
        kind: of parts, for the file's name.
        sources: all files that the results depend on.
    """

    def __init__(self, kind: str, sources: Iterable[Path]) -> None:
        self.path = FOLDER / f"{kind}-{digest(sources)}.jsonl"
        text = self.path.read_bytes() if self.path.is_file() else b""
        entries = [json.loads(line) for line in text[: _whole(text)].splitlines()]
        self._results: dict[str, dict[str, Any]] = {entry["name"]: entry["result"] for entry in entries}

    def get(self, name: str) -> dict[str, Any] | None:
        """The result of a part; None if it is not finished."""
        return self._results.get(name)

    def add(self, name: str, result: dict[str, Any]) -> None:
        """Keep the result of a part."""
        self._results[name] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two campaigns may be at work
            file.seek(0)
            file.truncate(_whole(file.read()))
            file.write(json.dumps({"name": name, "result": result}).encode() + b"\n")


def _whole(text: bytes) -> int:
    """Bytes of the complete lines: one that was cut off by a kill is a part that was not finished."""
    return text.rfind(b"\n") + 1


def digest(paths: Iterable[Path]) -> str:
    """A short hash of files' names and contents."""
    found = hashlib.sha256()
    for path in sorted(set(paths)):
        found.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:12]


def design() -> list[Path]:
    """All SystemVerilog that simulations compile."""
    return [*RTL.rglob("*.sv"), *RTL.rglob("*.svh"), *HARNESS, *(TB / "hdl").glob("*.vlt")]


def benches(*names: str) -> list[Path]:
    """Bench modules with all that they import from this folder, and the golden model."""
    found: set[Path] = set()
    waiting = [TB / f"{name}.py" for name in names]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [TB / f"{one.name}.py" for one in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                waiting.append(TB / f"{node.module}.py")
    package = ROOT / "plugin" / "spike_compressor"
    return [*found, *(package / "trace").rglob("*.py"), package / "estimate" / "words.py"]
