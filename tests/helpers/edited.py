"""This package as if one of its files had been edited, for tests of what a hash of code notices."""

from __future__ import annotations

from pathlib import Path

import pytest
from spike_compressor import fingerprint_code

_FIND = fingerprint_code._file


def forget() -> None:
    """Imports are followed again, as a fresh process follows them."""
    fingerprint_code._closure.cache_clear()


def edit(monkeypatch: pytest.MonkeyPatch, folder: Path, module: str, old: str, new: str) -> None:
    """From here on `spike_compressor.MODULE` is read as if `new` stood in its file in place of `old`.

    The caller calls `forget` when `monkeypatch` has been undone.
    """
    name = f"spike_compressor.{module}"
    original = _FIND(name)
    assert original is not None, module
    text = original.read_text(encoding="utf-8")
    assert old in text, (module, old)
    copy = folder / f"{module}.py"
    copy.write_text(text.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(fingerprint_code, "_file", lambda wanted: copy if wanted == name else _FIND(wanted))
    forget()
