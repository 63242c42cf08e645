"""The ladder of baselines: from FP16 arrays to the spike core, in any cell library, with memories and wires.

    python rtl/synth/ladder.py [--liberty FILE …] [--description FILE] [--rung NAME …] [--out FILE] [--work DIR]

What stands in an array more than once is mapped once: a column is synthesised, timed, and replayed with 1,024 chunks
of normally distributed numbers, where its netlist has to give what NumPy says. An array is then put together:
columns, what counts a row's offset, the stores of activations, the register of weights, the buffer of sums. Front
end, registers and control, which all rungs need alike, are in none. Results of other libraries and rungs stay; a rung
whose sources, library and flow are as they were is not made again.

Exit codes: 0 done; 1 netlist and NumPy differ; 2 bad arguments or no tool.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tb"), str(ROOT / "plugin")]

import gates  # noqa: E402
import mapping  # noqa: E402
import numpy as np  # noqa: E402
import power  # noqa: E402
import sta  # noqa: E402
import technology  # noqa: E402
from cells import mean  # noqa: E402
from ladder_report import table  # noqa: E402
from rungs import RUNGS, Frame, GroupRung, Rung, SpikeRung  # noqa: E402
from spike_compressor.errors import InputError  # noqa: E402
from sram import memory, one_port  # noqa: E402
from synth import FLOW, LIBRARY, LIBRARY_REMEDY, simulator  # noqa: E402
from toolchain import BASELINE, GROUP, LADDER, RTL, SOURCES, ToolError, sources_of  # noqa: E402

RESULTS = HERE / "ladder.json"
PAGE = ROOT / "docs" / "results" / "ladder.md"
CHUNKS = 1024

# The array of every rung but the last: as many products a cycle as the spike core has adder slots.
ROWS, COLUMNS, INPUTS, GROUPS = 8, 16, 2048, 32
# The spike core: rows of a tile, columns, lanes, slots.
SPIKE_COLUMNS, SPIKE_LANES, SPIKE_SLOTS, TMAX = 64, 16, 16, 4
# Spikes an input and share of a word that is filled, by distribution of the inputs, at T = 4 (python tb/explore.py).
SPIKES = {"Gauss": (1.36, 0.81), "Laplace": (0.96, 0.76), "gated": (0.42, 0.57)}


@dataclass(frozen=True)
class Block:
    """A mapped module: area in um2, period in ns, netlist."""

    netlist: gates.Netlist
    folder: Path

    @property
    def area(self) -> float:
        """Of its cells; memories in it are put into an array's account on their own."""
        return sum(area for part, area in gates.areas(self.netlist).items() if not part.endswith(" memory"))

    def period(self) -> tuple[float, list[str]]:
        """Shortest clock period in ns and the modules on its path."""
        return sta.shortest_period(self.netlist, self.folder)


#: Beside what maps a module, what an array's figures hang on.
MEASURES = (
    *(HERE / name for name in ("rungs.py", "ladder.py", "gates.py", "power.py", "sta.py", "sram.py", "toggle.cpp")),
    ROOT / "tb" / "ladder_model.py",
    ROOT / "tb" / "group_model.py",
)


def digest(*what: Any, modules: Sequence[str], cells: technology.Technology, more: Sequence[Path] = ()) -> str:
    """Changes with what is given, with the sources of modules, with the flow, the library and more files."""
    found = hashlib.sha256(json.dumps(what).encode())
    for path in (*sources_of(*modules), *FLOW, *more, *cells.library.paths):
        found.update(path.read_bytes())
    return found.hexdigest()


def mapped(
    top: str, parameters: dict[str, int], keep: tuple[str, ...], cells: technology.Technology, work: Path
) -> Block:
    """A module's netlist, with wires."""
    name = "-".join([top, *(f"{key}{value}" for key, value in parameters.items())])
    folder = work / cells.slug / name
    stamp, key = folder / "digest", digest(top, parameters, keep, modules=[top], cells=cells)
    if not (stamp.is_file() and stamp.read_text() == key):
        mapping.synthesise(top, parameters, [*SOURCES, *BASELINE, *LADDER, *GROUP], RTL, cells, folder, keep=keep)
        stamp.write_text(key)
    flat = gates.flatten(json.loads((folder / "netlist.json").read_text())["modules"], top, cells)
    flat.lay_wires()
    gates.buffer(flat)
    return Block(flat, folder)


