"""Areas of spike and dense arrays by block, in any cell library: what `tb/equal_accuracy.py` counts with.

    python rtl/synth/arrays.py [--liberty FILE …] [--description FILE] [--out FILE] [--work DIR]

As in the ladder, what stands in an array more than once is mapped once, with wires: a column; of a part that grows with
the columns two sizes are, and it is taken to grow in proportion. Front end, registers and counters, which both designs
need alike, are left out, but for what capped firing adds to them. Results of other libraries stay.

Exit codes: 0 done; 2 bad arguments or no tool.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tb"), str(ROOT / "plugin")]

import technology  # noqa: E402
from ladder import Block, flip_flop, mapped  # noqa: E402
from spike_compressor.errors import InputError  # noqa: E402
from spike_compressor.trace.golden_capped import BLOCK  # noqa: E402
from spike_compressor.trace.schema import CAPPED_CODINGS  # noqa: E402
from synth import LIBRARY, LIBRARY_REMEDY  # noqa: E402
from toolchain import ToolError  # noqa: E402

RESULTS = HERE / "arrays.json"
ROWS, INPUTS, WEIGHT_BITS, GROUPS = 8, 2048, 4, 32
#: Columns of the two sizes.
FEW, MORE = 2, 6

Mapper = Callable[[str, dict[str, int], tuple[str, ...]], Block]


def bits(values: int) -> int:
    """Bits that tell so many values apart."""
    return (values - 1).bit_length()


def growing(block: Mapper, top: str, parameters: dict[str, int]) -> tuple[float, float, float]:
    """um2 of a module once and for each column, and its period in ns."""
    few, more = (block(top, {**parameters, "Columns": count}, ()) for count in (FEW, MORE))
    each = (more.area - few.area) / (MORE - FEW)
    return few.area - FEW * each, each, more.period()[0]


@dataclass(frozen=True)
class SpikeArray:
    """From the spike core's store to its accumulators.

    Args:
        lanes: of the core.
        slots: of a lane's bank.
        tmax: largest T.
    """

    lanes: int
    slots: int
    tmax: int = 7

    def logic(self, block: Mapper) -> dict[str, dict[str, Any]]:
        """um2 of logic: once for the array, and for each column; and the longest of the blocks' periods in ns."""
        half = WEIGHT_BITS + bits(self.lanes) + bits(self.slots) + self.tmax + 1
        sums = WEIGHT_BITS + self.tmax + bits(INPUTS)
        shape = {"Rows": ROWS, "Columns": FEW, "Lanes": self.lanes, "Slots": self.slots}
        blocks = {"Blocks": INPUTS // (self.lanes * self.slots)}
        limits = {"WeightBits": WEIGHT_BITS, "Tmax": self.tmax, "Csd": 0}
        width = {"SumWidth": WEIGHT_BITS + bits(self.lanes) + 2, "AccWidth": half}
        column = block("spike_column", {"Lanes": self.lanes, "WeightBits": WEIGHT_BITS, **width}, ())
        array = block("spike_array", {**shape, **limits}, ("spike_column",))
        picker = block("spike_picker", shape, ("spike_lane",))
        walker = block("spike_walker", {**shape, **blocks, "Tmax": self.tmax, "Csd": 0}, ())
        store = {"Rows": ROWS, "Lanes": self.lanes, "Slots": self.slots, **blocks, "Tmax": self.tmax, "Csd": 0}
        accumulator = growing(block, "spike_accumulator", {"Rows": ROWS, "HalfWidth": half, "SumBits": sums})
        whole = {"SumBits": WEIGHT_BITS + self.tmax + bits(self.lanes * self.slots), "OneBlock": 1}
        leaving = growing(block, "spike_accumulator", {"Rows": ROWS, "HalfWidth": half, **whole})
        stored = block("spike_store", store, ()).area
        beat = {"WeightInputs": max(1, self.lanes // 4), "WeightBits": WEIGHT_BITS}
        loader = growing(block, "spike_weight_loader", {**shape, **blocks, **beat})
        return {
            "once": {
                "pipeline": array.area - FEW * column.area,
                "picker": picker.area,
                "walker": walker.area,
                "store's logic": stored,
                "accumulators": accumulator[0],
                "weight loader": loader[0],
            },
            "a column": {"columns": column.area, "accumulators": accumulator[1], "weight loader": loader[1]},
            "with one block": {"once": leaving[0], "a column": leaving[1]},
            **self.capping(block, store, stored),
            "periods_ns": {
                **{one.netlist.top: one.period()[0] for one in (array, picker, walker)},
                "spike_accumulator": accumulator[2],
                "spike_weight_loader": loader[2],
            },
        }

    def capping(self, block: Mapper, store: dict[str, int], stored: float) -> dict[str, Any]:
        """What the front end and the store have more if lanes are capped, where a coding has this core's lanes.

        Args:
            store: parameters of the store.
            stored: um2 of its logic without.
        """
        if self.lanes * self.slots != BLOCK or self.lanes not in CAPPED_CODINGS.values():
            return {}
        front = [block("spike_neuron_array", {**store, "Capped": caps}, ()) for caps in (0, 1)]
        return {
            "with capped firing": {
                "area_um2": {
                    "front end": front[1].area - front[0].area,
                    "store's logic": block("spike_store", {**store, "Capped": 1}, ()).area - stored,
                },
                "periods_ns": {"with": front[1].period()[0], "without": front[0].period()[0]},
            }
        }


@dataclass(frozen=True)
class DenseArray:
    """From the dense baseline's store to its output.

    Args:
        tmax: largest T, bits of a magnitude.
        planes: of them in a pass.
        lanes: products of a column in a cycle.
    """

    tmax: int
    planes: int
    lanes: int = 8

    def logic(self, block: Mapper) -> dict[str, dict[str, float]]:
        """As `SpikeArray.logic`."""
        passes = 1 if self.planes == self.tmax else 2
        low = WEIGHT_BITS + passes * self.planes + bits(self.lanes)
        sums = max(WEIGHT_BITS + self.tmax + bits(INPUTS), low + 1)
        chunks = {"Chunks": INPUTS // self.lanes}
        shape = {**shape_of(FEW), "Lanes": self.lanes, "WeightBits": WEIGHT_BITS}
        ways = {"Lanes": self.lanes, "WeightBits": WEIGHT_BITS, "Planes": self.planes}
        column = block("dense_column", {**ways, "Passes": passes, "AccWidth": sums}, ())
        array = block(
            "dense_array", {**shape, "Bits": self.tmax, "Planes": self.planes, "AccWidth": sums}, ("dense_column",)
        )
        drain = growing(block, "dense_drain", {"Rows": ROWS, "AccBits": sums, "LowBits": low})
        weights = growing(block, "dense_weights", {**shape, **chunks, "WeightInputs": self.lanes})
        walker = block("dense_walker", {**shape_of(FEW), **chunks}, ())
        counted = {"Groups": GROUPS, "Planes": self.tmax, "PassPlanes": self.planes, "AccBits": sums}
        offsets = {"Rows": ROWS, "Lanes": self.lanes, "WeightBits": WEIGHT_BITS, **chunks, **counted}
        store = {"Rows": ROWS, "Lanes": self.lanes, **chunks, "Planes": self.tmax}
        found = block("dense_offsets", offsets, ("row_offset",))
        return {
            "once": {
                "pipeline": array.area - FEW * ROWS * column.area,
                "walker": walker.area,
                "row offsets": found.area,
                "store's logic": block("dense_store", store, ()).area,
                "drain": drain[0],
                "weight register": weights[0],
            },
            "a column": {"columns": ROWS * column.area, "drain": drain[1], "weight register": weights[1]},
            "periods_ns": {
                **{one.netlist.top: one.period()[0] for one in (array, walker, found)},
                "dense_drain": drain[2],
                "dense_weights": weights[2],
            },
        }


def shape_of(columns: int) -> dict[str, int]:
    """Parameters of an array of so many columns."""
    return {"Rows": ROWS, "Columns": columns}


ARRAYS: dict[str, SpikeArray | DenseArray] = {
    "spike, 16 lanes, 4 slots": SpikeArray(16, 4),
    "spike, 8 lanes, 8 slots": SpikeArray(8, 8),
    "spike, 4 lanes, 16 slots": SpikeArray(4, 16),
    "spike, 16 lanes, 16 slots": SpikeArray(16, 16),
    "dense, T 3": DenseArray(3, 3),
    "dense, T 4": DenseArray(4, 4),
    "dense, T 6 in passes of 3": DenseArray(6, 3),
    "dense, T 7 in passes of 4": DenseArray(7, 4),
    "dense, T 7": DenseArray(7, 7),
}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="arrays.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--liberty", type=Path, nargs="+", default=[], help="the library's files; default: OSU 180 nm")
    parser.add_argument("--description", type=Path, help="of a library that rtl/synth/libraries.json does not know")
    parser.add_argument("--array", action="append", choices=list(ARRAYS), help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "ladder", help="netlists and logs")
    options = parser.parse_args(arguments)
    if not options.liberty and not LIBRARY.is_file():
        print(f"error: no cell library at {LIBRARY}. {LIBRARY_REMEDY}, or name one with LIBERTY=", file=sys.stderr)
        return 2
    try:
        cells = technology.find(options.liberty or [LIBRARY], options.description)
        for name in options.array or ARRAYS:
            start = time.monotonic()
            found = ARRAYS[name].logic(partial(mapped, cells=cells, work=options.work))
            results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
            library = results.setdefault(cells.slug, {"arrays": {}})
            library |= {"name": cells.name, "node": asdict(cells.node), "flop_um2": flip_flop(cells)[0]}
            arrays = {**library["arrays"], name: {**asdict(ARRAYS[name]), **found}}
            library["arrays"] = {one: arrays[one] for one in ARRAYS if one in arrays}
            options.out.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{cells.slug}: {name} after {time.monotonic() - start:.0f} s", flush=True)
    except (InputError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
