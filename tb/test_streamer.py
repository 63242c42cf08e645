"""The streamer's package, parameters and files are those of its description, its documentation and FuseSoC."""

import re
import subprocess
from pathlib import Path

import pytest
from registers import STREAMER, STREAMER_BASE
from toolchain import RTL, SOURCES, STREAMER_PACKAGE, use_verilator
from toolchain import STREAMER as FILES

DOC = (Path(__file__).resolve().parents[1] / "docs" / "rtl.md").read_text(encoding="utf-8")
PACKAGE = STREAMER_PACKAGE.read_text(encoding="utf-8")
TOP = (RTL / "streamer" / "streamed_core.sv").read_text(encoding="utf-8").split(") (")[0]
PARAMETERS = re.findall(r"parameter (?:int unsigned|bit) +(\w+) += ([\w']+)", TOP)


def test_package():
    """Addresses, descriptors and errors agree with the description of the registers."""
    names = {one.address - STREAMER_BASE: name for name, one in STREAMER.items()}
    got = {int(value, 16): name for name, value in re.findall(r"\bStr(\w+) += 8'h(\w\w)", PACKAGE)}
    first = next(at for at, name in got.items() if name == "Descriptors")
    assert {at: name.lower() for at, name in got.items() if at != first} == {
        at: name.replace("_", "").lower() for at, name in names.items() if at < first
    }
    bits = {int(bit): name for name, bit in re.findall(r"logic (\w+); +// \[(\d+)\]", PACKAGE)}
    assert [bits[i] for i in range(len(bits))] == [field.name for field in STREAMER["ERROR"].fields]
    assert f"StreamerIdValue = 32'h{STREAMER['ID'].fields[0].reset:08x}".replace("_", "") in PACKAGE.replace("_", "")
    words = []
    for struct, prefixes in (("read_t", ("MEMBRANE", "WEIGHT")), ("write_t", ("SUM",))):
        body = re.search(rf"typedef struct packed {{([^}}]*)}} {struct};", PACKAGE)[1]
        fields = [name for line in body.splitlines()[::-1] for name in re.findall(r"logic \[\d+:0\] (\w+);", line)]
        for prefix in prefixes:
            words += [f"{prefix}_{name}".upper() for name in fields]
    words = [one for word in words for one in ([word, f"{word}_HIGH"] if word.endswith("_ADDRESS") else [word])]
    assert words == [names[at] for at in sorted(names) if at >= first]


def test_parameters_and_modules_are_documented():
    """Every parameter that the core does not have stands in the documentation with its default, and every file."""
    core = (RTL / "spike_core.sv").read_text(encoding="utf-8").split(") (")[0]
    own = [(name, default) for name, default in PARAMETERS if f" {name} " not in core]
    assert [name for name, _ in own] == ["AddrWidth", "DataWidth", "MaxBurst", "Bursts"]
    for name, default in own:
        assert f"| `{name}` | {default} |" in DOC, name
    for path in FILES:
        assert f"`streamer/{path.name}`" in DOC, path.name


def test_fusesoc_core():
    """The FuseSoC description names every source, in an order that compiles, and every parameter with its default."""
    text = (RTL / "streamer" / "streamed_core.core").read_text(encoding="utf-8")
    assert re.findall(r"^      - (\w+\.sv)", text, re.M) == [path.name for path in FILES]
    values = {"Lanes": "16", "TmaxLimit": "7", "1'b1": "1", "1'b0": "0"}
    for name, default in PARAMETERS:
        given = f"default: {values.get(default, default)}, " if name != "WeightInputs" else ""  # follows Lanes
        assert f"  {name}: {{datatype: int, paramtype: vlogparam, {given}description:" in text, name


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"DataWidth": 48}, "DataWidth has to be a power of two from 32 to 1024"),
        ({"AddrWidth": 65}, "AddrWidth has to be from 32 to 64"),
        ({"MaxBurst": 512}, "MaxBurst has to be a power of two from 1 to 256"),
    ],
)
def test_illegal_parameters_stop_verilator(parameters, text):
    """Its exit code is not 0, and it says what the parameter has to be."""
    use_verilator()
    command = ["verilator", "--lint-only", "--timing", f"-I{RTL}", "--top-module", "streamed_core", "-GColumns=2"]
    command += ["-GLanes=4", "-GMaxInputs=64", *(f"-G{name}={value}" for name, value in parameters.items())]
    result = subprocess.run([*command, *map(str, [*SOURCES, *FILES])], capture_output=True, text=True, check=False)
    assert result.returncode
    assert text in result.stderr
