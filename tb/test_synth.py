"""The synthesis flow: its parts by hand, and both cores, small, through all of it: netlist and RTL must be equal."""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from generate import random_arrays
from helpers.messages import naming
from images import Shape
from spike_compressor.errors import InputError
from spike_compressor.trace import BundleWriter, open_bundle
from toolchain import RTL, ToolError

sys.path.insert(0, str(RTL / "synth"))

import gates
import normal
import power
import sram
import sta
import synth
import technology

needs_library = pytest.mark.skipif(not synth.LIBRARY.is_file(), reason=synth.LIBRARY_REMEDY)
needs_sta = pytest.mark.skipif(shutil.which("sta") is None, reason=sta.REMEDY)


@pytest.fixture(scope="session")
def toggle(tmp_path_factory):
    """The netlist simulator."""
    return synth.simulator(tmp_path_factory.mktemp("toggle"))


def replay(toggle, folder, lines, frames):
    """Counts of a hand-made netlist; None if outputs differ, with the message."""
    (folder / "netlist.txt").write_text("\n".join(lines) + "\n")
    (folder / "record.txt").write_text("\n".join(frames) + "\n")
    command = [str(toggle), *(str(folder / name) for name in ("netlist.txt", "record.txt", "counts.txt"))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return (power.Counts(folder / "counts.txt") if result.returncode == 0 else None), result.stderr


# Net 2 is the reset, 3 the input a; 4 = !a after 100 ps; 5 = a & !a after `slow`: a pulse of 100 ps at a's rise.
def pulse(slow):
    return ["nets 6", "in 2", "in 3", "out 5 1", "gate 4 10 1 1 3", f"gate 5 {slow} 8 2 3 4"]


def test_glitches_count_and_short_ones_are_swallowed(toggle, tmp_path):
    """A pulse passes a gate that is faster than the pulse is long, and not a slower one."""
    frames = ["1 1", "1 3", "1 1", "1 3"]  # reset off throughout, a = 0 1 0 1; the output rests at 0
    counts, _ = replay(toggle, tmp_path, pulse(5), frames)
    assert counts.cycles == 4
    assert counts.toggles[3] == counts.toggles[4] + 0 == 3
    assert counts.toggles[5] == 4  # two rises, two pulses, two transitions each
    counts, _ = replay(toggle, tmp_path, pulse(20), frames)
    assert 5 not in counts.toggles


def test_a_wrong_output_stops_the_replay(toggle, tmp_path):
    """The record says 1, the netlist 0; while the reset is on, nothing is compared."""
    counts, message = replay(toggle, tmp_path, pulse(5), ["1 1", "1 5"])
    assert counts is None
    assert "cycle 1: output bit 0 is 0, recorded was 1" in message
    assert replay(toggle, tmp_path, pulse(5), ["1 4", "1 1"])[0] is not None


def test_only_cycles_of_the_job_count(toggle, tmp_path):
    """Cycles marked 0 are simulated, not counted."""
    counts, _ = replay(toggle, tmp_path, pulse(5), ["0 1", "0 3", "1 1", "0 3"])
    assert counts.cycles == 1
    assert counts.toggles[3] == 1


def test_registers_and_memories_follow_the_clock(toggle, tmp_path):
    """A register behind an enable, and a memory that returns what it held before the write of the same cycle."""
    lines = ["nets 8", "in 2", "in 3", "in 4", "out 5 1", "out 6 1", "ff 5 3 4 10 0", "ram 1 2 1 4 4 1 0 3 1 0 6"]
    # bits: reset, data, enable | register, read data
    frames = ["1 07", "1 09", "1 0d", "1 15", "1 03"]
    counts, message = replay(toggle, tmp_path, lines, frames)
    assert counts is not None, message
    assert (counts.reads, counts.writes) == ([3], [3])
    # cycle 0 writes 1 and reads the old 0; 2 writes 0 and reads 1; 3 reads 0
    lines[-1] = lines[-1].replace("ram 1 2 1 4 4", "ram 1 2 1 4 0")  # never written: reads stay 0
    assert replay(toggle, tmp_path, lines, frames)[0] is None


def test_a_register_may_show_the_opposite(toggle, tmp_path):
    """Libraries have flip-flops with an inverted output alone."""
    lines = ["nets 6", "in 2", "in 3", "out 4 1", "ff 4 3 1 10 1"]
    frames = ["1 5", "1 7", "1 1", "1 5"]  # bits: reset, data | output, which is !data of the cycle before, 0 at first
    assert replay(toggle, tmp_path, lines, frames)[0] is not None
    lines[-1] = "ff 4 3 1 10 0"
    assert replay(toggle, tmp_path, lines, frames)[0] is None


def test_flattening_joins_what_goes_straight_through():
    """An input that is also an output, an output that is a constant, and one net that leaves twice."""
    port = {
        "input": lambda *bits: {"direction": "input", "bits": [*bits]},
        "output": lambda *bits: {"direction": "output", "bits": [*bits]},
    }
    child = {
        "ports": {
            "a": port["input"](2),
            "same": port["output"](2),
            "one": port["output"]("1"),
            "y": port["output"](3),
            "z": port["output"](3),
        },
        "cells": {"g": {"type": "INVX1", "connections": {"A": [2], "Y": [3]}}},
    }
    top = {
        "ports": {
            "i": port["input"](2),
            "p": port["output"](3),
            "q": port["output"](4),
            "r": port["output"](5),
            "s": port["output"](6),
        },
        "cells": {"u": {"type": "child", "connections": {"a": [2], "same": [3], "one": [4], "y": [5], "z": [6]}}},
    }
    flat = gates.flatten({"top": top, "child": child}, "top", technology=None)
    nets = {name: bits[0] for name, bits in (*flat.inputs, *flat.outputs)}
    assert nets["p"] == nets["i"]
    assert nets["q"] == gates.ONE
    assert nets["r"] == nets["s"] not in (nets["i"], gates.ZERO, gates.ONE)
    (gate,) = flat.cells
    assert gate.pins == {"A": [nets["i"]], "Y": [nets["r"]]}


def test_memories_cost_what_the_cheapest_build_costs():
    """Small ones are latches; two halves are two memories of one port; deeper and wider costs more."""
    assert sram.memory(4, 32).kind == "latches"
    halves, ports = sram.memory(128, 32), sram.memory(128, 32, halves=False)
    assert halves.area == 2 * sram.SINGLE[64][0]
    assert ports.area == sram.DOUBLE[128][0]
    assert halves.read_pj == pytest.approx(sram.SINGLE[64][1] * 1.44)
    assert sram.memory(128, 64).area == 2 * halves.area
    areas = [sram.memory(words, 32).area for words in (2, 8, 32, 64, 128, 1024)]
    assert areas == sorted(areas)
    with pytest.raises(ValueError, match=naming(2048, 4096)):
        sram.memory(8192, 32)


def test_energies_of_events_are_found_again():
    """Least squares returns the coefficients that made the runs, and drops what would be negative."""
    runs = [{"cycles": c, "macs": m, "energy_pj": 3.0 * c + 0.5 * m} for c, m in ((100, 800), (300, 900), (200, 4000))]
    found = synth.coefficients(runs, ("cycles", "macs"))
    assert found == pytest.approx({"cycles": 3.0, "macs": 0.5})
    runs = [{"cycles": c, "macs": m, "energy_pj": 0.5 * m - 0.1 * c} for c, m in ((100, 800), (300, 900), (200, 4000))]
    assert set(synth.coefficients(runs, ("cycles", "macs"))) == {"macs"}


@needs_library
@needs_sta
def test_energies_are_those_of_opensta(tmp_path):
    """Every net changes once a cycle: cells take what OpenSTA says, which counts a table's rise and fall both."""
    osu = technology.find([synth.LIBRARY])
    flat = gates.Netlist("top", osu, 10, [("clk_i", [2]), ("a", [9])], [("y", [4])])
    flat.cells.append(gates.Instance("first", "DFFPOSX1", "", "first", {"CLK": [2], "D": [9], "Q": [3]}))
    flat.cells.append(gates.Instance("inv", "INVX1", "", "inverter", {"A": [3], "Y": [4]}))
    for i in range(4):
        pins = {"CLK": [2], "D": [4], "Q": [5 + i]}
        flat.cells.append(gates.Instance(f"ff{i}", "DFFPOSX1", "", "registers", pins))
    counts = power.Counts.__new__(power.Counts)
    counts.cycles, counts.reads, counts.writes = 1000, [], []
    counts.toggles = dict.fromkeys(range(3, 10), 1000)
    counts.ones = dict.fromkeys(range(3, 10), 500)
    ours = power.energy(flat, counts)
    gates.memory_liberty(flat, tmp_path / "memories.lib")
    gates.write_verilog(flat, tmp_path / "netlist.v")
    slews = f"set_input_transition {osu.slew} [all_inputs]\nset_clock_transition {osu.slew} [get_clocks clk]"
    tail = ["set_power_activity -global -activity 1.0 -duty 0.5", "report_power -digits 12 -instances [get_cells *]"]
    report = sta.run([*sta.commands(flat, tmp_path, 10.0), slews, *tail], tmp_path / "power.log")
    theirs = {}
    for line in report.splitlines():
        if found := re.match(r"\s*(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+u(\d+)", line):
            internal, switching = (float(found[i]) * 10e-9 * 1e12 for i in (1, 2))  # pJ a cycle
            module = flat.cells[int(found[5])].module
            theirs[module] = theirs.get(module, 0.0) + internal / 2 + switching
    assert set(theirs) == {"first", "inverter", "registers"}
    for module, energy in theirs.items():
        assert ours[module] / 1000 == pytest.approx(energy, rel=0.25), module  # slews on the way differ
    assert ours["inverter"] / 1000 == pytest.approx(theirs["inverter"], rel=0.1)


#: Cores of a few cells, the coding of their layers, and their columns.
SMALL = {
    "spike": (synth.Design(Shape(2, 3, 4, 4, 2, 4, 4, 8, False)), "tc_lif", "spike_column"),
    "dense": (synth.Design(Shape(2, 3, 4, 1, 4, 4, 4, 32, False), True), "tc_lif", "dense_column"),
    "group": (synth.Design(Shape(2, 3, 8, 1, 4, 4, 4, 8, False, units=1)), "group4_beam4", "group_column"),
}
SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("dense", "group")]


