"""Tables: aligned, in order, and whole, however narrow the terminal is."""

from __future__ import annotations

import pytest
from spike_compressor.tables import print_table

NAME = "model.language_model.layers.0.self_attn.[q_proj]." + "deeper." * 12


def test_names_are_never_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_table(("layer", "T"), [(NAME, "3"), ("b", "12")], title="a title", total=("all", "15"))
    title, heading, first, second, last = (line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert title == "a title"
    assert heading.split() == ["layer", "T"]
    assert first.split() == [NAME, "3"]
    assert second.split() == ["b", "12"]
    assert last.split() == ["all", "15"]
    assert len(heading) == len(first) == len(second) == len(last)  # figures end in one column


def test_text_columns_are_aligned_at_their_left(capsys: pytest.CaptureFixture[str]) -> None:
    print_table((), [("a", "first"), ("bcd", "second word")], text=2)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == ["a    first", "bcd  second word"]
