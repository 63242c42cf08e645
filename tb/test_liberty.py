"""Liberty files of any kind: units, several files, gzip, cells that must not be used, what is found in them."""

import gzip
import json
import shutil
import sys

import numpy as np
import pytest
from helpers.messages import naming
from spike_compressor.errors import InputError
from tiny_liberty import DESCRIPTION, library
from toolchain import RTL

sys.path.insert(0, str(RTL / "synth"))

import cells
import ladder
import liberty_text
import sta
import technology
from clock_gates import IntegratedGate, LatchGate
from rungs import RUNGS, IntRung

needs_sta = pytest.mark.skipif(shutil.which("sta") is None, reason=sta.REMEDY)


def write(folder, text, name="tiny.lib"):
    """A Liberty file; compressed if its name says so."""
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def find(folder, *paths):
    """The technology of files that are described."""
    description = folder / "description.json"
    description.write_text(DESCRIPTION)
    return technology.find(paths, description)


@pytest.mark.parametrize(
    ("function", "inputs", "table"),
    [
        ("!(A&B)", "AB", 0b0111),
        ("(A B)'", "AB", 0b0111),
        ("A*B+C'", "ABC", 0b10001111),
        ("A^B^C", "ABC", 0x96),
        ("A | B & !C", "ABC", 0b10101110),
        ("A'' ", "A", 0b10),
        ("1", "", 1),
        ("0", "A", 0),
        ("IQ", "A", None),
    ],
)
def test_functions(function, inputs, table):
    """All spellings of the operators, and their ranks."""
    assert liberty_text.truth_table(function, list(inputs)) == table


@pytest.mark.parametrize("function", ["A +", "(A", "A )", "& A", ""])
def test_what_is_no_function(function):
    """Half a function is refused."""
    with pytest.raises(ValueError, match="no function"):
        liberty_text.truth_table(function, ["A"])


def test_units_make_no_difference(tmp_path):
    """ns and pF, ps and fF: capacitances, delays and energies are the same numbers; so are two files and one."""
    plain = cells.read([write(tmp_path, library())])
    flops = ("DFFN", "SDFF", "EDFF", "LAT", "ICG")
    first = write(tmp_path, library(time="ps", load="ff", without=flops), "a.lib.gz")
    second = write(tmp_path, library("tiny2", time="ps", load="ff", only=flops), "b.lib")
    other = cells.read([first, second])
    assert set(plain.cells) == set(other.cells)
    for name, cell in plain.cells.items():
        twin = other.cells[name]
        assert (cell.ff, cell.kind, cell.unfit, cell.latch) == (twin.ff, twin.kind, twin.unfit, twin.latch), name
        for pin in cell.pins.values():
            same = twin.pins[pin.name]
            assert same.capacitance == pytest.approx(pin.capacitance)
            assert (same.table, same.inverts, same.role) == (pin.table, pin.inverts, pin.role)
            for kind in ("delays", "slews", "energies"):
                ours, theirs = (cells.mean(getattr(one, kind), 0.03, 0.2) for one in (pin, same))
                assert theirs == pytest.approx(ours, rel=1e-6)
                assert bool(getattr(pin, kind)) == bool(getattr(same, kind))
    # tables have slew first; 0.1 at the least load and slew, three times that at the most load, twice at the most slew
    out = plain.cells["INV"].pins["Y"]
    assert cells.mean(out.delays, 0.001, 0.01) == pytest.approx(0.1)
    assert cells.mean(out.delays, 0.1, 0.01) == pytest.approx(0.3)
    assert cells.mean(out.delays, 0.001, 1.0) == pytest.approx(0.2)


