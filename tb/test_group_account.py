"""The account of the group array: cycles of jobs, how many encoders pay, and what is said where rungs are missing."""

import json
import sys

import pytest
from toolchain import RTL

sys.path.insert(0, str(RTL / "synth"))

import group_account
from group_account import Job, best_encoders, dense_cycles, encoder_share, encoding, energy, group_cycles


def entry(area, *, steps=0.0, encoder=0.0, period=3.0):
    """A rung as the ladder writes it: mm2 of its array, and of an encoder."""
    parts = {"columns": area * 1e6} | ({"encoders": 2e6 * encoder} if encoder else {})
    found = {"area_um2": parts, "period_ns": period, "energy_pj_per_mac": {"columns": 2.0}}
    return found | ({"steps": steps, "encoder_um2": encoder * 1e6} if encoder else {})


ENCODER = {"area_um2": 5e5, "period_ns": 4.0, "pj_per_step": 100.0, "store_pj_per_write": 5.0}
ENCODER |= {"column_um2": [100.0, 104.0], "column_period_ns": [4.0, 4.4]}


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


def test_encoding_counts_once_an_input():
    """A quarter of S steps, with a front end of a quarter of the encoder; over all outputs of a job."""
    ours = entry(10, steps=6, encoder=1.0)
    ours["area_um2"]["front end"] = 0.25e6
    assert encoding(ours, ENCODER) == pytest.approx(6 / 4 * (125 + 5))
    assert energy([Job(64, 100), Job(64, 300, 3)], ours, 50.0) == pytest.approx(2.0 + 50.0 * 4 / (100 + 900))


def test_page(tmp_path, capsys):
    """A library with all rungs has its tables; one without is left out, and if there is none, an error says so."""
    rungs = {name: entry(8.0) for pair in group_account.PAIRS.values() for name in pair}
    ladder, page = tmp_path / "ladder.json", tmp_path / "page.md"
    encoders, core = tmp_path / "parts.json", tmp_path / "cores.json"
    arguments = ["--ladder", str(ladder), "--page", str(page), "--parts", str(encoders), "--cores", str(core)]
    ladder.write_text(json.dumps({"osu": {"name": "OSU", "rungs": rungs}}))
    assert group_account.main(arguments) == 2
    assert "make ladder" in capsys.readouterr().err
    rungs |= {name: entry(8.0, steps=6.0, encoder=0.5) for name in group_account.PAIRS}
    ladder.write_text(json.dumps({"osu": {"name": "OSU", "rungs": rungs}, "other": {"name": "Other", "rungs": {}}}))
    assert group_account.main(arguments) == 2  # no encoders
    assert "group_parts.py" in capsys.readouterr().err
    encoders.write_text(json.dumps({"osu": {"name": "OSU", "rungs": dict.fromkeys(group_account.PAIRS, ENCODER)}}))
    area = {"area_um2": 3e6, "area_of_memories_um2": 1e6, "area_by_part_um2": {"group_column": 2e6}, "period_ns": 5.0}
    one = {"name": "group", "top": "group_core", "macs_per_cycle": 1100, "shape": {"Steps": 6}, "cells": 9}
    core.write_text(json.dumps({"library": "OSU, typical", "group": [one | area | {"fmax_mhz": 200.0}]}))
    assert group_account.main(arguments) == 0
    text = page.read_text()
    assert "## OSU" in text
    assert "Other" not in text
    assert "| OSU | group | 1,200 | 3 | 1 | 9 | 200 | 400 | 80 |" in text
    # 2,048 x 2,048: 16 chunks x 128 column tiles x 6 steps, 2 encoders, 9 mm2; the baseline takes 128 x 128, 8 mm2
    assert f"**{16384 / (16 * 128 * 6) / 9 * 8:.2f}**" in text