def record(netlist: gates.Netlist, frames: list[Frame], path: Path) -> None:
    """Write inputs and expected outputs, a line a cycle, as toggle.cpp reads them."""
    inputs = [(name, len(nets)) for name, nets in netlist.inputs if name != "clk_i"]
    ports = [*inputs, *((name, len(nets)) for name, nets in netlist.outputs)]
    digits = (sum(width for _, width in ports) + 3) // 4
    lines = []
    for frame in frames:
        value, at = 0, 0
        for name, width in ports:
            value |= frame[name] << at
            at += width
        lines.append(f"1 {value:0{digits}x}")
    path.write_text("\n".join(lines) + "\n")


def energy(block: Block, frames: list[Frame], toggle: Path) -> float:
    """pJ of a cycle of a block; its netlist has to show every expected output, else AssertionError."""
    gates.write_toggle(block.netlist, block.folder / "netlist.txt", {})
    record(block.netlist, frames, block.folder / "ports.txt")
    files = [str(block.folder / name) for name in ("netlist.txt", "ports.txt", "counts.txt")]
    result = subprocess.run([str(toggle), *files], capture_output=True, text=True, check=False)
    if result.returncode:
        raise AssertionError(f"{block.netlist.top}: netlist and NumPy differ: {result.stderr.strip()}")
    counts = power.Counts(block.folder / "counts.txt")
    return sum(power.energy(block.netlist, counts).values()) / counts.cycles


def flip_flop(cells: technology.Technology) -> tuple[float, float]:
    """Area in um2 of a bit of register, and pJ of a cycle in which it is loaded and changes every other time."""
    flop = min((cell for cell in cells.usable() if cell.ff), key=lambda cell: (len(cell.pins), cell.area))
    assert flop.ff is not None
    data, clock = (flop.pins[name] for name in flop.ff)
    out = flop.pins[flop.outputs[0]]
    volts = cells.library.voltage**2
    clocked = 2 * (mean(clock.energies, 0, cells.slew) + 0.5 * clock.capacitance * volts)
    load = 4 * data.capacitance
    changed = mean(data.energies, 0, cells.slew) + mean(out.energies, load, cells.slew) + 0.5 * load * volts
    return flop.area, clocked + 0.5 * changed


def dense(rung: Rung, cells: technology.Technology, work: Path, toggle: Path) -> dict[str, Any]:
    """An array of a rung that multiplies."""
    column = mapped(rung.top, rung.parameters, rung.keep, cells, work)
    period, path = column.period()
    frames = list(rung.frames(np.random.default_rng(1), CHUNKS))
    per_cycle = energy(column, frames, toggle)
    flop_area, flop_energy = flip_flop(cells)
    chunks = INPUTS // rung.lanes
    macs = ROWS * COLUMNS * rung.lanes
    store = memory(2 * chunks, rung.act_bits * rung.lanes, node=cells.node)
    parts = {
        "columns": ROWS * COLUMNS * column.area,
        "weight register": rung.lanes * COLUMNS * rung.weight_bits * flop_area,
        "buffer of sums": ROWS * COLUMNS * rung.turns * rung.acc_bits * flop_area,
        "store of activations": ROWS * store.area,
    }
    energies = {
        "columns": per_cycle / rung.lanes,
        "weight register": rung.lanes * COLUMNS * rung.weight_bits * flop_energy / macs,
        "store of activations": ROWS * store.read_pj / (rung.turns * macs),
    }
    if rung.offset is not None:
        offset = mapped("row_offset", rung.offset, (), cells, work)
        sums = memory(2 * GROUPS, ROWS * (rung.acc_bits + 1), node=cells.node)
        parts["row offsets"] = offset.area + sums.area
        period = max(period, offset.period()[0])
    period = max(period, store.access_ns)
    return {
        "macs_per_cycle": macs,
        "column_um2_per_mac": column.area / rung.lanes,
        "area_um2": parts,
        "energy_pj_per_mac": energies,
        "period_ns": period,
        "critical_path": path,
    }