def test_cells_that_must_not_be_used(tmp_path):
    """Scan, enable, tri-state and marked cells stay out, and what other tools get has only what may be used."""
    found = find(tmp_path, write(tmp_path, library(more=BLIND)))
    unfit = {name: cell.unfit for name, cell in found.library.cells.items() if cell.unfit}
    assert unfit == {
        "SDFF": "scan",
        "EDFF": "a flip-flop that is no plain D flip-flop",
        "TRI": "tri-state",
        "OLD": "dont_use",
        "LAT": "holds state",
        "ICG": "dont_use",
        "BLIND": "an input without delays",
    }
    (path,) = found.write(tmp_path)
    left = cells.read([path]).cells
    assert set(left) == {"INV", "BUF", "NAND", "NOR", "XOR", "FA", "DFFN", "ICG"}


def test_what_is_found(tmp_path):
    """Unit, buffer, full adder with inverted outputs, clock gates of both kinds, flip-flop with an inverted output."""
    found = find(tmp_path, write(tmp_path, library()))
    assert (found.unit, found.buffer) == ("INV", "BUF")
    assert found.adder == technology.Adder("FA", ("A", "B", "C"), "CON", "SN", True, True)
    assert isinstance(found.gate, IntegratedGate)
    assert found.gate.area == 11
    assert dict(next(iter(found.gate.instances("u", "clk", "en", "out")))[2])["SE"] == "1'b0"
    flop = found.library.cells["DFFN"]
    assert flop.ff == ("D", "CK")
    assert flop.pins["QN"].inverts
    built = find(tmp_path, write(tmp_path, library(without=["ICG"], also={"AND": 4})))
    assert isinstance(built.gate, LatchGate)
    assert built.gate.cells == ("LAT", "AND", "INV")
    # two XOR gates and four NAND gates: 28
    for area, worth in ((28, True), (29, False)):
        adder = find(tmp_path, write(tmp_path, library(without=["FA"], also={"ADD": area}))).adder
        assert (adder is not None) == worth


BLIND = (
    "cell (BLIND) { area : 4; pin (A) { direction : input; } pin (B) { direction : input; } "
    'pin (Y) { direction : output; function : "A B"; } }'
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ("no Liberty file", "line 1")),
        ("module a; endmodule", ("no Liberty file", "line 1", "module")),
        (library()[:-3], ("no Liberty file", "ends within", "library")),
        (library() + "}", ("no Liberty file", "brace too many")),
        (library(only=[]), ("holds no cells",)),
        (library(header={"time_unit": ': "1 fortnight"'}), ("time_unit", "fortnight")),
        (library(header={"capacitive_load_unit": ""}), ("capacitive_load_unit", "nothing")),
        (library(header={"delay_model": ": polynomial"}), ("polynomial", "table_lookup")),
        (library(header={"nom_voltage": ""}), ("nom_voltage",)),
        (library("other"), ("other", "DESCRIPTION")),
        (library(without=["INV"]), ("no inverter",)),
        (library(without=["DFFN"]), ("no flip-flop",)),
        (library(without=["BUF"]), ("no buffer",)),
        (library(without=["ICG", "LAT"]), ("clock gate", "description")),
        (library(more='cell (BAD) { area : 1; pin (Y) { direction : output; function : "A + "; } }'), ("BAD", "Y")),
    ],
)
def test_bad_libraries(text, told, tmp_path):
    """One sentence that names the file or the cell, and what to do."""
    with pytest.raises(InputError, match=naming(*told)):
        find(tmp_path, write(tmp_path, text))


def test_bad_files(tmp_path):
    """Missing, damaged, given twice, or of another voltage; and a description that is none."""
    good = write(tmp_path, library())
    with pytest.raises(InputError, match=naming("none.lib", "cannot be read")):
        find(tmp_path, tmp_path / "none.lib")
    damaged = tmp_path / "cut.lib.gz"
    damaged.write_bytes(gzip.compress(library().encode())[:-40])
    with pytest.raises(InputError, match=naming("cut.lib.gz", "damaged")):
        find(tmp_path, damaged)
    with pytest.raises(InputError, match=naming("INV", "one corner")):
        find(tmp_path, good, write(tmp_path, library(), "again.lib"))
    with pytest.raises(InputError, match="nom_voltage"):
        find(tmp_path, good, write(tmp_path, library(only=["NAND"], header={"nom_voltage": ": 1.1"}), "high.lib"))
    with pytest.raises(InputError, match="LIBERTY="):
        find(tmp_path)
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(InputError, match=naming("bad.json", "description")):
        technology.find([good], tmp_path / "bad.json")


