"""Compares three organisations of hardware on a trace bundle: event core, dense baseline, group core.

    python tb/run_bench.py BUNDLE [--out FILE] [--synth FILE …] [--columns N] [--lanes N] [--slots N] [--json]

All are simulated, bit-exact, without the spike stream: on the bundle's own codes where they take its coding, on its
inputs coded anew where not (tb/organisations.py says how, and what is as good as what). `--ideal` takes the dense
array's cycles from `dense_cycles` instead: what one that never waits needs. With `--planes P` it takes chunks with
larger magnitudes than P bits in two passes.
Areas and energies come from the results of `make synth`, a file a library, if there are any for these shapes; without
them the ratios that need them are null. `tb/rtl_page.py` makes a page of reports.

Exit codes: 0 done; 1 a core and its bundle differ; 2 malformed bundle, a coding that no core takes, bad arguments or a
missing tool.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

import numpy as np  # noqa: E402
from cycle_model import block_words  # noqa: E402
from dense_model import EVERY, DenseShape, dense_cycles  # noqa: E402
from images import Shape, dense_products, plan  # noqa: E402
from organisations import Bench, group_core, worked  # noqa: E402
from run_trace import capped_shape  # noqa: E402
from spike_compressor.trace import Bundle, TraceError, open_bundle  # noqa: E402
from spike_compressor.trace.schema import CAPPED_CODINGS  # noqa: E402
from synthesised import MULTIPLY, Synth, everywhere, ratio, standings  # noqa: E402
from toolchain import ToolError  # noqa: E402

#: What a core is built for at least.
LEAST_T = 4


def fit_shape(bundle: Bundle, names: Iterable[str], *, rows: int, columns: int, lanes: int, slots: int | None) -> Shape:
    """The core for a bundle: what its layers need and no more.

    Args:
        lanes: of layers that are not capped; those are coded for lanes and slots of their own.
        slots: None: what makes a block of the smallest group.

    Raises:
        TraceError: groups of scales cut the blocks in which a layer is capped.
    """
    infos = [bundle.layer(name) for name in names]
    coding = infos[0].info.coding
    if coding in CAPPED_CODINGS:
        like = capped_shape(bundle, [layer.name for layer in infos], coding)
        lanes, slots = like.lanes, like.slots
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
        tmax=max(LEAST_T, *(layer.info.max_timesteps for layer in infos)),
        blocks=1,
        csd=any(layer.info.coding == "csd" for layer in infos),
        capped=coding in CAPPED_CODINGS,
    )


def kind(name: str) -> str:
    """Kind of a layer: the last part of its name, with the tower in front where it is a vision tower's."""
    last = name.rsplit(".", 1)[-1]
    return f"vision {last}" if "vision" in name else last


@dataclass
class Tally:
    """What both designs did on some work."""

    macs: float = 0
    additions: float = 0
    words: float = 0
    spike_cycles: float = 0
    dense_cycles: float = 0
    products: float = 0
    group_cycles: float | None = None

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
        """Figures of all and the ratios of the first two."""
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
            "group": self.group_cycles
            and {"cycles": int(self.group_cycles), "macs_per_cycle": self.macs / self.group_cycles},
            "utilisation": self.additions / self.words / slots,
            "utilisation_of_all_cycles": self.additions / cycles / slots,
            "slot_throughput_ratio": (self.macs / cycles / slots) / (self.macs / self.dense_cycles / dense.macs),
            **self.ratios(synth, "dense"),
        }


