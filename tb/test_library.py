"""The builder of the simulated core's library: what its options make of a core, and where the library goes."""

from __future__ import annotations

import library
import pytest
from images import Shape
from toolchain import ToolError


def test_sizes_and_folder(monkeypatch, tmp_path, capsys):
    made, shapes = tmp_path / "made.so", []
    made.write_bytes(b"a library")
    monkeypatch.setattr(library, "library", lambda shape: shapes.append(shape) or made)
    folder = tmp_path / "there" / "rtl"
    arguments = ["--rows", "2", "--columns", "32", "--lanes", "8", "--slots", "4", "--inputs", "100"]
    assert library.main([str(folder), *arguments]) == 0
    assert shapes == [Shape(rows=2, columns=32, lanes=8, slots=4, weight_inputs=8, blocks=4)]
    assert capsys.readouterr().out.strip() == str(folder / library.NAME)
    assert [path.name for path in folder.iterdir()] == [library.NAME]
    assert (folder / library.NAME).read_bytes() == b"a library"
    assert library.main([str(folder)]) == 0
    assert shapes[1] == library.DEFAULT
    assert shapes[1].capacity == 32_768


def test_a_tool_that_is_missing_is_one_line(monkeypatch, tmp_path, capsys):
    def fails(shape):
        raise ToolError("no Verilator; `make rtl-setup` installs one")

    monkeypatch.setattr(library, "library", fails)
    assert library.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: no Verilator; `make rtl-setup` installs one\n"
    assert not list(tmp_path.iterdir())


def test_sizes_that_no_core_has_are_refused(tmp_path):
    with pytest.raises(ToolError, match="Lanes has to be a power of two"):
        library.library(Shape(lanes=6, weight_inputs=6, slots=4, blocks=8))
