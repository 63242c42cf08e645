"""What the verification campaign is made of: coverage that adds up, faults that can be noticed, floors that fail."""

import json
import re

import code_coverage
import full
import mutate
import pytest
from code_coverage import Point
from helpers.messages import naming
from regression import core_parameters
from toolchain import RTL, TB, ToolError, build

HEAD = "# SystemC::Coverage-3\n"


def entry(file, line, kind, what, count, lines="", hier="top.a"):
    """A line of coverage.dat."""
    fields = {"f": file, "l": line, "n": 5, "t": kind, "page": f"v_{kind}/module__P1", "o": what, "S": lines, "h": hier}
    return "C '" + "".join(f"\x01{key}\x02{value}" for key, value in fields.items()) + f"' {count}\n"


def test_coverage_adds_up_over_instances_and_simulations(tmp_path):
    """A point is one place in a source, whatever instance or parameters it was counted for."""
    first, second = tmp_path / "1.dat", tmp_path / "2.dat"
    rtl = tmp_path / "rtl"
    first.write_text(
        HEAD
        + entry(rtl / "a.sv", 3, "branch", "if", 0, "3-5")
        + entry(rtl / "a.sv", 3, "branch", "if", 2, "3-5", hier="top.b")
        + entry(rtl / "a.sv", 3, "branch", "else", 0, "6,8")
        + entry("/elsewhere/b.sv", 1, "line", "block", 9)
    )
    second.write_text(
        HEAD + entry(rtl / "a.sv", 3, "branch", "if", 1, "3-5") + entry(rtl / "a.sv", 9, "toggle", "x:0->1", 0)
    )
    counts = code_coverage.merged([first, second], rtl)
    assert counts[Point("a.sv", 3, "branch", "if", 5, "3-5")] == 3
    assert code_coverage.share(counts, "branch") == (1, 2)
    assert code_coverage.share(counts, "toggle") == (0, 1)
    assert code_coverage.missed_lines(counts) == {("a.sv", 6), ("a.sv", 8)}
    assert code_coverage.share(counts, "line") == (3, 5)
    broken = tmp_path / "broken.dat"
    broken.write_text("nothing")
    with pytest.raises(ValueError, match=naming("broken.dat")):
        code_coverage.read(broken, rtl)


def test_faults_that_cannot_change_anything_are_not_chosen():
    """Constants stay constants, and a comparison's other values stay other values."""
    wires = {"A": [2, 3, "0"], "B": ["1", "0"], "Y": [4]}
    directions = {"A": "input", "B": "input", "Y": "output"}
    cells = {"c": {"type": "$eq", "connections": wires, "port_directions": directions}}

    def idle(mode, port, bit, control="0"):
        return mutate._idle({"mode": mode, "cell": "c", "port": port, "portbit": bit, "ctrlbit": control}, cells)

    assert idle("const1", "A", "2")
    assert idle("inv", "B", "0")
    assert not idle("const0", "A", "0")
    assert not idle("inv", "Y", "0")
    assert idle("cnot0", "A", "1", "0")
    assert not idle("cnot1", "A", "1", "0")
    assert idle("cnot1", "A", "0", "1")
    assert not idle("cnot0", "A", "0", "1")


def test_the_faulty_core_has_the_ports_of_the_core():
    """Every port of rtl/spike_core.sv is handed on, and there is nothing else of the core in the wrapper."""
    source = mutate.CORE.read_text(encoding="utf-8")
    made = mutate.wrapper(source)
    ports = set(re.findall(r"\b(\w+_n?[io])\b", source.split("\n);")[0]))
    assert len(ports) > 25
    assert set(re.findall(r"\.(\w+_n?[io])\b", made)) == ports
    assert made.count("u_") == 1


def test_every_test_of_the_core_attacks_the_faults():
    """A test that is added to the bench is added to a stage."""
    bench = (TB / "bench_core.py").read_text(encoding="utf-8")
    tests = re.findall(r"^@cocotb\.test\(\)\nasync def (\w+)", bench, re.MULTILINE)
    assert sorted(tests) == sorted(name for stage in mutate.STAGES for name in stage)


@pytest.mark.slow
def test_a_fault_is_killed_and_the_healthy_netlist_lives():
    """One compiled simulator with some faults: none, and each of them."""
    sources, faults = mutate.prepare(3, 7)
    folder = build("core_harness", core_parameters(mutate.SHAPE), fast=True, replaced={mutate.CORE: sources})
    assert not mutate.attack(folder, mutate.Fault(0, "none", "", "", ""), 1).killed_by
    assert any(mutate.attack(folder, fault, 1).killed_by for fault in faults)


def test_a_number_of_faults_that_does_not_fit_is_refused():
    """The control input has ten bits."""
    with pytest.raises(ToolError, match=naming(1024, 1, 1023)):
        mutate.prepare(1024, 1)


def report(**changes):
    """A campaign in which everything was reached."""
    whole = {"hit": 100, "of": 100, "percent": 100.0}
    result = {
        "machine": "2 cores",
        "command": "make rtl-full",
        "seconds": 60.0,
        "runs": [{"name": "core odd", "seed": 1, "failure": ""}],
        "proofs": [{"name": "fifo", "proven": True}],
        "functional": whole | {"items": {"core.row": [672, 672]}, "missing": []},
        "code": dict.fromkeys(code_coverage.KINDS, whole)
        | {"waived lines": {"a.sv:3": "reason"}, "missed lines": [], "missed branches": []},
        "mutation": {"faults": 100, "killed": 90, "equal": 6, "command": "mutate", "survivors": []},
    }
    return result | changes


def test_floors_fail_the_campaign():
    """Whatever is missing is named, and nothing else."""
    assert full.shortfalls(report()) == []
    assert "| faults killed, of those that change something | 90 | 94 | 95.7 | 95 |" in full.markdown(report())
    low = report(
        functional={"hit": 99, "of": 100, "percent": 99.0, "items": {}, "missing": ["core.row: 1"]},
        mutation={"faults": 100, "killed": 94, "equal": 0, "command": "mutate", "survivors": []},
        runs=[{"name": "core odd", "seed": 2, "failure": "1 of 22 cocotb tests failed"}],
        proofs=[{"name": "fifo", "proven": False}],
    )
    assert full.shortfalls(low) == [
        "bench core odd, seed 2 failed",
        "proof fifo failed",
        "functional: 99.0 %, at least 100 % is wanted",
        "faults: 94.0 %, at least 95 % is wanted",
    ]


def test_the_committed_page_is_that_of_the_committed_report():
    """And every floor was reached."""
    result = json.loads(full.OUT.read_text(encoding="utf-8"))
    assert full.PAGE.read_text(encoding="utf-8") == full.markdown(result)
    assert full.shortfalls(result) == []


def test_lines_are_waived_for_a_reason_that_stands_in_them():
    """Every waiver names text that its source has; other lines have none."""
    for file, marks in full.WAIVED.items():
        lines = (RTL / file).read_text(encoding="utf-8").splitlines()
        for mark in marks:
            found = [number for number, line in enumerate(lines, 1) if mark in line]
            assert found, f"{file}: {mark}"
            assert all(full._waived(file, number) for number in found)
    assert full._waived("spike_csa.sv", 70) == ""
    assert full._waived("spike_fifo.sv", 30) == ""
