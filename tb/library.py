"""Builds the library of the spike core: a Verilated core behind the C interface of rtl/library/spike_rtl.h.

    python tb/library.py [FOLDER] [--rows N] [--columns N] [--lanes N] [--slots N] [--inputs N]

compiles it once for a set of sources and sizes and copies it into FOLDER, by default beside the package of this
checkout, where `load(path, backend="rtl")` finds it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

from board import DRIVER, LIBRARY, run, verilate  # noqa: E402
from images import Shape  # noqa: E402
from toolchain import BUILD, CONTROL, ROOT, RTL, SOURCES, ToolError, find_verilator, locked, use_verilator  # noqa: E402

NAME = "libspike_rtl.so"
BESIDE = ROOT / "plugin" / "spike_compressor" / "rtl"
#: The core at its defaults, with room for the longest rows of models up to 72 billion parameters.
DEFAULT = Shape(blocks=128)
#: A core that compiles in seconds; it computes the same.
SMALL = Shape(rows=4, columns=8, lanes=4, slots=8, weight_inputs=4, blocks=64)


def library(shape: Shape = DEFAULT, *, optimise: str = "-O2") -> Path:
    """The library of a core, compiled unless it was before from the same sources.

    Args:
        shape: of the core; its beats are units.
        optimise: what the compiler is told of the code that runs every cycle.

    Raises ToolError when a tool is missing or something does not compile.
    """
    use_verilator()
    sources = [*sorted(RTL.glob("*.svh")), CONTROL, *SOURCES, *sorted(DRIVER.iterdir()), *sorted(LIBRARY.iterdir())]
    parameters = shape.parameters()
    key = repr((sorted(parameters.items()), optimise, find_verilator(), os.environ.get("CXX"))).encode()
    digest = hashlib.sha256(key)
    for path in sources:
        digest.update(path.read_bytes())
    folder = BUILD / f"library-{digest.hexdigest()[:16]}"
    made = folder / NAME
    with locked(folder):
        if made.is_file():
            return made
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        compiled = ["-fPIC", "-fvisibility=hidden", "-O2"]
        driver = folder / "spike_core.o"
        run(["cc", "-std=c99", *compiled, f"-I{DRIVER}", "-c", str(DRIVER / "spike_core.c"), "-o", str(driver)])
        files = [CONTROL, *SOURCES, LIBRARY / "spike_rtl.cpp", driver]
        flags = " ".join([*compiled[:2], f"-I{LIBRARY}", f"-I{DRIVER}"])
        options = ["--no-assert", "--x-assign", "fast", "--x-initial", "fast", "-CFLAGS", flags, "-LDFLAGS", "-shared"]
        settings = [f"OPT_FAST={optimise}", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1"]
        verilate(folder, "spike_core", parameters, files, options, settings)
        for item in folder.iterdir():  # megabytes of generated code
            if item.name != "Vcore":
                item.unlink()
        return (folder / "Vcore").rename(made)


def install(made: Path, folder: Path = BESIDE) -> Path:
    """Copy a library into a folder; it replaces an older one at once."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{NAME}.{os.getpid()}"
    shutil.copy(made, fresh)
    return fresh.replace(folder / NAME)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=BESIDE, help="where to put it")
    for name in ("rows", "columns", "lanes", "slots"):
        parser.add_argument(f"--{name}", type=int, default=getattr(DEFAULT, name), help="(default: %(default)s)")
    parser.add_argument("--inputs", type=int, default=DEFAULT.capacity, help="longest row (default: %(default)s)")
    args = parser.parse_args(arguments)
    block = args.lanes * args.slots
    shape = replace(
        DEFAULT, rows=args.rows, columns=args.columns, lanes=args.lanes, slots=args.slots, weight_inputs=args.lanes,
        blocks=-(-args.inputs // block),
    )  # fmt: skip
    try:
        print(install(library(shape), args.folder))
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
