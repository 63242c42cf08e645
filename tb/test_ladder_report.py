"""The ladder's page: what its JSON says, and how far rungs are from FP16."""

from __future__ import annotations

import json
import sys

import pytest
from toolchain import ROOT

sys.path.insert(0, str(ROOT / "rtl" / "synth"))

import ladder_report


def rung(name, area, macs, energy):
    """An entry whose clock has 2 ns."""
    return {
        "name": name,
        "area_um2": {"columns": area},
        "macs_per_cycle": macs,
        "energy_pj_per_mac": {"columns": energy},
        "period_ns": 2.0,
        "column_um2_per_mac": 1.0,
    }


def library(*rungs):
    """A library of these rungs."""
    return {"name": "One", "rungs": {one["name"]: one for one in rungs}}


def test_factors_over_others():
    """Twice the work on a tenth of the area is twenty times; a library without FP16 has no table of them."""
    floats, groups = rung(ladder_report.FLOATS, 1000, 10, 50.0), rung("groups, INT4, S = 7", 100, 20, 2.0)
    (found,) = ladder_report.factors(library(floats, groups))
    assert found == ("groups, INT4, S = 7", ladder_report.FLOATS, pytest.approx(20), pytest.approx(25))
    text = "\n".join(ladder_report.over({"one": library(floats, groups)}))
    assert "20.0 times FP16's work, for 1/25.0 of its energy. It reaches 20 times in both" in text
    text = "\n".join(ladder_report.over({"one": library(floats, rung("groups, INT4, S = 7", 100, 19, 2.0))}))
    assert "It does not reach 20 times" in text
    assert "### Over others" not in "\n".join(ladder_report.over({"one": library(groups)}))
    assert "times FP16's work" not in "\n".join(ladder_report.over({"one": library(floats)}))


def test_the_committed_page_is_what_its_json_says():
    """ladder.md, from ladder.json."""
    results = json.loads((ROOT / "rtl" / "synth" / "ladder.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "results" / "ladder.md").read_text(encoding="utf-8")
    assert page == "\n".join(ladder_report.table(results)) + "\n"