def spikes(rung: SpikeRung, cells: technology.Technology, work: Path, toggle: Path) -> dict[str, Any]:
    """The part of the spike core that does what the arrays do: from its store to its accumulators."""
    shape = {"Rows": ROWS, "Columns": SPIKE_COLUMNS, "Lanes": SPIKE_LANES, "Slots": SPIKE_SLOTS}
    blocks = INPUTS // (SPIKE_LANES * SPIKE_SLOTS)
    limits = {"WeightBits": rung.weight_bits, "Tmax": TMAX, "Csd": 0}
    half = rung.acc_bits
    total = rung.weight_bits + TMAX + (INPUTS - 1).bit_length()
    column = mapped(rung.top, rung.parameters, (), cells, work)
    array = mapped("spike_array", {**shape, **limits}, ("spike_column",), cells, work)
    picker = mapped("spike_picker", shape, ("spike_lane",), cells, work)
    sums = mapped(
        "spike_accumulator",
        {"Rows": ROWS, "Columns": SPIKE_COLUMNS, "HalfWidth": half, "SumBits": total},
        (),
        cells,
        work,
    )
    loader = mapped(
        "spike_weight_loader",
        {**shape, "Blocks": blocks, "WeightInputs": SPIKE_LANES, "WeightBits": rung.weight_bits, "FieldBits": 4},
        (),
        cells,
        work,
    )
    slots = SPIKE_COLUMNS * SPIKE_LANES
    bank = memory(2 * SPIKE_SLOTS, SPIKE_COLUMNS * rung.weight_bits, node=cells.node)
    plane = memory(2 * ROWS * blocks, SPIKE_LANES * SPIKE_SLOTS, node=cells.node)
    accumulators = one_port(ROWS, SPIKE_COLUMNS * total, node=cells.node)
    parts = {
        "columns": SPIKE_COLUMNS * column.area,
        "pipeline and picker": array.area - SPIKE_COLUMNS * column.area + picker.area,
        "weight loader": loader.area,
        "accumulators": sums.area + accumulators.area,
        "weight banks": SPIKE_LANES * bank.area,
        "store of spikes": (TMAX + 1) * plane.area,
    }
    frames = list(rung.frames(np.random.default_rng(1), CHUNKS))
    word = SPIKE_COLUMNS * energy(column, frames, toggle)
    energies, rates = {}, {}
    for name, (count, filled) in SPIKES.items():
        macs = slots * filled / count  # of a cycle
        rates[name] = macs
        words_of_row = count * SPIKE_LANES * SPIKE_SLOTS / (filled * SPIKE_LANES)  # in a block
        passed = accumulators.read_pj + accumulators.write_pj
        energies[name] = {
            "columns": word / macs,
            "weight banks": SPIKE_LANES * filled * bank.read_pj / macs,
            "store of spikes": (TMAX + 1) * plane.read_pj / words_of_row / macs,
            "accumulators": passed / words_of_row / macs,
        }
    periods = {block.netlist.top: block.period() for block in (array, picker, sums, loader)}
    slowest = max(periods, key=lambda top: periods[top][0])
    return {
        "slots": slots,
        "macs_per_cycle": rates,
        "column_um2_per_mac": column.area / SPIKE_LANES,
        "area_um2": parts,
        "energy_pj_per_mac": energies,
        "period_ns": max(periods[slowest][0], bank.access_ns, plane.access_ns),
        "critical_path": periods[slowest][1],
    }


#: Encoders beside the array, enough that it never waits for layers of 2,048 outputs.
ENCODERS = 2


