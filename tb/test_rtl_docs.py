"""docs/rtl.md says what the RTL does: addresses, error bits, counters, parameters."""

import re
import subprocess
import sys
from pathlib import Path

from registers import COUNTER_BASE, COUNTERS, ERRORS, REGISTERS, VERSION_VALUE
from toolchain import RTL

DOC = (Path(__file__).resolve().parents[1] / "docs" / "rtl.md").read_text()
PACKAGE = (RTL / "spike_pkg.sv").read_text()


def test_register_map():
    """What was made of the registers' description is what it gives now."""
    done = subprocess.run(
        [sys.executable, RTL / "registers" / "export.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_package():
    """Addresses, errors and counters of the package agree with the description."""
    got = {name.lower(): int(value, 16) for name, value in re.findall(r"\bReg(\w+) += 8'h(\w\w)", PACKAGE)}
    assert got.pop("counterbase") == COUNTER_BASE
    assert got == {name.replace("_", "").lower(): one.address for name, one in REGISTERS.items()}
    bits = {int(bit): name for name, bit in re.findall(r"logic (\w+); +// \[(\d+)\]", PACKAGE)}
    assert [bits[i] for i in range(len(bits))] == list(ERRORS)
    numbers = re.findall(r"Cnt(\w+) += 5'd(\d+)", PACKAGE)
    assert [re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower() for name, _ in numbers] == list(COUNTERS[:14])
    assert [int(number) for _, number in numbers] == list(range(14))
    assert f"RegVersionValue = 32'h{VERSION_VALUE >> 16:04x}_{VERSION_VALUE & 0xFFFF:04x}" in PACKAGE


def test_parameters_and_modules():
    """Every parameter with its default, and every file, is in the documentation."""
    core = (RTL / "spike_core.sv").read_text().split(") (")[0]
    parameters = re.findall(r"parameter (?:int unsigned|bit) +(\w+) += ([\w']+)", core)
    assert len(parameters) == 19
    for name, default in parameters:
        default = {"Lanes": "`Lanes`", "TmaxLimit": "7", "1'b1": "1", "1'b0": "0"}.get(default, default)
        assert f"| `{name}` | {default} |" in DOC, name
    for path in (*RTL.glob("*.sv"), *RTL.glob("*.svh")):
        assert f"`{path.name}`" in DOC, path.name


def test_nothing_is_multiplied():
    """No multiplication, division or remainder of a signal anywhere in the core; parameters and indices may."""
    operation = re.compile(r"(\w+|\])\s*[*/%]\s*(\w+)")
    signal = re.compile(r"[a-z]\w*[a-z_]|\]")  # parameters begin with a capital, indices have one letter
    for path in RTL.glob("*.sv"):
        for number, text in enumerate(path.read_text().splitlines(), 1):
            code = re.sub(r"@\(\*\)|8\*b", "", text.split("//")[0])
            for pair in operation.findall(code):
                assert not any(map(signal.fullmatch, pair)), f"{path.name}:{number}: {text}"
