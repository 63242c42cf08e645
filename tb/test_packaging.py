"""FuseSoC cores, file lists and Bender manifest name the same; stock FuseSoC runs each target in a clean folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
import yosys_tcl
from netlist import program
from registers import VERSION_VALUE
from toolchain import (
    BASELINE,
    GROUP,
    RTL,
    SOURCES,
    STREAMER,
    ToolError,
    configure,
    find_verilator,
    sources_of,
    use_verilator,
)

ROOT = RTL.parent
CORES = {
    "spike_core": RTL / "spike_core.core",
    "dense_core": RTL / "baseline" / "dense_core.core",
    "group_core": RTL / "group" / "group_core.core",
}
SMALL = ["--Rows", "1", "--Columns", "2", "--WeightBits", "2", "--MaxInputs", "16"]
#: What only some cores have: a small one's parameters.
OWN = {
    "spike_core": ["--Lanes", "4", "--Tmax", "1", "--Slots", "1"],
    "dense_core": ["--Lanes", "4", "--Tmax", "1"],
    "group_core": ["--Groups", "2", "--Steps", "2"],
}


def described(core):
    """The FuseSoC description of a core."""
    return yaml.safe_load(CORES[core].read_text(encoding="utf-8").removeprefix("CAPI=2:"))


def listed(core, fileset="rtl"):
    """Files of a fileset, as paths."""
    files = described(core)["filesets"][fileset]["files"]
    return [CORES[core].parent / (file if isinstance(file, str) else next(iter(file))) for file in files]


def read_list(path):
    """Files and include folders of a file list."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("//")]
    files = [(path.parent / line).resolve() for line in lines if not line.startswith("+")]
    return files, [(path.parent / line.removeprefix("+incdir+")).resolve() for line in lines if line.startswith("+")]


def test_every_description_names_every_source():
    """In an order that compiles: the package first."""
    own, baseline, groups = listed("spike_core"), listed("dense_core"), listed("group_core")
    assert own[0].name == "spike_assert.svh"
    assert own[1:] == SOURCES
    assert baseline == BASELINE
    assert groups == GROUP
    assert read_list(RTL / "spike_core.f") == (SOURCES, [RTL])
    assert read_list(RTL / "baseline" / "dense_core.f") == ([*SOURCES, *BASELINE], [RTL])
    assert read_list(RTL / "group" / "group_core.f") == ([*SOURCES, *BASELINE, *GROUP], [RTL])
    assert read_list(RTL / "streamer" / "streamed_core.f") == ([*SOURCES, *STREAMER], [RTL])
    manifest = yaml.safe_load((ROOT / "Bender.yml").read_text(encoding="utf-8"))
    targets = {source.get("target", ""): [ROOT / file for file in source["files"]] for source in manifest["sources"]}
    assert targets == {
        "": SOURCES,
        "dense_core": BASELINE,
        "group_core": GROUP,
        "streamed_core": STREAMER,
        "simulation": [*listed("spike_core", "bench"), *listed("spike_core", "top")],
        "all(simulation, dense_core)": listed("dense_core", "top"),
    }
    assert [ROOT / folder for folder in manifest["export_include_dirs"]] == [RTL]
    assert all(path.is_file() for files in targets.values() for path in files)


@pytest.mark.parametrize("core", CORES)
def test_every_parameter_is_described(core):
    """With its default; and the targets hand all of them on, but those for simulations alone."""
    text = CORES[core].with_suffix(".sv").read_text(encoding="utf-8").split(") (")[0]
    values = {"Lanes": 16, "TmaxLimit": 7, "1'b1": 1, "1'b0": 0}
    found = dict(re.findall(r"parameter (?:int unsigned|bit) +(\w+) += ([\w']+)", text))
    follows = {"WeightInputs", "Planes", "MaxGroups"} & set(found)  # other parameters
    defaults = {
        name: values.get(one) if one in values else int(one) for name, one in found.items() if name not in follows
    }
    known = described(core)["parameters"]
    assert {name: one.get("default") for name, one in known.items() if one["paramtype"] == "vlogparam"} == {
        **defaults,
        **dict.fromkeys(follows),
    }
    targets = described(core)["targets"]
    for name in ("default", "synth"):
        handed = {re.sub(r"is_toplevel\? \((\w+)\)", r"\1", one).split("=")[0] for one in targets[name]["parameters"]}
        assert handed - {"SYNTHESIS"} == {*found} - ({"LateCounters"} if name == "synth" else set())
    assert "SYNTHESIS=true" in targets["synth"]["parameters"]


def test_versions_agree():
    """Cores carry the version that software reads in VERSION, and the changelog has it."""
    version = f"{VERSION_VALUE >> 16}.{VERSION_VALUE & 0xFFFF}"
    for core in CORES:
        assert re.fullmatch(rf"spike-compressor:rtl:{core}:{re.escape(version)}\.\d+", described(core)["name"])
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"Spike core {version}" in changes
    assert re.findall(r"^## \[(.+?)\]", changes, re.MULTILINE)[0] == "Unreleased"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """What `make verify-setup` puts beside the tools: a Verilator that needs no environment; a folder for settings."""
    folder = tmp_path_factory.mktemp("stranger")
    use_verilator()
    if shutil.which("verilator") != find_verilator():  # none of the system
        configure(folder)
    return folder


