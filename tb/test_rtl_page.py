"""The page of reports of `make rtl-bench`: what its JSON says, and below it what stood there."""

from __future__ import annotations

import rtl_page


def test_the_committed_page_is_what_its_json_says(tmp_path):
    """And the tables that stood there before stay below."""
    committed = rtl_page.OUT.with_suffix(".md")
    out = tmp_path / "rtl_bench.json"
    out.write_text(rtl_page.OUT.read_text())
    out.with_suffix(".md").write_text(committed.read_text())
    assert rtl_page.main(["--again", "--out", str(out)]) == 0
    assert out.with_suffix(".md").read_text() == committed.read_text()
    assert rtl_page.before(committed).count("spike core 16 lanes x 64 columns, 16 slots: cycles simulated") == 4


def test_a_report_that_is_none(tmp_path, capsys):
    """The message names the file, and nothing is written."""
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")
    assert rtl_page.main([str(wrong), "--out", str(tmp_path / "page.json")]) == 2
    assert "wrong.json: no report of `make rtl-bench`" in capsys.readouterr().err
    assert not (tmp_path / "page.json").exists()
