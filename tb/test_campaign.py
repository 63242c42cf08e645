"""What the verification campaign is made of: coverage that adds up, faults that can be noticed, floors that fail."""

import json
import re

import code_coverage
import full
import ledger
import mutate
import pytest
import shapes
from code_coverage import Point
from formal.prove import PROOFS
from helpers.messages import naming
from ledger import Ledger
from regression import CORNERS, SHAPES, UNITS
from targets import TARGETS
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


@pytest.mark.parametrize("core", TARGETS)
def test_the_faulty_core_has_the_ports_of_the_core(core):
    """Every port of the core is handed on, and there is nothing else of it in the wrapper."""
    source = TARGETS[core].path.read_text(encoding="utf-8")
    made = mutate.wrapper(source)
    ports = set(re.findall(r"\b(\w+_n?[io])\b", source.split("\n);")[0]))
    assert len(ports) > 25
    assert set(re.findall(r"\.(\w+_n?[io])\b", made)) == ports
    assert made.count("u_") == 1


@pytest.mark.parametrize("core", TARGETS)
def test_every_test_of_the_core_attacks_the_faults(core):
    """A test that is added to the bench is added to a stage."""
    bench = (TB / f"{TARGETS[core].bench}.py").read_text(encoding="utf-8")
    tests = re.findall(r"^@cocotb\.test\(\)\nasync def (\w+)", bench, re.MULTILINE)
    assert sorted(tests) == sorted(name for stage in TARGETS[core].stages for name in stage)


@pytest.mark.parametrize("core", TARGETS)
def test_reasons_of_survivors_speak_of_sources_that_are_there(core):
    """A pattern whose text no source has any more explains nothing: its faults have to be looked at again."""
    lines = [
        f"{path.relative_to(RTL)} {line.strip()}"
        for path in TARGETS[core].sources
        for line in path.read_text("utf-8").splitlines()
    ]
    for pattern, _ in TARGETS[core].reasons:
        text = re.sub(r"\\\[\d+\\\]$", "", pattern.rsplit(" .*", 1)[-1])  # without the bit of a wire
        assert any(re.search(text, line) for line in lines), pattern


def test_faults_of_the_group_core_lie_in_its_own_modules():
    """Not in a register of a module that it shares, whose wire leads there; the spike core's lie anywhere."""
    own, shared = (
        "-src rtl/group/group_front.sv:194.3-194.9",
        "-src rtl/group/group_core.sv:1.1-1.2|rtl/spike_counters.sv:2.1-2.2",
    )
    assert mutate._within(TARGETS["group"], own)
    assert not mutate._within(TARGETS["group"], shared)
    assert not mutate._within(TARGETS["group"], "-mode inv")
    assert mutate._within(TARGETS["spike"], shared)
    assert mutate._within(TARGETS["capped"], "-src rtl/spike_capper.sv:1.1-1.2")
    assert not mutate._within(TARGETS["capped"], shared)


def test_clocks_are_no_place_for_faults():
    """They are no logic, and a clock that stands still says nothing about the benches."""
    cells = {"c": {"type": "$dff", "connections": {"CLK": [2]}, "port_directions": {"CLK": "input"}}}
    assert mutate._idle({"mode": "inv", "cell": "c", "port": "CLK", "portbit": "0"}, cells)


def test_a_campaign_goes_on_where_it_was(tmp_path, monkeypatch):
    """What was finished is known, a line that was cut off is not, and other sources begin anew."""
    monkeypatch.setattr(ledger, "FOLDER", tmp_path / "campaign")
    source = tmp_path / "a.sv"
    source.write_text("module a;")
    first = Ledger("faults", [source])
    first.add("1", {"killed_by": "sizes"})
    with first.path.open("a") as file:
        file.write('{"name": "2", "resu')
    again = Ledger("faults", [source])
    assert again.get("1") == {"killed_by": "sizes"}
    assert again.get("2") is None
    again.add("2", {"killed_by": ""})
    assert Ledger("faults", [source]).get("2") == {"killed_by": ""}
    source.write_text("module b;")
    assert Ledger("faults", [source]).get("1") is None


def test_a_result_belongs_to_all_that_its_bench_imports():
    """Benches, what they import from here, and the golden model."""
    names = {path.name for path in ledger.benches("bench_core")}
    assert {"bench_core.py", "core_driver.py", "images.py", "generate.py", "registers.py", "golden.py"} <= names
    assert "full.py" not in names


@pytest.mark.slow
@pytest.mark.parametrize("core", TARGETS)
def test_a_fault_is_killed_and_the_healthy_netlist_lives(core):
    """One compiled simulator with some faults: none, and each of them."""
    target = TARGETS[core]
    sources, faults = mutate.prepare(target, 3, 7)
    folder = build("core_harness", target.harness, fast=True, replaced={target.path: sources})
    assert not mutate.attack(core, folder, mutate.Fault(0, "none", "", "", ""), 1).killed_by
    assert any(mutate.attack(core, folder, fault, 1).killed_by for fault in faults)


