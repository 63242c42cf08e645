"""Build the kernels: C++ without dependencies, a library that `spike_compressor.kernels` loads.

    python kernels/build.py [FOLDER]

builds it into FOLDER, by default beside the package of this checkout. `setup.py` does the same for wheels. What the
environment can say: CXX (the compiler; a cross compiler builds for its own machine), CXXFLAGS (added at the end).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
BESIDE = HERE.parent / "plugin" / "spike_compressor" / "kernels"
#: On Linux, and with other systems' suffixes where these are usual.
NAME = "libspike_kernels.dylib" if sys.platform == "darwin" else "libspike_kernels.so"
#: Outputs are rounded after each operation: nothing that the standard forbids, and no fused multiply-add.
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno", "-fno-exceptions",
         "-fno-rtti", "-Wall", "-Wextra")  # fmt: skip
AVX512VNNI = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni", "-mprefer-vector-width=512",
              "-Wno-maybe-uninitialized")  # of what GCC's own header leaves undefined on purpose  # fmt: skip
#: File of a level -> flags of its instructions, which nothing else is compiled with. A compiler that does not know them
#: compiles it without, to nothing.
LEVELS: dict[str, tuple[str, ...]] = {
    "avx2": ("-mavx2",),
    "avxvnni": ("-mavx2", "-mavxvnni"),
    "avx512vnni": AVX512VNNI,
    "amx": (*AVX512VNNI, "-mamx-tile", "-mamx-int8"),
    "neon": ("-march=armv8.2-a+dotprod",),
    "neon_i8mm": ("-march=armv8.2-a+dotprod+i8mm",),
}


class BuildError(Exception):
    """The compiler is missing, or refuses the sources; says what it said."""


def compiler() -> list[str]:
    """The command of the C++ compiler."""
    return shlex.split(os.environ.get("CXX", "c++"))


def _run(command: list[str]) -> str | None:
    """None, or why it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    return None if done.returncode == 0 else (done.stderr.strip() or f"{command[0]} failed")


def _object(source: Path, folder: Path, extra: tuple[str, ...]) -> Path:
    out = folder / f"{source.stem}.o"
    command = [*compiler(), *FLAGS, *extra, "-c", str(source), "-o", str(out)]
    last = shlex.split(os.environ.get("CXXFLAGS", ""))
    own = LEVELS.get(source.stem, ())
    if own and _run([*compiler(), *own, *last, "-x", "c++", "-fsyntax-only", os.devnull]) is not None:
        own = ()  # unknown, or another machine's; a file that does not compile with flags that are known is an error
    failed = _run([*command, *own, *last])
    if failed is not None:
        raise BuildError(failed)
    return out


def build(folder: Path = BESIDE, extra: tuple[str, ...] = ()) -> Path:
    """Build the library into a folder.

    Args:
        folder: made if it is not there.
        extra: more flags, of the compiler and the linker.

    Returns:
        The library's path. It replaces an older one at once, or is not written.

    Raises:
        BuildError: no compiler, or one that refuses the sources.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".kernels-", dir=folder) as scratch:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = pool.map(lambda source: _object(source, Path(scratch), extra), sorted(HERE.glob("*.cpp")))
            objects = [str(path) for path in made]
        library = Path(scratch) / NAME
        # the standard library's headers are used, not its library: where nothing needs it, it is not asked for
        lean = [] if sys.platform == "darwin" else ["-Wl,--as-needed", "-static-libgcc"]
        failed = _run([*compiler(), "-shared", *lean, *extra, *objects, "-o", str(library)])
        if failed is not None:
            raise BuildError(failed)
        return library.replace(folder / NAME)


def place(library: Path, folder: Path) -> Path:
    """Put a copy of the library into a folder, at once: processes that run with an older one there keep that.

    A file that is written to while it is mapped ends them with a segmentation fault.

    Args:
        library: as `build` has made it, elsewhere.
        folder: made if it is not there.

    Returns:
        The copy's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".kernels-", dir=folder) as scratch:
        return Path(shutil.copy2(library, scratch)).replace(folder / library.name)


if __name__ == "__main__":
    try:
        print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else BESIDE))
    except BuildError as error:
        sys.exit(f"the kernels were not built: {error}")