def fusesoc(home, where, core, target, *settings, cores=RTL):
    """Run stock FuseSoC in a clean folder; what it printed, and its exit code."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VERILATOR")}
    path = os.pathsep.join([str(home / "bin"), str(Path(program("fusesoc")).parent), os.environ["PATH"]])
    command = ["fusesoc", "--cores-root", str(cores), "run", "--target", target, f"spike-compressor:rtl:{core}"]
    done = subprocess.run(
        [*command, *settings],
        cwd=where,
        env=environment | {"HOME": str(home), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr, done.returncode


@pytest.mark.parametrize(
    "core", [pytest.param(one, marks=[] if one == "spike_core" else [pytest.mark.slow]) for one in CORES]
)
def test_lint(core, home, tmp_path):
    """FuseSoC finds the cores and their files, sets parameters, and Verilator has no complaint."""
    name = "Groups" if core == "group_core" else "Lanes"
    said, code = fusesoc(home, tmp_path, core, "lint", f"--{name}", "8")
    assert code == 0, said
    assert "Error" not in said, "in one of the core files that it found"
    (arguments,) = tmp_path.rglob("*.vc")
    assert f"-G{name}=8" in arguments.read_text()
    assert "--lint-only" in arguments.read_text()


@pytest.mark.parametrize("core", ["spike_core", pytest.param("dense_core", marks=pytest.mark.slow)])
def test_sim(core, home, tmp_path):
    """The bench that needs only a simulator runs jobs on the core, of the size and number that was asked for."""
    said, code = fusesoc(home, tmp_path, core, "sim", "--Columns", "2", "--jobs", "7", "--seed", "3")
    assert code == 0, said
    assert re.search(r"7 jobs, \d+ rows: every spike and every sum is right", said), said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "good", "bad", "words"),
    [
        ("spike_neuron.sv", "(membrane_i & below_i) == '0", "membrane_i == '0", "spikes of"),
        ("spike_accumulator.sv", "place_i.acc_first", "1'b1", "not"),
    ],
)
def test_sim_finds_faults(file, good, bad, words, home, tmp_path):
    """In neurons by their spikes, behind them by the sums: and FuseSoC fails then."""
    cores = tmp_path / "rtl"
    shutil.copytree(RTL, cores)
    text = (cores / file).read_text(encoding="utf-8")
    assert good in text
    (cores / file).write_text(text.replace(good, bad, 1), encoding="utf-8")
    said, code = fusesoc(home, tmp_path, "spike_core", "sim", "--jobs", "40", cores=cores)
    assert code != 0
    assert "%Fatal" in said
    assert words in said


@pytest.mark.parametrize("core", [pytest.param(core, marks=pytest.mark.slow) for core in CORES])
def test_synth(core, home, tmp_path, monkeypatch):
    """Yosys gets all files, parameters and SYNTHESIS, and leaves a netlist of the FPGA's cells."""
    monkeypatch.setattr("sys.prefix", str(home))
    (home / "bin").mkdir(exist_ok=True)
    yosys_tcl.install()
    said, code = fusesoc(home, tmp_path, core, "synth", *SMALL, *OWN[core])
    assert code == 0, said
    (netlist,) = tmp_path.rglob("*_2.0.0.json")
    assert '"TRELLIS_FF"' in netlist.read_text()


def test_tcl_runs_commands_of_yosys(tmp_path):
    """As Edalize calls it; a script that fails, or a command that Yosys does not know, is an exit code."""
    script = tmp_path / "script.tcl"
    script.write_text(
        "yosys -import\nset size 3\nyosys read_rtlil empty.il\nyosys tee -o found.txt stat\nif {$size != 3} {exit 1}\n"
    )
    (tmp_path / "empty.il").write_text("module \\top\nend\n")
    call = [sys.executable, yosys_tcl.__file__]
    done = subprocess.run([*call, "-l", "yosys.log", "-p", "tcl script.tcl"], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert "=== top ===" in (tmp_path / "found.txt").read_text()
    assert "stat" in (tmp_path / "yosys.log").read_text()
    script.write_text("yosys no_such_command\n")
    assert subprocess.run([*call, "-p", "tcl script.tcl"], cwd=tmp_path, capture_output=True, check=False).returncode
    script.write_text("puts $nothing\n")
    done = subprocess.run([*call, "-p", "tcl script.tcl"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nothing" in done.stderr


def test_a_module_hangs_on_what_it_names_and_on_nothing_else():
    """Results of a design are made again when one of its files changes, and not when one of another design's does."""
    names = {path.stem for path in sources_of("dense_core")}
    assert {"dense_core", "dense_column", "spike_csa", "spike_pkg", "spike_assert"} <= names
    assert not {"spike_core", "spike_column", "fp_column"} & names
    assert {path.stem for path in sources_of("fp_column")} == {
        "fp_column", "fp_add", "fp_multiply", "spike_pkg", "spike_assert",
    }  # fmt: skip
    with pytest.raises(ToolError, match="no_such"):
        sources_of("no_such")
