"""Compares the spike core with its dense baseline on a trace bundle: cycles, MACs per cycle, utilisation, area, energy.

    python tb/run_bench.py BUNDLE [--out FILE] [--synth FILE] [--columns N] [--lanes N] [--slots N] [--rows N] [--json]

Both are simulated, bit-exact, the spike core without the spike stream. With `--ideal`, and for layers in csd, which the
baseline does not know, its cycles come from `dense_cycles` instead: what a dense array that never waits needs. With
`--planes P` the baseline takes chunks with larger magnitudes than P bits in two passes.
Areas and energies come from the results of `make synth`, if there are any for these shapes; without them the ratios
that need them are null.

Exit codes: 0 done; 1 the core and the bundle differ; 2 malformed bundle, bad arguments or a missing tool.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

import numpy as np  # noqa: E402
from cycle_model import block_words  # noqa: E402
from images import Shape, dense_products, dense_words, plan  # noqa: E402
from run_trace import require_core_coding, run  # noqa: E402
from spike_compressor.trace import Bundle, Layer, TraceError, open_bundle  # noqa: E402
from toolchain import ROOT, ToolError  # noqa: E402

SYNTH = ROOT / "rtl" / "synth" / "results.json"
#: The baseline whose products are what synthesis makes of `*`: same cycles, another area and energy.
MULTIPLY = "dense_multiply"
#: Bits that no magnitude is larger than.
EVERY = 31


@dataclass(frozen=True)
class DenseShape:
    """A dense array: `rows` x `columns` accumulators, `lanes` products each and cycle.

    Args:
        planes: bits of a magnitude that a product takes in a pass; None: as many as the bundle's largest T.
    """

    rows: int = 8
    columns: int = 16
    lanes: int = 8
    planes: int | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates a cycle."""
        return self.rows * self.columns * self.lanes

    @property
    def tile(self) -> Shape:
        """The baseline's shape as a core's, as far as it cuts layers into tiles."""
        return Shape(self.rows, self.columns, self.lanes, 1, self.lanes)

    def fitting(self, spike: Shape) -> Shape:
        """The same with the limits of a spike core."""
        blocks = max(2, spike.capacity // self.lanes)
        return replace(self.tile, weight_bits=spike.weight_bits, tmax=spike.tmax, blocks=blocks, csd=False)


def dense_cycles(layer: Layer, shape: DenseShape) -> np.ndarray:
    """Cycles of a dense array that never waits for its inputs, per row: float [M].

    A tile takes a cycle for each pass over a chunk; a group's sums leave a row a cycle, as the spike core's do, so it
    never takes fewer cycles than the tile has rows. A tile's cycles are shared out evenly among its rows.
    """
    words = dense_words(layer, shape.tile, shape.planes or EVERY)
    tiles = plan(layer, shape.tile).column_tiles
    rows = np.minimum(shape.rows, layer.info.tokens - np.arange(len(words)) * shape.rows)  # of each tile
    cycles = np.maximum(words, rows[:, None]).sum(axis=1) / rows
    return tiles * np.repeat(cycles, rows)


def fit_shape(bundle: Bundle, names: Iterable[str], *, rows: int, columns: int, lanes: int, slots: int | None) -> Shape:
    """The core for a bundle: what its layers need and no more. Slots: a block of the smallest group, unless given."""
    infos = [bundle.layer(name) for name in names]
    group = min(layer.info.in_features // layer.groups for layer in infos)
    if slots is None:
        slots = 1
        while slots < 16 and 2 * slots * lanes <= group:
            slots *= 2
    return Shape(
        rows=rows,
        columns=columns,
        lanes=lanes,
        slots=slots,
        weight_inputs=max(1, lanes // 4),
        weight_bits=max(layer.info.weight_bits for layer in infos),
        tmax=max(layer.info.max_timesteps for layer in infos),
        blocks=1,
        csd=any(layer.info.coding == "csd" for layer in infos),
    )


def kind(name: str) -> str:
    """Kind of a layer: the last part of its name, with the tower in front where it is a vision tower's."""
    last = name.rsplit(".", 1)[-1]
    return f"vision {last}" if "vision" in name else last


def ratio(over: float | None, under: float | None) -> float | None:
    """Quotient, None if either is unknown."""
    return None if over is None or not under else over / under


@dataclass
class Tally:
    """What both designs did on some work."""

    macs: float = 0
    additions: float = 0
    words: float = 0
    spike_cycles: float = 0
    dense_cycles: float = 0
    products: float = 0

    def add(self, macs: float, additions: float, words: float, spike: float, dense: float, products: float) -> None:
        """Add work and what it took. Products: of the dense array, one for each MAC and pass."""
        self.macs += macs
        self.products += products
        self.additions += additions
        self.words += words
        self.spike_cycles += spike
        self.dense_cycles += dense

    def ratios(self, synth: Synth, baseline: str) -> dict[str, float | None]:
        """Throughput per area and energy per MAC over those of a baseline that synthesis calls so."""
        cycles = self.spike_cycles
        per_area = ratio(
            ratio(self.macs / cycles, synth.area("spike")), ratio(self.macs / self.dense_cycles, synth.area(baseline))
        )
        energy = ratio(
            synth.energy("spike", macs=self.macs, cycles=cycles, words=self.words, additions=self.additions),
            synth.energy(baseline, macs=self.products, cycles=self.dense_cycles, additions=self.additions),
        )
        return {"throughput_per_area_ratio": per_area, "energy_per_mac_ratio": energy}

    def report(self, spike: Shape, dense: DenseShape, synth: Synth) -> dict[str, Any]:
        """Figures of both and their ratios."""
        cycles = self.spike_cycles
        slots = spike.lanes * spike.columns
        return {
            "macs": int(self.macs),
            "spikes_per_input": self.additions / self.macs,
            "spike": {
                "cycles": int(cycles),
                "words": int(self.words),
                "macs_per_cycle": self.macs / cycles,
                "macs_per_cycle_per_slot": self.macs / cycles / slots,
            },
            "dense": {
                "cycles": int(self.dense_cycles),
                "macs_per_cycle": self.macs / self.dense_cycles,
                "macs_per_cycle_per_slot": self.macs / self.dense_cycles / dense.macs,
            },
            "utilisation": self.additions / self.words / slots,
            "utilisation_of_all_cycles": self.additions / cycles / slots,
            "slot_throughput_ratio": (self.macs / cycles / slots) / (self.macs / self.dense_cycles / dense.macs),
            **self.ratios(synth, "dense"),
        }


class Synth:
    """Area and energy of both designs, from the results of synthesis.

    The file holds `{"spike": [...], "dense": [...]}`: designs with `shape` (parameters of the module), `area_um2`
    (memories included) and `energy_pj`: what one `cycle`, `word`, `addition` (a lane and column) or `mac` takes; those
    that are missing count as 0. Entries of another shape are not used.
    """

    def __init__(self, path: Path | None, shapes: dict[str, dict[str, int]]) -> None:
        self.path, self.found, self.note = path, {}, "no results of synthesis"
        if path is None or not path.exists():
            return
        data = json.loads(path.read_text())
        for name, shape in shapes.items():
            entries = data.get("dense" if name == MULTIPLY else name, [])
            for entry in entries if isinstance(entries, list) else [entries]:
                plain = name == MULTIPLY and "Multiply" not in entry["shape"]
                known = {"Planes": 0, "OneBlock": 0} | entry["shape"]  # 0: all in one pass; sums are kept
                if not plain and all(known.get(key, value) == value for key, value in shape.items()):
                    self.found[name] = entry
        missing = sorted(set(shapes) - set(self.found) - {MULTIPLY})
        self.note = f"no results for the shape of: {', '.join(missing)}" if missing else ""

    def area(self, name: str) -> float | None:
        """Square micrometres, memories included."""
        return self.found.get(name, {}).get("area_um2")

    def energy(self, name: str, **events: float) -> float | None:
        """Picojoules of some work, None if unknown."""
        each = self.found.get(name, {}).get("energy_pj")
        if each is None:
            return None
        singular = {"cycles": "cycle", "words": "word", "additions": "addition", "macs": "mac"}
        return sum(each.get(singular[event], 0.0) * count for event, count in events.items())


def compare(
    bundle: Bundle,
    verdicts: list[dict],
    shape: Shape,
    dense: DenseShape,
    synth: Synth,
    baselines: dict[str, int] | None = None,
) -> dict[str, Any]:
    """The report: every layer, sums by kind, modality and T, and the total.

    Args:
        baselines: the dense array's simulated cycles by layer; rows share them as the ideal array's. None: the ideal's.
    """
    layers, total = [], Tally()
    groups: dict[str, dict[str, Tally]] = {"by_kind": {}, "by_modality": {}, "by_timesteps": {}}
    for verdict in verdicts:
        layer = bundle.layer(verdict["layer"])
        K, N = layer.info.in_features, layer.info.out_features
        tiles = plan(layer, shape).column_tiles
        words = block_words(layer, shape).sum(axis=1) * tiles
        # rows share the cycles in which no word was added as they share the words
        cycles = verdict["cycles"] * (words / words.sum() if words.any() else np.full(len(words), 1 / len(words)))
        # a spike is one addition for each output; columns beyond N are idle
        additions = np.count_nonzero(layer.spikes, axis=(0, 2)) * N
        baseline = dense_cycles(layer, dense)
        if baselines is not None:
            baseline *= baselines[layer.name] / baseline.sum()
        macs = np.full(len(words), K * N)
        products = dense_products(layer, dense.tile, dense.planes or EVERY)
        whole = (macs.sum(), additions.sum(), words.sum(), verdict["cycles"], baseline.sum(), products.sum())
        tally = Tally()
        tally.add(*whole)
        total.add(*whole)
        group = groups["by_kind"].setdefault(kind(layer.name), Tally())
        group.add(*whole)
        for key, labels in (
            ("by_modality", [layer.modalities[int(m)] for m in layer.modality]),
            ("by_timesteps", [f"T={t}" for t in layer.timesteps]),
        ):
            for label in dict.fromkeys(labels):
                rows = np.array([item == label for item in labels])
                group = groups[key].setdefault(label, Tally())
                done = (macs[rows].sum(), additions[rows].sum(), words[rows].sum())
                group.add(*done, cycles[rows].sum(), baseline[rows].sum(), products[rows].sum())
        stalls = {name: count for name, count in verdict["counters"].items() if name.startswith("stall_")}
        layers.append({"name": layer.name, "kind": kind(layer.name), **tally.report(shape, dense, synth), **stalls})
    report: dict[str, Any] = {
        "bundle": str(bundle.path),
        "spike": {
            "design": "spike_core",
            "shape": shape.parameters(),
            "cycles": "simulated",
            "synthesis": synth.found.get("spike"),
        },
        "dense": {
            "design": "dense_core",
            "shape": vars(dense),
            "cycles": "model" if baselines is None else "simulated",
            "synthesis": synth.found.get("dense"),
        },
        MULTIPLY: {
            "design": "dense_core, Multiply = 1",
            "synthesis": synth.found.get(MULTIPLY),
            "total": total.ratios(synth, MULTIPLY),
        },
        "note": synth.note,
        "total": total.report(shape, dense, synth),
        "layers": layers,
    }
    for key, parts in groups.items():
        report[key] = {label: part.report(shape, dense, synth) for label, part in sorted(parts.items())}
    return report


def table(report: dict[str, Any]) -> Iterable[str]:
    """Lines for people."""
    spike, dense = report["spike"]["shape"], report["dense"]["shape"]
    yield f"spike core {spike['Lanes']} lanes x {spike['Columns']} columns, {spike['Slots']} slots: cycles simulated"
    yield (
        f"dense array {dense['rows']} rows x {dense['columns']} columns x {dense['lanes']} lanes: "
        f"cycles {'from a model' if report['dense']['cycles'] == 'model' else 'simulated'}"
        + (f", {dense['planes']} planes" if dense["planes"] else "")
    )
    yield (
        f"{'':24} {'MACs':>13} {'spikes/input':>12} {'MACs/cycle':>11} {'dense':>8} "
        f"{'utilisation':>11} {'per area':>9} {'energy':>7}"
    )
    parts = [("total", report["total"])]
    parts += [item for key in ("by_modality", "by_timesteps", "by_kind") for item in report[key].items()]
    for label, part in parts:
        shown = [part["throughput_per_area_ratio"], part["energy_per_mac_ratio"]]
        area, energy = ("-" if value is None else f"{value:.2f}" for value in shown)
        yield (
            f"{label:24} {part['macs']:13,} {part['spikes_per_input']:12.2f} {part['spike']['macs_per_cycle']:11.1f} "
            f"{part['dense']['macs_per_cycle']:8.1f} {part['utilisation']:11.2f} {area:>9} {energy:>7}"
        )
    if report[MULTIPLY]["synthesis"]:
        area, energy = ("-" if value is None else f"{value:.2f}" for value in report[MULTIPLY]["total"].values())
        yield f"{'total, baseline made of `*`':73} {area:>20} {energy:>7}"
    if report["note"]:
        yield f"areas and energies: {report['note']}"


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="run_bench.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("bundle", help="directory with a manifest.json")
    parser.add_argument("--layer", action="append", help="only this layer (may be given several times)")
    parser.add_argument("--out", type=Path, help="write the report here, as JSON")
    parser.add_argument("--synth", type=Path, default=SYNTH, help="results of synthesis (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--slots", type=int, help="default: what makes a block of the smallest group, at most 16")
    parser.add_argument("--dense", type=int, nargs=3, default=(8, 16, 8), metavar=("ROWS", "COLUMNS", "LANES"))
    parser.add_argument(
        "--ideal", action="store_true", help="do not simulate the dense array; take one that never waits"
    )
    parser.add_argument(
        "--planes",
        type=int,
        choices=range(1, 8),
        help="of the dense array: chunks with larger magnitudes take two passes",
    )
    parser.add_argument("--one-block", action="store_true", help="a core that keeps no sums: each group is a block")
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")
    options = parser.parse_args(arguments)
    try:
        bundle = open_bundle(options.bundle)
        names = [bundle.layer(name).name for name in options.layer or [info.name for info in bundle.infos]]
        require_core_coding(bundle, names)
        size = {key: getattr(options, key) for key in ("rows", "columns", "lanes", "slots")}
        shape, dense = fit_shape(bundle, names, **size), DenseShape(*options.dense, options.planes)
        shape = replace(shape, one_block=options.one_block)
        if options.one_block and any(plan(bundle.layer(name), shape).group_blocks > 1 for name in names):
            raise TraceError(f"--one-block: groups have more than the {shape.lanes * shape.slots} inputs of a block")
        quiet: dict[str, Any] = {"seed": 1, "stalls": False, "quiet": True}
        verdicts = run(bundle, names, shape=shape, spike_stream=False, **quiet)
        if dense.planes is not None and not dense.planes <= shape.tmax <= 2 * dense.planes:
            raise TraceError(
                f"--planes {dense.planes}: has to be from half of the bundle's T, {shape.tmax}, to all of it"
            )
        simulated = not options.ideal and all(bundle.layer(name).info.coding == "tc_lif" for name in names)
        core: dict[str, Any] = {"shape": dense.fitting(shape), "dense": True, "planes": dense.planes}
        baselines = run(bundle, names, **core, **quiet) if simulated else []
    except (TraceError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = [verdict["error"] for verdict in (*verdicts, *baselines) if verdict["error"]]
    if failed or len(verdicts) != len(names) or (simulated and len(baselines) != len(names)):
        print(f"error: {failed[0] if failed else 'the simulation broke off'}", file=sys.stderr)
        return 1
    area = {"OneBlock": 0} | {key: value for key, value in shape.parameters().items() if key != "MaxInputs"}
    baseline = {"Rows": dense.rows, "Columns": dense.columns, "Lanes": dense.lanes}
    shapes = {
        "spike": area,
        "dense": {**baseline, "Multiply": 0, "Planes": dense.planes or 0},
        MULTIPLY: {**baseline, "Multiply": 1},
    }
    synth = Synth(options.synth, shapes)
    cycles = {verdict["layer"]: verdict["cycles"] for verdict in baselines} if simulated else None
    report = compare(bundle, verdicts, shape, dense, synth, cycles)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1))
    print(json.dumps(report) if options.json else "\n".join(table(report)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