def groups(rung: GroupRung, cells: technology.Technology, work: Path, toggle: Path) -> dict[str, Any]:
    """An array of group coding, with its front end and encoders: others have far less of one, which is left out."""
    most, chunks = max(rung.steps), INPUTS // rung.lanes
    shape = {"Groups": rung.lanes // 4, "Steps": most}
    column = mapped(rung.top, rung.parameters, rung.keep, cells, work)
    excess = mapped(rung.top, {**rung.parameters, "Excess": 1}, rung.keep, cells, work)
    one = {**shape, "Rows": 1, "Columns": 1, "WeightBits": rung.weight_bits, "AccBits": rung.acc_bits}
    row = mapped("group_array", one, (rung.top,), cells, work)
    front = mapped("group_front", {**shape, "Rows": ROWS, "Chunks": chunks}, ("group_encoder",), cells, work)
    encoder = gates.areas(front.netlist)["group_encoder"]
    per_step = energy(column, list(rung.frames(np.random.default_rng(1), CHUNKS)), toggle)
    flop_area, flop_energy = flip_flop(cells)
    macs = ROWS * COLUMNS * rung.lanes / rung.mean_steps
    weights = rung.lanes * COLUMNS * rung.weight_bits
    store = memory(2 * chunks * most, rung.lanes, node=cells.node)  # four bits for four inputs
    parts = {
        "columns": ROWS * COLUMNS * column.area,
        "row offsets": ROWS * excess.area,
        "picks of spikes": ROWS * (row.area - column.area - excess.area),
        "weight register": 1.75 * weights * flop_area,  # the chunk, and three quarters of the next one
        "buffer of sums": ROWS * (COLUMNS + 1) * rung.acc_bits * flop_area,
        "store of spikes": ROWS * store.area,
        "front end": front.area - encoder,
        "encoders": ENCODERS * encoder,
    }
    energies = {
        "columns": ROWS * COLUMNS * per_step / macs,
        "row offsets": ROWS * per_step * excess.area / column.area / macs,  # as much a um2 as columns
        "weight register": 1.75 * weights * flop_energy / rung.mean_steps / macs,
        "store of spikes": ROWS * store.read_pj / macs,
    }
    periods = {block.netlist.top: block.period() for block in (column, row, front)}
    slowest = max(periods, key=lambda top: periods[top][0])
    return {
        "macs_per_cycle": macs,
        "steps": rung.mean_steps,
        "encoder_um2": encoder,
        "column_um2_per_mac": column.area * rung.mean_steps / rung.lanes,
        "area_um2": parts,
        "energy_pj_per_mac": energies,
        "period_ns": max(periods[slowest][0], store.access_ns),
        "periods_ns": {top: period for top, (period, _) in periods.items()},
        "critical_path": periods[slowest][1],
    }


def measure(rung: Rung, cells: technology.Technology, work: Path) -> dict[str, Any]:
    """Area, energy and clock of one rung's array."""
    toggle = simulator(work)
    if isinstance(rung, SpikeRung):
        found = spikes(rung, cells, work, toggle)
    elif isinstance(rung, GroupRung):
        found = groups(rung, cells, work, toggle)
    else:
        found = dense(rung, cells, work, toggle)
    return {"name": rung.name, **found}


def known(path: Path) -> dict[str, Any]:
    """Results that were written; none yet is an empty dictionary."""
    return json.loads(path.read_text()) if path.is_file() else {}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ladder.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--liberty", type=Path, nargs="+", default=[], help="the library's files; default: OSU 180 nm")
    parser.add_argument("--description", type=Path, help="of a library that rtl/synth/libraries.json does not know")
    parser.add_argument("--rung", action="append", choices=list(RUNGS), help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results (default: %(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="their tables (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "ladder", help="netlists and logs")
    options = parser.parse_args(arguments)
    if not options.liberty and not LIBRARY.is_file():
        print(f"error: no cell library at {LIBRARY}. {LIBRARY_REMEDY}, or name one with LIBERTY=", file=sys.stderr)
        return 2
    try:
        cells = technology.find(options.liberty or [LIBRARY], options.description)
        for name in options.rung or RUNGS:
            rung, start = RUNGS[name], time.monotonic()
            key = digest(repr(rung), modules=rung.modules, cells=cells, more=MEASURES)
            if known(options.out).get(cells.slug, {}).get("rungs", {}).get(name, {}).get("digest") != key:
                entry = {**measure(rung, cells, options.work), "digest": key}
                results = known(options.out)  # again: a run for another library may have written meanwhile
                library = results.setdefault(cells.slug, {"name": cells.name, "rungs": {}})
                rungs = {**library["rungs"], name: entry}
                library["rungs"] = {one: rungs[one] for one in RUNGS if one in rungs}
                options.out.write_text(json.dumps(results, indent=1) + "\n")
                options.page.write_text("\n".join(table(results)) + "\n")
            print(f"{cells.slug}: {name} after {time.monotonic() - start:.0f} s", flush=True)
    except (InputError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {options.out} and {options.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
