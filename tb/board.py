"""Builds a program in C, with the driver, for a board that has a Verilated core on it; see tb/driver."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from images import Shape
from toolchain import BASELINE, BUILD, RTL, SOURCES, TB, ToolError, runtime_objects, use_verilator

DRIVER = RTL / "driver"
BOARD = TB / "driver"


def board(shape: Shape, program: str, *, dense: bool = False, streams: Mapping[str, int] | None = None) -> Path:
    """Compile `tb/driver/<program>.c` and the driver as strict C99, and link them with a board; returns the program.

    Args:
        shape: of the core.
        dense: the dense baseline instead of the spike core.
        streams: parameters of the core's streams: MembraneStream, NibbleWeights, ….

    Raises ToolError when something does not compile.
    """
    use_verilator()
    top = "dense_core" if dense else "spike_core"
    parameters = shape.parameters()
    if dense:
        parameters = {name: value for name, value in parameters.items() if name not in ("Slots", "Csd")}
    parameters |= streams or {}
    sources = [*SOURCES, *(BASELINE if dense else ()), *sorted(RTL.glob("*.svh"))]
    files = [*sources, *sorted(BOARD.iterdir()), *sorted(DRIVER.iterdir())]
    digest = hashlib.sha256(repr((top, program, sorted(parameters.items()))).encode())
    for path in files:
        digest.update(path.read_bytes())
    folder = BUILD / f"board-{program}-{digest.hexdigest()[:16]}"
    made = folder / "Vcore"
    if made.is_file():
        return made
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    objects = []
    for source in (DRIVER / "spike_core.c", BOARD / f"{program}.c"):
        objects.append(folder / f"{source.stem}.o")
        strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1"]
        run(["cc", *strict, f"-I{DRIVER}", f"-I{BOARD}", "-c", str(source), "-o", str(objects[-1])])
    whole = {
        "Membrane": shape.lanes * parameters.get("MembraneBits", 32),
        "Weight": shape.weight_inputs * shape.columns * (4 if parameters.get("NibbleWeights") else 8),
        "Acc": 32 * shape.columns,
    }
    beats = {f"{name.upper()}_BYTES": (parameters.get(f"{name}Stream") or bits) // 8 for name, bits in whole.items()}
    flags = " ".join([*(f"-D{name}={value}" for name, value in beats.items()), f"-I{BOARD}"])
    command = ["verilator", "--cc", "--exe", "--assert", "-O3", "--x-initial", "unique", "--prefix", "Vcore"]
    command += ["--top-module", top, "-Mdir", str(folder), f"-I{RTL}", "-CFLAGS", flags]
    command += [f"-G{name}={value}" for name, value in parameters.items()]
    run(
        [
            *command,
            *(str(path) for path in sources if path.suffix == ".sv"),
            str(BOARD / "board.cpp"),
            *map(str, objects),
        ]
    )
    settings = ["OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1", "VM_PARALLEL_BUILDS=0"]
    for item in runtime_objects().glob("*.o"):  # Verilator's own library, from an earlier build
        if item.name in ("verilated.o", "verilated_threads.o"):
            shutil.copy(item, folder)
            settings += ["-o", item.name]
    run(["make", "-C", str(folder), "-f", "Vcore.mk", "-j", "1", *settings])
    return made


def run(command: list[str]) -> str:
    """Run a command; returns what it printed. Raises ToolError with its complaint when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        complaint = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise ToolError(f"{Path(command[0]).name} failed ({done.returncode}): {complaint}")
    return done.stdout
