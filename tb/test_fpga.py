"""The FPGA flow: a small core through all of it, and the committed results against what would be made today."""

import json
import sys

import pytest
from helpers.messages import naming
from images import Shape
from netlist import yosys
from toolchain import RTL, ToolError

sys.path.insert(0, str(RTL / "synth"))

import fpga
import synth


@pytest.mark.slow
def test_a_core_is_placed_and_routed(tmp_path):
    """A few slots: every kind of cell is counted, the clock is a clock, and a second run maps nothing again.

    A netlist that is mapped anew forgets its placements.
    """
    design = synth.Design(Shape(2, 2, 4, 4, 2, 4, 4, 4, False))
    entry = fpga.measure("small", design, 1, tmp_path)
    assert entry["macs_per_cycle"] == 8
    assert entry["lut4"] > 500
    assert entry["registers"] > 200
    assert entry["multipliers"] == 0  # spikes and additions only
    assert 10 < entry["fmax_mhz"] < 500
    assert entry["gmacs_per_second"] == pytest.approx(8 * entry["fmax_mhz"] / 1000, abs=0.01)
    assert entry["critical_path"]
    netlist = tmp_path / "small" / "netlist.json"
    before = netlist.stat().st_mtime_ns
    assert fpga.mapped(design, tmp_path / "small") == netlist
    assert netlist.stat().st_mtime_ns == before
    assert (tmp_path / "small" / "report-1.json").is_file()
    (tmp_path / "small" / "digest").write_text("of other sources")
    assert fpga.mapped(design, tmp_path / "small") == netlist
    assert not (tmp_path / "small" / "report-1.json").exists()


def test_a_counter_is_placed_and_routed(tmp_path, monkeypatch):
    """The tools that the flow needs are there and understand each other. What was placed once is kept."""
    source = "module counter (input clk_i, output reg [7:0] q_o); always @(posedge clk_i) q_o <= q_o + 1; endmodule"
    (tmp_path / "counter.v").write_text(source)
    netlist = tmp_path / "netlist.json"
    yosys([f"read_verilog {tmp_path / 'counter.v'}", f"synth_ecp5 -top counter -json {netlist}"], tmp_path / "map.log")
    report = fpga.placed(netlist, 1)
    assert report["utilization"]["TRELLIS_FF"]["used"] == 8
    assert fpga.clock(report) > 100
    assert fpga.crossed(report)
    monkeypatch.setattr(fpga, "placer", lambda: pytest.fail("placed again"))
    assert fpga.placed(netlist, 1) == report


def test_a_clock_is_the_only_one():
    """Two clocks, or none, are no core of ours."""
    assert fpga.clock({"fmax": {"clk": {"achieved": 80.5, "constraint": 100}}}) == 80.5
    for clocks in ({}, {"a": {"achieved": 1.0}, "b": {"achieved": 2.0}}):
        with pytest.raises(ToolError, match=naming(len(clocks), *clocks)):
            fpga.clock({"fmax": clocks})


def test_the_slowest_path_is_told_by_instances():
    """Generated names and bits are left out; paths from and to pins do not count."""
    step = {"from": {"cell": "sequencer.state_TRELLIS_FF_Q"}, "to": {"cell": "array.column[3].sum"}}
    inside = {"from": "posedge clk_i", "to": "posedge clk_i", "path": [step, step]}
    pins = {"from": "<async>", "to": "posedge clk_i", "path": [{"from": {"cell": "x"}, "to": {"cell": "y"}}]}
    assert fpga.crossed({"critical_paths": [pins, inside]}) == ["sequencer", "array"]
    assert fpga.crossed({"critical_paths": [pins]}) == []


def test_a_netlist_that_does_not_fit_is_an_error(tmp_path):
    """Each product takes a multiplier, and the device has 156; nextpnr's own words come along."""
    products = " ".join(f"always @(posedge clk_i) q_o[{i}] <= ^(a_i[{i} +: 18] * b_i);" for i in range(160))
    ports = "input clk_i, input [177:0] a_i, input [17:0] b_i, output reg [159:0] q_o"
    (tmp_path / "many.v").write_text(f"module many ({ports}); {products} endmodule")
    netlist = tmp_path / "netlist.json"
    yosys([f"read_verilog {tmp_path / 'many.v'}", f"synth_ecp5 -top many -json {netlist}"], tmp_path / "map.log")
    with pytest.raises(ToolError, match=naming("nextpnr-ecp5", "place-1.log", "MULT18X18D")):
        fpga.placed(netlist, 1)


def test_no_placements_are_refused(capsys):
    """Before anything is mapped."""
    with pytest.raises(SystemExit):
        fpga.main(["--seeds", "0"])
    assert "at least one placement" in capsys.readouterr().err


def test_committed_results_are_of_these_designs():
    """The table is that of the JSON, the shapes are those of the command."""
    results = json.loads(fpga.RESULTS.read_text())
    assert "\n".join(fpga.table(results)) + "\n" == fpga.RESULTS.with_suffix(".md").read_text()
    shapes = {entry["name"]: entry["shape"] for entry in results["designs"]}
    assert shapes == {name: design.parameters for name, design in fpga.DESIGNS.items()}
