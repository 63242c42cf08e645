"""Parameters that no core can be built with stop every tool, in plain words; stores are as deep as they have to be."""

import re
import subprocess

import pytest
from helpers.messages import naming
from netlist import yosys
from toolchain import BASELINE, GROUP, RTL, SOURCES, ToolError, use_verilator

ILLEGAL = [
    ("spike_core", {"WeightInputs": 3}, "WeightInputs has to divide Lanes"),
    ("spike_core", {"WeightBits": 9}, "WeightBits has to be from 2 to 8"),
    ("spike_core", {"Lanes": 12, "MaxInputs": 768}, "Lanes has to be a power of two from 4 to 128"),
    ("spike_core", {"MaxInputs": 300}, "MaxInputs has to be a multiple of Lanes x Slots"),
    ("dense_core", {"Columns": 2, "WeightInputs": 5}, "WeightInputs has to divide Lanes"),
    ("dense_core", {"Columns": 2, "MaxGroups": 129}, "MaxGroups has to be from 1 to MaxInputs / Lanes"),
    ("group_core", {"Columns": 2, "Groups": 12}, "Groups has to be a power of two from 2 to 32"),
    ("group_core", {"Columns": 2, "Steps": 8}, "Steps has to be from 2 to 7"),
]
SMALL = {"Columns": 2, "Lanes": 4, "WeightInputs": 4}


def verilate(top, parameters, *options):
    """Whether Verilator takes a design, and what it says."""
    use_verilator()
    command = ["verilator", "--lint-only", "--timing", *options, f"-I{RTL}", "--top-module", top]
    command += [f"-G{name}={value}" for name, value in parameters.items()]
    command += map(str, [*SOURCES, *BASELINE, *(GROUP if top == "group_core" else [])])
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.returncode == 0, result.stderr


def read(top, parameters, log, *then):
    """What Yosys' front end and the commands after it said of a design. Raises ToolError if it does not take it."""
    given = " ".join(f"-G {name}={value}" for name, value in parameters.items())
    sources = " ".join(map(str, [*SOURCES, *BASELINE, *GROUP]))
    return yosys([f"read_slang -D SYNTHESIS -I {RTL} {given} --top {top} {sources}", *then], log)


@pytest.mark.parametrize(("top", "parameters", "text"), ILLEGAL, ids=lambda value: str(value))
def test_illegal_parameters_stop_verilator(top, parameters, text):
    """Its exit code is not 0, and it says what the parameter has to be."""
    taken, said = verilate(top, parameters)
    assert not taken
    assert text in said


@pytest.mark.parametrize(("top", "parameters", "text"), ILLEGAL[:2], ids=lambda value: str(value))
def test_illegal_parameters_stop_yosys(top, parameters, text, tmp_path):
    """The same."""
    with pytest.raises(ToolError, match=naming(text)):
        read(top, parameters, tmp_path / "log")


def test_a_store_is_as_deep_as_its_rows_times_its_blocks(tmp_path):
    """Neither count is rounded up: 5 rows of 17 blocks are 170 words in all."""
    shape = {**SMALL, "Rows": 5, "Slots": 2, "MaxInputs": 17 * 8}
    said = read("spike_core", shape, tmp_path / "log", "proc", "memory_collect", "dump t:$mem_v2")
    sizes = re.findall(r"MEMID .*?u_store\W.*?parameter \\SIZE (\d+)", said, re.DOTALL)
    assert sizes
    assert set(sizes) == {"170"}


@pytest.mark.slow
def test_the_largest_lanes_and_slots_elaborate():
    """128 lanes of 128 slots: words of 16,384 bits."""
    taken, said = verilate("spike_core", {"Lanes": 128, "Slots": 128, "Columns": 2, "MaxInputs": 16384}, "-Wall")
    assert taken, said