def test_wires_grow_with_a_block():
    """Donath's mean length, against the sum over the levels of the hierarchy that it is the closed form of."""

    def summed(levels, rent):
        nets = lengths = 0.0
        for level in range(levels):  # blocks of 4^level cells, four to a block of the next
            crossing = 4 ** (levels - level) * 4 ** (level * rent) * (1 - 4 ** (rent - 1))
            nets += crossing
            lengths += crossing * (14 * 2**level - 2 / 2**level) / 9
        return lengths / nets

    assert technology.donath(4**6, 0.6) == pytest.approx(summed(6, 0.6), rel=0.02)
    assert technology.donath(4**4, 0.6) < technology.donath(4**6, 0.6)


@needs_sta
def test_a_rung_goes_through_the_whole_flow(tmp_path, monkeypatch, capsys):
    """In a library that nobody knew: mapped, timed, equal to NumPy, reported; made once; another sum is noticed."""
    path = write(tmp_path, library(), "tiny.lib.gz")
    (tmp_path / "tiny.json").write_text(DESCRIPTION)
    small = IntRung("INT2 x INT3", 3, 2, 14, lanes=2)
    monkeypatch.setitem(RUNGS, small.name, small)
    out, page = tmp_path / "ladder.json", tmp_path / "ladder.md"
    arguments = ["--liberty", str(path), "--description", str(tmp_path / "tiny.json"), "--rung", small.name]
    arguments += ["--out", str(out), "--page", str(page), "--work", str(tmp_path / "work")]
    assert ladder.main(arguments) == 0
    entry = json.loads(out.read_text())["tiny"]["rungs"][small.name]
    assert entry["macs_per_cycle"] == 8 * 16 * 2
    assert set(entry["area_um2"]) >= {"columns", "row offsets", "store of activations"}
    assert min(entry["energy_pj_per_mac"].values()) > 0
    assert "| INT2 x INT3 |" in page.read_text()
    netlist = (tmp_path / "work" / "tiny").glob("int_column*/netlist.json")
    assert '"FA"' in next(netlist).read_text()
    before = out.stat().st_mtime_ns
    assert ladder.main(arguments) == 0
    assert out.stat().st_mtime_ns == before

    found = technology.find([path], tmp_path / "tiny.json")
    block = ladder.mapped(small.top, small.parameters, (), found, tmp_path / "work")
    frames = list(small.frames(np.random.default_rng(1), 100))
    frames[50]["acc_o"] ^= 1
    with pytest.raises(AssertionError, match=naming("int_column", "cycle 50")):
        ladder.energy(block, frames, ladder.simulator(tmp_path / "work"))
    capsys.readouterr()
    assert ladder.main(["--liberty", str(tmp_path / "none.lib"), "--out", str(out)]) == 2
    assert "none.lib" in capsys.readouterr().err


@needs_sta
def test_the_clock_does_not_depend_on_units(tmp_path):
    """OpenSTA speaks in those of the library that it reads first."""
    periods = {}
    for units in (("ns", "pf"), ("ps", "ff")):
        folder = tmp_path / units[0]
        folder.mkdir()
        found = find(folder, write(folder, library(time=units[0], load=units[1])))
        small = IntRung("INT2 x INT3", 3, 2, 14, lanes=2)
        periods[units[0]], _ = ladder.mapped(small.top, small.parameters, (), found, folder / "work").period()
    assert periods["ps"] == pytest.approx(periods["ns"], rel=0.01)