def test_a_number_of_faults_that_does_not_fit_is_refused():
    """The control input has ten bits."""
    with pytest.raises(ToolError, match=naming(1024, 1, 1023)):
        mutate.prepare(TARGETS["spike"], 1024, 1)


def report(**changes):
    """A campaign in which everything was reached."""
    whole = {"hit": 100, "of": 100, "percent": 100.0}
    result = {
        "machine": "2 cores",
        "command": "make rtl-full",
        "runs": [{"name": "core odd", "seed": 1, "seconds": 40.0, "failure": ""}],
        "proofs": [{"name": "fifo", "proven": True, "seconds": 20.0}],
        "functional": whole | {"items": {"core.row": [672, 672]}, "missing": []},
        "code": dict.fromkeys(code_coverage.KINDS, whole)
        | {"waived lines": {"a.sv:3": "reason"}, "missed lines": [], "missed branches": []},
        "mutation": {"faults": 100, "killed": 90, "equal": 6, "command": "mutate", "survivors": []},
    }
    return result | changes


def test_floors_fail_the_campaign():
    """Whatever is missing is named, and nothing else."""
    assert full.shortfalls(report()) == []
    assert "| faults killed, of those that change something | 90 | 94 | 95.7 | 95 |" in full.markdown(
        {"spike": report()}
    )
    low = report(
        functional={"hit": 99, "of": 100, "percent": 99.0, "items": {}, "missing": ["core.row: 1"]},
        mutation={"faults": 100, "killed": 94, "equal": 0, "command": "mutate", "survivors": []},
        runs=[{"name": "core odd", "seed": 2, "seconds": 40.0, "failure": "1 of 22 cocotb tests failed"}],
        proofs=[{"name": "fifo", "proven": False, "seconds": 20.0}],
    )
    assert full.shortfalls(low) == [
        "bench core odd, seed 2 failed",
        "proof fifo failed",
        "functional: 99.0 %, at least 100 % is wanted",
        "faults: 94.0 %, at least 95 % is wanted",
    ]


def test_the_committed_page_is_that_of_the_committed_report():
    """And every floor was reached."""
    results = json.loads(full.OUT.read_text(encoding="utf-8"))
    assert full.PAGE.read_text(encoding="utf-8") == full.markdown(results)
    assert not any(full.shortfalls(result) for result in results.values())


def test_a_campaign_of_one_core_leaves_the_other_ones_report(tmp_path, monkeypatch):
    """And the page has both."""
    out, page = tmp_path / "full.json", tmp_path / "full.md"
    out.write_text(json.dumps({"spike": report(command="of the spike core")}))
    monkeypatch.setattr(full, "campaign", lambda *_: report(command="of the group core"))
    monkeypatch.setattr("sys.argv", ["full.py", "--core", "group", "--out", str(out), "--page", str(page)])
    assert full.main() == 0
    assert {which: one["command"] for which, one in json.loads(out.read_text()).items()} == {
        "spike": "of the spike core",
        "group": "of the group core",
    }
    assert "## The group core\n\nLabel: simulated and proven by `of the group core`" in page.read_text()


def test_every_bench_and_every_proof_is_of_one_core():
    """Those of the group core's modules, and all others."""
    ours = {module for bench, module, _ in UNITS if full.of_group(bench, module)}
    assert {"group_column", "group_encoder", "group_core"} <= ours
    assert not any(module.startswith(("spike", "dense")) for module in ours)
    assert sorted(p.name for which in full.TITLES for p in full.proofs_of(which)) == sorted(p.name for p in PROOFS)


def test_shapes_touch_every_limit():
    """Of each parameter of the core some shape has the least and the largest value that it accepts."""
    limits = {"rows": (1, 255), "columns": (1, 255), "lanes": (4, 128), "slots": (1, 128), "weight_bits": (2, 8)}
    every = [*SHAPES.values(), *CORNERS.values()]
    for name, (least, most) in (limits | {"tmax": (1, 7)}).items():
        assert {least, most} <= {getattr(shape, name) for shape in every}, name


def test_the_page_of_shapes_has_what_passed(monkeypatch, tmp_path):
    """And names what did not run; a shape that failed is none that passed."""
    monkeypatch.setattr(ledger, "FOLDER", tmp_path)

    def core(name, seed):
        assert name != "odd", "a wrong sum"
        return tmp_path

    monkeypatch.setattr(shapes, "core", core)
    assert shapes.run(["odd", "lanes 128"]) == ["odd"]
    assert set(shapes.passed()) == {"lanes 128"}
    page = shapes.markdown(shapes.passed())
    assert "| lanes 128 | 2 | 2 | 128 |" in page
    assert "| odd |" not in page
    assert "Not run yet on these sources: default, odd," in page
    now = shapes.digest(shapes.design())
    old = page.replace("| lanes 128 |", "| slots 128 |").replace(f"| {now} |", "| 0123456789ab |")
    assert shapes.earlier(old) == {"slots 128": "0123456789ab"}
    both = shapes.markdown(shapes.passed(), old)
    assert shapes.earlier(both) == {"slots 128": "0123456789ab", "lanes 128": now}
    assert "Not run yet on these sources: default, odd," in both


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
