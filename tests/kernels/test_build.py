"""How the library is built: what it needs, what may not be shared between levels, and memory that is kept to."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "kernels"
#: Levels whose instructions are written in C++ in emulator/ -> flags of those that are not.
EMULATED = {"avxvnni": ("-mavx2",), "avx512vnni": ("-Wno-psabi",), "amx": ("-Wno-psabi",)}


@pytest.fixture(scope="module")
def builder() -> Any:
    """kernels/build.py."""
    spec = importlib.util.spec_from_file_location("kernels_build", KERNELS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if shutil.which(module.compiler()[0]) is None:
        pytest.skip("no C++ compiler")
    return module


@pytest.mark.slow  # without optimization, each level takes seconds to compile
def test_levels_share_no_inline_function(builder: Any, tmp_path: Path) -> None:
    """The linker keeps one copy of such a function, perhaps the one with instructions that a machine lacks."""
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    for name, flags in builder.LEVELS.items():
        made = tmp_path / f"{name}.o"
        # without optimization, nothing is inlined away
        plain = [flag for flag in builder.FLAGS if flag != "-O3"]
        command = [*builder.compiler(), *plain, *flags, "-O0", "-c", str(KERNELS / f"{name}.cpp"), "-o", str(made)]
        if subprocess.run(command, capture_output=True).returncode != 0:
            continue  # a compiler that does not know these instructions builds a library without the level
        listed = subprocess.run(["nm", "-C", made], capture_output=True, text=True, check=True).stdout
        shared = [line for line in listed.splitlines() if line[17:18] in ("W", "V", "u") and "personality" not in line]
        assert shared == [], name


def test_the_library_needs_the_c_library_alone(builder: Any) -> None:
    library = builder.BESIDE / builder.NAME
    if not library.exists() or shutil.which("readelf") is None:
        pytest.skip("the kernels were not built, or this is not Linux")
    listed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    needed = {line.rsplit("[", 1)[1].rstrip("]") for line in listed.splitlines() if "(NEEDED)" in line}
    assert {name.partition(".")[0] for name in needed} <= {"libc", "libm", "ld-linux-x86-64", "ld-linux-aarch64"}


def test_a_build_that_fails_says_why_and_leaves_what_is_there(
    builder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / builder.NAME
    old.write_text("old")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(builder.BuildError, match="no-such-compiler"):
        builder.build(tmp_path)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("CXXFLAGS", "--no-such-option")
    with pytest.raises(builder.BuildError, match="no-such-option"):
        builder.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [builder.NAME]
    assert old.read_text() == "old"


@pytest.mark.slow  # compiling for the sanitizers takes a minute
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, builder: Any, tmp_path: Path) -> None:
    common = ["-std=c++17", "-O1", "-g", "-ffp-contract=off", "-pthread", f"-fsanitize={sanitizer}"]
    common += ["-fno-sanitize-recover=all", f"-I{KERNELS}"]
    objects = []
    for source in [*sorted(KERNELS.glob("*.cpp")), Path(__file__).with_name("sanitized.cpp")]:
        made = tmp_path / f"{source.stem}.o"
        own = builder.LEVELS.get(source.stem, ())
        if source.stem in EMULATED and platform.machine() == "x86_64":  # machines that have them are rare: in plain C++
            own = ("-O0", "-DSPIKE_EMULATE", f"-I{Path(__file__).parent / 'emulator'}", *EMULATED[source.stem])
        elif source.stem.startswith("neon") != (platform.machine() == "aarch64"):
            own = ()
        command = [*builder.compiler(), *common, *own, "-c", str(source), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        objects.append(str(made))
    program = tmp_path / "sanitized"
    done = subprocess.run([*builder.compiler(), *common, *objects, "-o", str(program)], capture_output=True, text=True)
    if done.returncode != 0 and "cannot find" in done.stderr:
        pytest.skip(f"the compiler has no library of -fsanitize={sanitizer}")
    assert done.returncode == 0, done.stderr
    done = subprocess.run([program, "150"], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "150 shapes\n"


def test_a_running_process_keeps_its_library(builder: Any, tmp_path: Path) -> None:
    """Written to in place, the file would change under whoever has it mapped, and end them."""
    old = tmp_path / "there" / "library.so"
    old.parent.mkdir()
    old.write_bytes(b"old")
    (tmp_path / "library.so").write_bytes(b"new")
    with old.open("rb") as mapped:
        assert builder.place(tmp_path / "library.so", old.parent) == old
        assert mapped.read() == b"old"
    assert old.read_bytes() == b"new"
    assert [path.name for path in old.parent.iterdir()] == ["library.so"]
