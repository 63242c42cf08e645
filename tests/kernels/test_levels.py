"""Levels that this machine lacks: Arm's under an emulator, x86's on instructions written in C++; and one that errs.

Each is compared with the portable level byte for byte, by a program that needs no Python (compare_levels.cpp).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.messages import naming
from loguru import logger
from spike_compressor.errors import InputError
from spike_compressor.kernels import VARIABLE, active_level, library

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "kernels"
ARM = "aarch64-linux-gnu-"
CASES = "60"
#: Debian and Ubuntu: apt-get install g++-aarch64-linux-gnu qemu-user (make cross-tools)
cross = pytest.mark.skipif(
    not shutil.which(f"{ARM}g++") or not shutil.which("qemu-aarch64"),
    reason="needs the Arm cross compiler and its emulator: g++-aarch64-linux-gnu and qemu-user (make cross-tools)",
)
x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="levels of x86 are compiled for x86")
compiler = pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "c++")), reason="needs a C++ compiler")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's linker and loader")


def _run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _driver(folder: Path, cxx: str, flags: str) -> Path:
    """The library in a folder, and the program that compares its levels."""
    _run(sys.executable, KERNELS / "build.py", folder, CXX=cxx, CXXFLAGS=flags)
    program = folder / "compare_levels"
    source = HERE / "compare_levels.cpp"
    _run(cxx, "-std=c++17", "-O1", f"-I{KERNELS}", source, f"-L{folder}", "-lspike_kernels", "-o", program)
    return program


@pytest.fixture(scope="module")
def on_arm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The program for Arm, and the emulator's command up to the processor."""
    program = _driver(tmp_path_factory.mktemp("arm"), f"{ARM}g++", "-O1")
    root = Path("/usr") / ARM.rstrip("-")
    return program, ["qemu-aarch64", "-L", str(root), "-E", f"LD_LIBRARY_PATH={program.parent}", "-cpu"]


@cross
@pytest.mark.parametrize("level", ["neon", "neon_i8mm"])
def test_levels_of_arm(on_arm: tuple[Path, list[str]], level: str) -> None:
    program, emulator = on_arm
    assert f"{level}: self-test 0, 0 of {CASES} cases differ" in _run(*emulator, "max", program, CASES, level)


@cross
@pytest.mark.parametrize(("processor", "levels"), [("cortex-a72", []), ("neoverse-n1", ["neon"])])
def test_arm_processors_have_the_levels_of_their_instructions(
    on_arm: tuple[Path, list[str]], processor: str, levels: list[str]
) -> None:
    program, emulator = on_arm
    assert [line.split(":")[0] for line in _run(*emulator, processor, program, "3").splitlines()] == levels


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with levels whose instructions are those of emulator/: compiled without the real ones."""
    without = "-mno-avx512f -mno-avxvnni -mno-amx-tile -mno-amx-int8"
    flags = f"-O0 -Wno-psabi -DSPIKE_EMULATE -I{HERE / 'emulator'} {without}"
    return _driver(tmp_path_factory.mktemp("emulated"), os.environ.get("CXX", "c++"), flags)


@x86
@compiler
@pytest.mark.parametrize("level", ["avxvnni", "avx512vnni", "amx"])
def test_levels_of_x86_on_emulated_instructions(emulated: Path, level: str) -> None:
    said = _run(emulated, CASES, level, LD_LIBRARY_PATH=str(emulated.parent))
    assert f"{level}: self-test 0, 0 of {CASES} cases differ" in said


@x86
@compiler
def test_the_compiler_of_this_machine_makes_all_levels_of_x86() -> None:
    """A file that does not compile with its flags would be left out without a word."""
    loaded = library.library()
    assert loaded is not None
    assert loaded.levels == ["portable", "avx2", "avxvnni", "avx512vnni", "amx"]


@pytest.fixture
def erring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A package whose library has one level more, the highest, that errs by one; gives what is said meanwhile."""
    sources = tmp_path / "kernels"
    sources.mkdir()
    vectors = {"avx2", "avxvnni", "avx512vnni", "amx", "neon", "neon_i8mm"}
    for path in KERNELS.iterdir():
        if path.suffix in (".h", ".cpp", ".py") and (path.suffix == ".h" or path.stem not in vectors):
            shutil.copy(path, sources)
    right = (sources / "portable.cpp").read_text()
    wrong = right.replace('"portable"', '"wrong"').replace("portable_level", "wrong_level")
    wrong = wrong.replace("codes[k] * weights[k][n]", "codes[k] * weights[k][n] + 1")
    assert wrong.count("+ 1;") > right.count("+ 1;")
    declared = "namespace spike {\nstruct Level;\nconst Level *wrong_level();\n}\n"
    (sources / "wrong.cpp").write_text(declared + wrong)
    levels = (KERNELS / "levels.cpp").read_text()
    begin, end = levels.index("kLevels[] = {"), levels.index("};", levels.index("kLevels[] = {"))
    levels = levels[:begin] + "kLevels[] = {portable_level, wrong_level" + levels[end:]
    levels = levels.replace("namespace spike {", "namespace spike {\nconst Level *wrong_level();", 1)
    (sources / "levels.cpp").write_text(levels)
    _run(sys.executable, sources / "build.py", tmp_path, CXXFLAGS="-O1")

    said: list[str] = []
    sink = logger.add(lambda message: said.append(str(message)), level="WARNING")
    monkeypatch.setattr(library, "_FILE", tmp_path / library._FILE.name)
    library.library.cache_clear()
    yield said
    logger.remove(sink)
    monkeypatch.undo()
    library.library.cache_clear()


@compiler
def test_a_level_that_errs_is_left_for_the_next_and_said_once(
    erring: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert active_level() == "portable"
    assert active_level() == "portable"
    assert len(erring) == 1
    assert "wrong" in erring[0]


@compiler
def test_a_level_that_errs_is_refused_where_it_is_asked_for(erring: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "wrong")
    with pytest.raises(InputError, match=naming(VARIABLE, "wrong")):
        active_level()
