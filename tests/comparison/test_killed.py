"""A comparison that is killed while it writes: every file is the old or the new one, and the same command goes on."""

from __future__ import annotations

import importlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.faults import at_operation, content, forked, in_another_process, kill, killed_at_random
from helpers.messages import naming
from spike_compressor.claims import claimed
from spike_compressor.cli.models import calibration_of_seed
from spike_compressor.comparison import compare, report, sweep
from spike_compressor.errors import InputError

RTN = Path(__file__).parents[2] / "recipes" / "compare" / "rtn_w4_g64.yaml"
SEEDS = range(8)


def run(model: Path, folder: Path) -> None:
    result = compare(
        model, [RTN], ["2/3"], ["answers:1"], partial(calibration_of_seed, "demo", 8, 4), folder / "compared"
    )
    report.write(result, folder / "compared")


@pytest.mark.slow
def test_killed_anywhere(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(model, tmp_path)
    whole = content(tmp_path)
    assert whole is not None
    found = {}
    for name, data in whole.items():
        if "/cells/" in name:
            cell = json.loads(data)
            found[json.dumps(cell["parts"], sort_keys=True)] = cell["result"]
    computed: list[str] = []

    def known(self: sweep.Sweep, cell: sweep.Cell, *_: Any) -> Any:
        computed.append(cell.label)
        return found[json.dumps(json.loads(json.dumps(self.key(cell))), sort_keys=True)]

    runner = importlib.import_module("spike_compressor.comparison.run")
    blind = json.loads(whole["compared/comparison.json"])["blind"].get("answers:1")
    monkeypatch.setattr(sweep.Sweep, "run", known)  # what is left to do is to write
    monkeypatch.setattr(runner, "_blinded", lambda *_: blind)
    monkeypatch.setattr(runner, "_require_disjoint", lambda _: None)
    write = partial(run, model, tmp_path)

    folder = tmp_path / "compared"

    def begin(old: bool) -> None:
        """No cells; of the report old files, or none."""
        for file in [*folder.glob("*.*"), *folder.glob("cells/*")]:
            if old and file.parent == folder:
                file.write_bytes(b"old")
            else:
                file.unlink()

    def faults(old: bool) -> list[str]:
        """What is wrong after a kill, or after the next run."""
        found = []
        there = {name: data for name, data in (content(tmp_path) or {}).items() if "/." not in name}
        for name, data in there.items():
            if data != whole[name] and not (old and data == b"old"):
                found.append(f"{name} is half")
        computed.clear()
        write()
        kept = sum("/cells/" in name and json.loads(data)["parts"]["kind"] != "blind" for name, data in there.items())
        if len(computed) != 4 - kept:
            found.append(f"{kept} rows were kept, and {computed} computed")
        if content(tmp_path) != whole:
            found.append("the next run writes something else, or leaves something")
        return found

    begin(old=False)
    operations = forked(at_operation(-1, tmp_path, kill, write)).said.splitlines()
    wrong, killed = {}, 0
    for number in range(0, len(operations), 5):  # a file takes twelve
        begin(old=number % 2 == 0)
        killed += forked(at_operation(number, tmp_path, kill, write)).killed
        wrong[number] = faults(old=number % 2 == 0)
    assert killed == len(wrong) > 15
    for seed in SEEDS:
        killed_at_random(seed, 3.0, partial(begin, old=True), write)
        wrong[-seed - 1] = faults(old=True)
    assert {number: found for number, found in wrong.items() if found} == {}


def test_one_comparison_in_a_folder(model: Path, tmp_path: Path) -> None:
    cells = tmp_path / "compared" / "cells"
    cells.parent.mkdir()
    with in_another_process(claimed(cells)), pytest.raises(InputError, match=naming(cells, "process")):
        run(model, tmp_path)
    assert list(cells.parent.iterdir()) == []
