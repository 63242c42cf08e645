"""Parts of the group core: area, clock and energy of an encoder, and what it costs a column to know TC-LIF as well.

    python rtl/synth/group_parts.py [--liberty FILE …] [--rung NAME …] [--out FILE] [--work DIR]

An encoder is mapped, timed with wires, and its netlist gets groups of normally distributed inputs without a pause: five
are on their way at once, as the RTL has them. Every spike has to be the golden beam's, and every ready and valid come
in the cycle in which the RTL has them. Results of other libraries stay; an encoder whose sources, library and flow are
as they were is not made again.

Exit codes: 0 done; 1 netlist and NumPy differ; 2 bad arguments or no tool.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tb"), str(ROOT / "plugin")]

import gates  # noqa: E402
import numpy as np  # noqa: E402
import power  # noqa: E402
import technology  # noqa: E402
from ladder import INPUTS, Block, digest, mapped  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from rungs import RUNGS, Frame, GroupRung, packed  # noqa: E402
from spike_compressor.errors import InputError  # noqa: E402
from spike_compressor.trace import fire_groups, group_membranes  # noqa: E402
from sram import MACRO_BITS, memory  # noqa: E402
from synth import LIBRARY, LIBRARY_REMEDY, simulator  # noqa: E402
from toolchain import ToolError  # noqa: E402

RESULTS = HERE / "group_parts.json"
#: Rungs of groups, by name.
GROUPS = {name: rung for name, rung in RUNGS.items() if isinstance(rung, GroupRung)}
MEASURES = [
    HERE / name for name in ("group_parts.py", "rungs.py", "gates.py", "power.py", "sta.py", "sram.py", "toggle.cpp")
]
#: Groups that an encoder has on their way at once; cycles of a step.
TURNS = 5
MAGNITUDE_BITS, BEAM = 13, 4
#: Turns of each number of steps.
LENGTH = 12
RESET = 3  # cycles


def groups(
    rung: GroupRung, generator: np.random.Generator, steps: int, count: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Membranes int32 [count, 4] of normal inputs, and what fires, int8 [steps, count, 4]."""
    row = np.array([steps], np.uint8)
    x = generator.standard_normal((1, 4 * count)).astype(np.float32)
    membranes = group_membranes(x, np.array([rung.scale / 2 ** (steps - 1)], np.float32), row)
    fired = fire_groups(membranes, row, BEAM)
    return membranes.reshape(count, 4), fired.reshape(steps, count, 4)


def spikes_of(membranes: NDArray[Any], fired: NDArray[Any]) -> int:
    """The encoder's output for a group, int [4], and what it fires, int [steps, 4]: 4 bits a step, the last one lowest.

    Where nobody fires, the index is that of the input with the smallest residual, of equal ones the last.
    """
    out, residuals, steps = 0, membranes.astype(np.int64), len(fired)
    for left, spikes in zip(range(steps - 1, -1, -1), fired.astype(np.int64), strict=True):
        place = int(np.abs(spikes).argmax()) if spikes.any() else 3 - int(np.abs(residuals)[::-1].argmin())
        spike = 8 * int(spikes.any()) + 4 * int((spikes < 0).any()) + place
        residuals = residuals - spikes * 3**left * 2 ** (7 - left)
        out |= spike << (4 * left)
    return out


def frames(rung: GroupRung, generator: np.random.Generator, steps: int) -> Iterator[tuple[bool, Frame]]:
    """Whether a cycle counts, and the ports at its end. Five groups come in, and behind all their steps five more.

    A group that came in cycle t is complete in t + 5 S - 1, and its turn is free again in t + 5 S.
    """
    idle = {
        "rst_ni": 1,
        "valid_i": 0,
        "magnitudes_i": 0,
        "neg_i": 0,
        "left_i": 0,
        "ready_o": 1,
        "valid_o": 0,
        "spikes_o": 0,
    }
    for _ in range(RESET):
        yield False, idle | {"rst_ni": 0}
    membranes, fired = groups(rung, generator, steps, TURNS * LENGTH)
    for cycle in range(TURNS * steps * LENGTH + TURNS):
        turn, at = divmod(cycle, TURNS * steps)
        frame = idle | {"ready_o": int(at < TURNS)}
        if at < TURNS and turn < LENGTH:
            group = membranes[TURNS * turn + at]
            frame |= {"valid_i": 1, "left_i": steps - 1, "neg_i": packed((group < 0).astype(np.int64), 1)}
            frame |= {"magnitudes_i": packed(np.abs(group).astype(np.int64), MAGNITUDE_BITS)}
        done = cycle - TURNS * steps + 1  # when the group that is complete now came in
        before, slot = divmod(done, TURNS * steps)
        if done >= 0 and slot < TURNS and before < LENGTH:
            was = TURNS * before + slot
            frame |= {"valid_o": 1, "spikes_o": spikes_of(membranes[was], fired[:, was])}
        yield turn < LENGTH, frame