@needs_library
@needs_sta
@pytest.mark.parametrize("kind", ["spike", *SLOW])
def test_a_core_goes_through_the_whole_flow(kind, tmp_path):
    """Mapped, timed, replayed bit for bit on its netlist, and its energy found; a broken netlist is noticed."""
    bundle = tmp_path / "bundle"
    design, coding, column = SMALL[kind]
    arrays = random_arrays(np.random.default_rng(1), 5, 37, 7, coding=coding)
    with BundleWriter(
        bundle, producer={"name": "test", "version": "0", "backend": "none"}, model={"architecture": "", "name": ""}
    ) as writer:
        writer.add_layer("a", coding=coding, frac_bits=7 if kind == "group" else 16, weight_bits=4, **arrays)
    osu = technology.find([synth.LIBRARY])
    entry = synth.measure("small", design, [(bundle, "a")], tmp_path / "work", {}, osu)
    (one,) = entry["runs"]
    assert one["macs"] == 5 * 37 * 7
    assert one["core_cycles"] <= one["cycles"] < one["core_cycles"] + 20
    assert one["energy_pj"] == pytest.approx(sum(one["energy_by_part_pj"].values()), rel=1e-3)
    assert 20 < entry["fmax_mhz"] < 1000
    assert entry["area_by_part_um2"][column] > 0 < one["energy_by_part_pj"][column]
    assert synth.fitted(entry, kind) == {}  # one run says nothing about three kinds of events

    folder = tmp_path / "work" / osu.slug / "small"
    modules = json.loads((folder / "netlist.json").read_text())["modules"]
    broken = next(
        cell
        for name, module in modules.items()
        if name.lstrip("\\").startswith(column)
        for cell in module["cells"].values()
        if cell["type"] == "FAX1"
    )
    connections = broken["connections"]
    connections["YS"], connections["YC"] = connections["YC"], connections["YS"]
    flat = gates.flatten(modules, design.top, osu)
    gates.buffer(flat)
    with pytest.raises(AssertionError, match=naming(design.top, "layer a", "cycle")):
        synth.energy(design, flat, bundle, "a", folder, synth.simulator(tmp_path / "work"))


