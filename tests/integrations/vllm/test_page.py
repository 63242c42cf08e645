"""The program of docs/serving.md as it stands, in a file of its own: the end of its engine ends all in a process."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("vllm")


def test_the_program_of_the_documentation_runs(
    checkpoint: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```py\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "out" / "demo").mkdir(parents=True)
    (tmp_path / "out" / "demo" / "checkpoint").symlink_to(checkpoint("embedded").resolve())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/serving.md", "exec"), {"__name__": "__main__"})
    assert re.search(r"^read .*\? [\w ]+ \(right: .*\)$", capsys.readouterr().out, re.MULTILINE)