def replay(block: Block, cycles: Sequence[tuple[bool, Frame]], steps: int, toggle: Path) -> float:
    """pJ of all cycles that count; AssertionError if the netlist shows anything else than the frames have.

    What comes out for more steps than a group has is noise.
    """
    outputs = [(name, nets[: 4 * steps] if name == "spikes_o" else nets) for name, nets in block.netlist.outputs]
    compared = replace(block.netlist, outputs=outputs)
    ports = [(name, len(nets)) for name, nets in (*compared.inputs, *compared.outputs) if name != "clk_i"]
    lines = []
    for counts, frame in cycles:
        value, at = 0, 0
        for name, width in ports:
            value |= frame[name] << at
            at += width
        lines.append(f"{int(counts)} {value:0{(at + 3) // 4}x}")
    gates.write_toggle(compared, block.folder / "netlist.txt", {"spikes_o": "valid_o"})
    (block.folder / "ports.txt").write_text("\n".join(lines) + "\n")
    files = [str(block.folder / name) for name in ("netlist.txt", "ports.txt", "counts.txt")]
    result = subprocess.run([str(toggle), *files], capture_output=True, text=True, check=False)
    if result.returncode:
        raise AssertionError(f"{block.netlist.top}: netlist and NumPy differ: {result.stderr.strip()}")
    return sum(power.energy(block.netlist, power.Counts(block.folder / "counts.txt")).values())


def measure(rung: GroupRung, cells: technology.Technology, work: Path) -> dict[str, Any]:
    """Area, clock and energy of a rung's encoder, what its store takes to be written, and its column in two ways."""
    most = max(rung.steps)
    block = mapped("group_encoder", {"Steps": most}, (), cells, work)
    period, _ = block.period()
    toggle, generator = simulator(work), np.random.default_rng(1)
    total = sum(replay(block, list(frames(rung, generator, steps)), steps, toggle) for steps in rung.steps)
    store = memory(2 * INPUTS // rung.lanes * most, rung.lanes, node=cells.node)
    columns = [mapped(rung.top, {**rung.parameters, **dual}, rung.keep, cells, work) for dual in ({}, {"Dual": 1})]
    return {
        "column_um2": [column.area for column in columns],  # alone, and with planes of TC-LIF
        "column_period_ns": [column.period()[0] for column in columns],
        "area_um2": block.area,
        "period_ns": period,
        "pj_per_step": total / (TURNS * LENGTH * sum(rung.steps)),  # of a group
        "store_pj_per_write": store.write_pj * MACRO_BITS / rung.lanes,  # what an encoder writes is in one macro
    }


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="group_parts.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--liberty", type=Path, nargs="+", default=[], help="the library's files; default: OSU 180 nm")
    parser.add_argument("--description", type=Path, help="of a library that rtl/synth/libraries.json does not know")
    parser.add_argument("--rung", action="append", choices=list(GROUPS), help="only of this one; may be repeated")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "ladder", help="netlists and logs")
    options = parser.parse_args(arguments)
    if not options.liberty and not LIBRARY.is_file():
        print(f"error: no cell library at {LIBRARY}. {LIBRARY_REMEDY}, or name one with LIBERTY=", file=sys.stderr)
        return 2
    try:
        cells = technology.find(options.liberty or [LIBRARY], options.description)
        for name in options.rung or GROUPS:
            rung, start = GROUPS[name], time.monotonic()
            key = digest(repr(rung), modules=["group_encoder", "group_column"], cells=cells, more=MEASURES)
            results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
            library = results.setdefault(cells.slug, {"name": cells.name, "rungs": {}})
            if library["rungs"].get(name, {}).get("digest") != key:
                library["rungs"][name] = {**measure(rung, cells, options.work), "digest": key}
                options.out.write_text(json.dumps(results, indent=1) + "\n")
            found = library["rungs"][name]
            print(
                f"{cells.slug}: encoder of {name}: {found['area_um2'] / 1e6:.3f} mm2, "
                f"{1000 / found['period_ns']:.0f} MHz, "
                f"{found['pj_per_step']:.1f} pJ a group and step, after {time.monotonic() - start:.0f} s",
                flush=True,
            )
    except (InputError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
