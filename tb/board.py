"""Builds a program in C, with the driver, for a board that has a Verilated core on it; see tb/driver."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from images import Shape
from toolchain import BASELINE, BUILD, RTL, SOURCES, STREAMER, TB, ToolError, runtime_objects, use_verilator

DRIVER = RTL / "driver"
BOARD = TB / "driver"
LIBRARY = RTL / "library"


@dataclass(frozen=True)
class Kind:
    """What may be on a board.

    Attributes:
        sources: SystemVerilog beside the core's.
        without: parameters of a shape that the top does not have.
        device: what is at its ports, a file of `tb/driver`.
        drivers: files of `rtl/driver`.
    """

    sources: tuple[Path, ...] = ()
    without: tuple[str, ...] = ()
    device: str = "streams.cpp"
    drivers: tuple[str, ...] = ("spike_core",)


#: By the module at the top.
KINDS = {
    "spike_core": Kind(),
    "dense_core": Kind(tuple(BASELINE), ("Slots", "Csd")),
    "streamed_core": Kind(tuple(STREAMER), (), "memory.cpp", ("spike_core", "spike_streamer")),
}


def board(shape: Shape, program: str, top: str = "spike_core", *, streams: Mapping[str, int] | None = None) -> Path:
    """Compile `tb/driver/<program>.c` and the drivers as strict C99, and link them with a board; returns the program.

    Args:
        shape: of the core.
        top: a module of KINDS.
        streams: parameters of the core's streams: MembraneStream, NibbleWeights, DataWidth, ….

    Raises ToolError when something does not compile.
    """
    use_verilator()
    kind = KINDS[top]
    parameters = {name: value for name, value in shape.parameters().items() if name not in kind.without}
    parameters |= streams or {}
    sources = [*SOURCES, *kind.sources, *sorted(RTL.glob("*.svh"))]
    files = [*sources, *sorted(BOARD.iterdir()), *sorted(DRIVER.iterdir()), LIBRARY / "axil.h"]
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
    for source in (*(DRIVER / f"{name}.c" for name in kind.drivers), BOARD / f"{program}.c"):
        objects.append(folder / f"{source.stem}.o")
        strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1"]
        run(["cc", *strict, f"-I{DRIVER}", f"-I{BOARD}", "-c", str(source), "-o", str(objects[-1])])
    whole = {
        "Membrane": shape.lanes * parameters.get("MembraneBits", 32),
        "Weight": shape.weight_inputs * shape.columns * (4 if parameters.get("NibbleWeights") else 8),
        "Acc": 32 * shape.columns,
    }
    beats = {f"{name.upper()}_BYTES": (parameters.get(f"{name}Stream") or bits) // 8 for name, bits in whole.items()}
    beats["DATA_BYTES"] = parameters.get("DataWidth", 128) // 8
    flags = " ".join([*(f"-D{name}={value}" for name, value in beats.items()), f"-I{BOARD}", f"-I{LIBRARY}"])
    settings = ["OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1"]
    for item in runtime_objects().glob("*.o"):  # Verilator's own library, from an earlier build
        if item.name in ("verilated.o", "verilated_threads.o"):
            shutil.copy(item, folder)
            settings += ["-o", item.name]
    files = [*(path for path in sources if path.suffix == ".sv"), BOARD / "board.cpp", BOARD / kind.device, *objects]
    verilate(folder, top, parameters, files, ["--assert", "--x-initial", "unique", "-CFLAGS", flags], settings)
    return made


def verilate(
    folder: Path,
    top: str,
    parameters: Mapping[str, int],
    files: Sequence[Path],
    options: Sequence[str],
    settings: Sequence[str],
) -> None:
    """Make `folder/Vcore` of a Verilated core and the C++ and objects among `files`.

    Args:
        options: of Verilator, more of them.
        settings: of make, such as OPT_FAST=-O1.

    Raises ToolError when something does not compile.
    """
    command = ["verilator", "--cc", "--exe", "-O3", "--prefix", "Vcore", "--top-module", top, "-Mdir", str(folder)]
    command += [f"-I{RTL}", *options, *(f"-G{name}={value}" for name, value in parameters.items())]
    run([*command, *map(str, files)])
    run(["make", "-C", str(folder), "-f", "Vcore.mk", "-j", "1", "VM_PARALLEL_BUILDS=0", *settings])


def run(command: list[str]) -> str:
    """Run a command; returns what it printed. Raises ToolError with its complaint when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        complaint = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise ToolError(f"{Path(command[0]).name} failed ({done.returncode}): {complaint}")
    return done.stdout