def test_normal_layers_are_those_of_their_design(tmp_path):
    """Rows of the rung's steps for groups, of the largest T for the baseline; a spike core has none."""
    groups, dense = (synth.DESIGNS[name] for name in ("group 8x16x32, S 6", "dense 8x16x16, T 3"))
    for design, steps in ((groups, [5] * 8 + [6] * 8), (dense, [3] * 8)):
        folder, name = normal.layer(design, normal.size("24x5"), tmp_path)
        layer = open_bundle(folder).layer(name)
        layer.check_numbers()
        assert layer.timesteps.tolist() == steps
        assert (layer.info.in_features, layer.info.out_features) == (24, 5)
    assert synth.events(groups, open_bundle(normal.layer(groups, (24, 5), tmp_path)[0]).layer("24 x 5")) == {
        "encoded": 88 * 6,
        "additions": 88 * 6 * 5,
    }
    with pytest.raises(InputError, match=naming("--normal", "--trace")):
        normal.layer(synth.DESIGNS["spike 32x16, 16 slots"], (24, 5), tmp_path)
    with pytest.raises(argparse.ArgumentTypeError, match=naming("24x", "512x256")):
        normal.size("24x")


def test_missing_tools_are_named(tmp_path, monkeypatch):
    """Without OpenSTA the error says where to get it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="apt install opensta"):
        sta.run([], Path(tmp_path) / "x.log")