def compare(
    bundle: Bundle,
    verdicts: list[dict],
    shape: Shape,
    dense: DenseShape,
    synth: Synth,
    baselines: dict[str, int] | None = None,
    groups: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """The report: every layer, sums by kind, modality and T, and the total.

    Args:
        bundle: as the event core ran it.
        verdicts: of that core.
        baselines: the dense array's simulated cycles by layer; rows share them as the ideal array's. None: the ideal's.
        groups: the group core's cycles by layer, of each row. None: it has no codes that are as good.
    """
    layers, total = [], Tally()
    parts: dict[str, dict[str, Tally]] = {"by_kind": {}, "by_modality": {}, "by_timesteps": {}}
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
        columns = [macs, additions, words, cycles, baseline, products]
        every = np.full(len(words), True)
        tally = Tally()
        into = [(tally, every), (total, every), (parts["by_kind"].setdefault(kind(layer.name), Tally()), every)]
        for key, labels in (
            ("by_modality", [layer.modalities[int(m)] for m in layer.modality]),
            ("by_timesteps", [f"T={t}" for t in layer.timesteps]),
        ):
            for label in dict.fromkeys(labels):
                into.append((parts[key].setdefault(label, Tally()), np.array([item == label for item in labels])))
        for one, rows in into:
            one.add(*(column[rows].sum() for column in columns))
            if groups is not None:
                one.group_cycles = (one.group_cycles or 0) + groups[layer.name][rows].sum()
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
    for key, found in parts.items():
        report[key] = {label: part.report(shape, dense, synth) for label, part in sorted(found.items())}
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
    if report["group"] is not None:
        core = report["group"]["shape"]
        yield (
            f"group core {core['Rows']} rows x {core['Columns']} columns x {core['Groups']} groups, "
            f"{core['Units']} encoders: cycles simulated"
        )
    yield (
        f"{'':24} {'MACs':>13} {'spikes/input':>12} {'MACs/cycle':>11} {'dense':>8} {'groups':>8} "
        f"{'utilisation':>11} {'per area':>9} {'energy':>7}"
    )
    parts = [("total", report["total"])]
    parts += [item for key in ("by_modality", "by_timesteps", "by_kind") for item in report[key].items()]
    for label, part in parts:
        shown = [part["throughput_per_area_ratio"], part["energy_per_mac_ratio"]]
        area, energy = ("-" if value is None else f"{value:.2f}" for value in shown)
        groups = f"{part['group']['macs_per_cycle']:.1f}" if part["group"] else "-"
        yield (
            f"{label:24} {part['macs']:13,} {part['spikes_per_input']:12.2f} {part['spike']['macs_per_cycle']:11.1f} "
            f"{part['dense']['macs_per_cycle']:8.1f} {groups:>8} {part['utilisation']:11.2f} {area:>9} {energy:>7}"
        )
    if report[MULTIPLY]["synthesis"]:
        area, energy = ("-" if value is None else f"{value:.2f}" for value in report[MULTIPLY]["total"].values())
        yield f"{'total, baseline made of `*`':73} {area:>29} {energy:>7}"
    for library in report["libraries"]:
        yield f"{library['library']}: over {library['best']}"
        for one in library["cores"]:
            energy = "-" if one["energy"] is None else f"{one['energy']:.2f}"
            yield (
                f"  {one['design']:24} {one['macs_per_cycle']:8.1f} MACs/cycle ({one['cycles']}) "
                f"{one['mm2']:7.3f} mm2 {one['macs_per_cycle_mm2']:9.1f} a mm2   per area {one['per_area']:.2f}   "
                f"energy {energy}"
            )
    for note in filter(None, (report["note"], report["group_note"])):
        yield f"note: {note}"


def arguments_of(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(prog="run_bench.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("bundle", help="directory with a manifest.json")
    parser.add_argument("--layer", action="append", help="only this layer (may be given several times)")
    parser.add_argument("--out", type=Path, help="write the report here, as JSON")
    parser.add_argument(
        "--synth", type=Path, nargs="+", default=everywhere(), help="results of synthesis (default: all)"
    )
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--slots", type=int, help="default: what makes a block of the smallest group, at most 16")
    parser.add_argument("--dense", type=int, nargs=3, default=(8, 16, 8), metavar=("ROWS", "COLUMNS", "LANES"))
    form = ("ROWS", "COLUMNS", "GROUPS", "ENCODERS")
    parser.add_argument("--group", type=int, nargs=4, default=(8, 16, 32, 2), metavar=form, help="of the group core")
    parser.add_argument("--no-group", action="store_true", help="do not simulate the group core")
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
    return parser.parse_args(arguments)


def benched(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The report. Raises TraceError, ToolError, or AssertionError if a core and its bundle differ."""
    bundle = open_bundle(options.bundle)
    names = [bundle.layer(name).name for name in options.layer or [info.name for info in bundle.infos]]
    bench = Bench.of(bundle, names, folder, ideal=options.ideal)
    size = {key: getattr(options, key) for key in ("rows", "columns", "lanes", "slots")}
    shape, dense = fit_shape(bench.event, names, **size), DenseShape(*options.dense, options.planes)
    shape = replace(shape, one_block=options.one_block)
    if options.one_block and any(plan(bench.event.layer(name), shape).group_blocks > 1 for name in names):
        raise TraceError(f"--one-block: groups have more than the {shape.lanes * shape.slots} inputs of a block")
    if dense.planes is not None and not dense.planes <= shape.tmax <= 2 * dense.planes:
        raise TraceError(f"--planes {dense.planes}: has to be from half of the bundle's T, {shape.tmax}, to all of it")
    verdicts = bench.simulated(bench.event, shape)
    cycles = None
    if bench.dense is not None:
        ran = bench.simulated(bench.dense, dense.fitting(shape), dense=True, planes=dense.planes)
        cycles = {verdict["layer"]: verdict["cycles"] for verdict in ran}
    group, groups = None, []
    if bench.group is not None and not options.no_group:
        group = group_core(bench.group, names, options.group)
        groups = bench.simulated(bench.group, group)
    built = {key: value for key, value in shape.parameters().items() if key != "MaxInputs"}
    area = {"OneBlock": 0, "Capped": 0} | built
    size = dense.parameters(shape.tmax)
    # of these arrays there is no other kind
    multiply = {key: size[key] for key in ("Rows", "Columns", "Lanes")} | {"Multiply": 1}
    synth = Synth(options.synth[0] if options.synth else None, {"spike": area, "dense": size, MULTIPLY: multiply})
    rows = bench.row_cycles(groups) if group is not None else None
    report = compare(bench.event, verdicts, shape, dense, synth, cycles, rows)
    report["bundle"] = str(bundle.path)
    report["codings"] = sorted({bundle.layer(name).info.coding for name in names})
    report["group"] = group and {
        "design": "group_core",
        "shape": group.parameters() | {"Groups": group.lanes // 4, "Steps": group.tmax},
        "cycles": "simulated",
    }
    report["group_note"] = (
        "" if group is not None else "no codes of groups are known to be as good, or none were asked for"
    )
    done = worked(bench, report, shape, dense, group, groups)
    report["worked"] = [asdict(one) for one in done]
    files = [path for path in options.synth if path.is_file()]
    report["libraries"] = list(standings(files, done, report["total"]["macs"]))
    return report


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = arguments_of(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            report = benched(options, Path(folder))
    except (TraceError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1))
    print(json.dumps(report) if options.json else "\n".join(table(report)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
