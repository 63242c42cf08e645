"""The account of the group array: cycles of jobs, how many encoders pay, and what is said where rungs are missing."""

import json
import sys

import pytest
from toolchain import RTL

sys.path.insert(0, str(RTL / "synth"))

import group_account
from group_account import Job, best_encoders, dense_cycles, encoder_share, group_cycles


def entry(area, *, steps=0.0, encoder=0.0, period=3.0):
    """A rung as the ladder writes it: mm2 of its array, and of an encoder."""
    parts = {"columns": area * 1e6} | ({"encoders": 2e6 * encoder} if encoder else {})
    found = {"area_um2": parts, "period_ns": period, "energy_pj_per_mac": {"columns": 2.0}}
    return found | ({"steps": steps, "encoder_um2": encoder * 1e6} if encoder else {})


def test_cycles():
    """Chunks and tiles are whole; whoever is slower decides: here 300 inputs are 3 chunks, and 75 groups of 8 rows."""
    job = Job(300, 100)
    assert dense_cycles(job, 16) == 19 * 7
    assert group_cycles(job, 7, encoders=1) == 7 * 8 * 75
    assert group_cycles(job, 7, encoders=100) == 7 * 3 * 7


def test_encoders_pay_until_the_array_does_not_wait():
    """A chunk's 8 * 32 groups against 2,048 / 16 column tiles: two; of cheap ones more, where a job has few outputs."""
    large, small = Job(1024, 2048), Job(1024, 16)
    assert best_encoders([large], entry(10, steps=6, encoder=0.01)) == 2
    assert best_encoders([large, small], entry(10, steps=6, encoder=0.01)) == group_account.MOST_ENCODERS
    assert best_encoders([large, small], entry(10, steps=6, encoder=100)) == 2
    assert encoder_share(entry(10, steps=6, encoder=1.0), 2048) == pytest.approx(2 / 12)
    assert encoder_share(entry(10, steps=6, encoder=1.0), 8192) == pytest.approx(0.5 / 10.5)


def test_page(tmp_path, capsys):
    """A library with all rungs has its tables; one without is left out, and if there is none, an error says so."""
    rungs = {name: entry(8.0) for pair in group_account.PAIRS.values() for name in pair}
    ladder, page = tmp_path / "ladder.json", tmp_path / "page.md"
    arguments = ["--ladder", str(ladder), "--page", str(page)]
    ladder.write_text(json.dumps({"osu": {"name": "OSU", "rungs": rungs}}))
    assert group_account.main(arguments) == 2
    assert "make ladder" in capsys.readouterr().err
    rungs |= {name: entry(8.0, steps=6.0, encoder=0.5) for name in group_account.PAIRS}
    ladder.write_text(json.dumps({"osu": {"name": "OSU", "rungs": rungs}, "other": {"name": "Other", "rungs": {}}}))
    assert group_account.main(arguments) == 0
    text = page.read_text()
    assert "## OSU" in text
    assert "Other" not in text
    # 2,048 x 2,048: 16 chunks x 128 column tiles x 6 steps, 2 encoders, 9 mm2; the baseline takes 128 x 128, 8 mm2
    assert f"**{16384 / (16 * 128 * 6) / 9 * 8:.2f}**" in text
