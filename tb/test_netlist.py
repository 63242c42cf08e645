"""What Yosys makes of the core: no multiplier, divider, latch or combinational loop, in the netlist itself."""

import json
import re

import netlist
import pytest
from helpers.messages import naming
from toolchain import BASELINE, GROUP, RTL, SOURCES, ToolError

SMALL = {"Rows": 2, "Columns": 4, "Lanes": 4, "Slots": 4, "MaxInputs": 64, "WeightBits": 4, "Tmax": 4}
SMALL_GROUPS = {"Rows": 2, "Columns": 4, "Groups": 4, "WeightInputs": 8, "Steps": 3, "MaxInputs": 64}
#: Cells that a core of additions has no use for.
MULTIPLIERS = "t:$mul t:$macc t:$macc_v2 t:$div t:$mod t:$divfloor t:$modfloor t:$pow"
LATCHES = "t:$dlatch t:$adlatch t:$dlatchsr t:$sr"


def check(folder, sources=SOURCES, parameters=SMALL, top="spike_core"):
    """Elaborate, flatten and check. Raises ToolError naming the check that failed; returns the cells by kind."""
    settings = " ".join(f"-G {name}={value}" for name, value in parameters.items())
    script = [
        f"read_slang -D SYNTHESIS=1 -I {RTL} {settings} --top {top} {' '.join(map(str, sources))}",
        f"hierarchy -check -top {top}",
        "proc",
        "flatten",
        "opt_clean",
        f"select -assert-none {MULTIPLIERS}",
        f"select -assert-none {LATCHES}",
        "check -assert",
        "scc -expect 0",
        "stat",
    ]
    report = netlist.yosys(script, folder / "yosys.log")
    return {kind: int(count) for count, kind in re.findall(r"^\s+(\d+) +(?:[\d.]+ +)?(\$\w+)$", report, re.MULTILINE)}


@pytest.mark.parametrize("caps", [0, 1])
def test_the_core_adds_and_holds_and_does_nothing_worse(caps, tmp_path):
    """The whole core, flattened."""
    cells = check(tmp_path, parameters=SMALL | {"Capped": caps})
    assert cells["$add"] > 10  # it was the core that was looked at
    assert cells["$dff"] > 100


def test_the_group_core_does_nothing_worse_either(tmp_path):
    """The same, and no input reaches an output within a cycle."""
    cells = check(tmp_path, [*SOURCES, *BASELINE, *GROUP], SMALL_GROUPS, "group_core")
    assert cells["$add"] > 10
    assert paths(tmp_path, [*SOURCES, *BASELINE, *GROUP], "group_core", SMALL_GROUPS) == set()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("assign y = a * b;", "mul"),
        ("always_latch if (a[0]) y = {8'b0, b};", "dlatch"),
        ("logic [15:0] z;\n  assign z = y + {8'b0, a};\n  assign y = z ^ {8'b0, b};", "loop|scc|Found 1 SCC"),
    ],
    ids=["multiplier", "latch", "loop"],
)
def test_each_check_can_fail(body, complaint, tmp_path):
    """A module that has what is forbidden is refused."""
    source = tmp_path / "faulty.sv"
    source.write_text(
        f"module faulty (input logic [7:0] a, input logic [7:0] b, output logic [15:0] y);\n  {body}\nendmodule\n"
    )
    with pytest.raises(ToolError, match=naming("yosys", tmp_path / "yosys.log")) as caught:
        check(tmp_path, sources=[source], parameters={}, top="faulty")
    assert re.search(complaint, (tmp_path / "yosys.log").read_text() + str(caught.value), re.IGNORECASE)


def paths(folder, sources, top, parameters):
    """Inputs and outputs that no register parts."""
    settings = " ".join(f"-G {name}={value}" for name, value in parameters.items())
    design = folder / "design.json"
    script = [
        f"read_slang -D SYNTHESIS=1 -I {RTL} {settings} --top {top} {' '.join(map(str, sources))}",
        "proc",
        "flatten",
        "opt_clean",
        f"write_json {design}",
    ]
    netlist.yosys(script, folder / "yosys.log")
    return netlist.combinational_paths(json.loads(design.read_text()), top)


@pytest.mark.parametrize("top", ["spike_core", "dense_core"])
@pytest.mark.parametrize("inputs", [4, 2], ids=["whole", "parts"])
def test_no_input_reaches_an_output_within_a_cycle(top, inputs, tmp_path):
    """Ports of registers and streams: whatever a neighbour does, no loop and no long path closes through the core."""
    parameters = SMALL | {"WeightInputs": inputs}
    if top == "dense_core":
        del parameters["Slots"]
    assert paths(tmp_path, [*SOURCES, *BASELINE], top, parameters) == set()


def test_paths_are_found(tmp_path):
    """Through cells, along single bits; not through registers."""
    source = tmp_path / "faulty.sv"
    source.write_text(
        "module faulty (input logic clk, input logic a, input logic [1:0] b, output logic [1:0] y, output logic z);\n"
        "  assign y[0] = a & b[0];\n  assign y[1] = 1'b0;\n"
        "  always_ff @(posedge clk) z <= b[1];\nendmodule\n"
    )
    assert paths(tmp_path, [source], "faulty", {}) == {("a", "y"), ("b", "y")}
