"""The spike core against dense arrays of equal accuracy: whole models, memories in.

    python tb/equal_accuracy.py [--library SLUG …] [--traces DIR] [--out docs/results/equal_accuracy.json]

A case is a bundle that an event-driven core runs, the row of a results page that says how accurate the model is with
it, and what a dense array may run instead. The same codes are always among that: an array of fewer planes than T takes
chunks that have larger magnitudes in two passes. The best of them for the dense array counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

import energies  # noqa: E402
import numpy as np  # noqa: E402
from account import CAPPED, ONE_BLOCK, TODAY, UPGRADES, WIDE, Core, Group, Library, jobs, total  # noqa: E402
from account import Dense as Array  # noqa: E402
from accuracy_cases import CASES, RESULTS, SAME, Case  # noqa: E402
from capped import as_good  # noqa: E402
from spike_compressor.trace import Layer, TraceError, open_bundle  # noqa: E402
from synthesised import ratio  # noqa: E402
from toolchain import ROOT  # noqa: E402

#: Columns of each kind of spike core: 1,024 slots, fewer, more.
CORES = {
    "spike, 16 lanes, 4 slots": (64, 128),
    "spike, 8 lanes, 8 slots": (64, 96, 128, 192),
    "spike, 4 lanes, 16 slots": (128, 192),
}
#: Of arrays.json.
LIBRARIES = ["osu180", "sky130hd"]
#: Parts of a spike core.
MEMORIES = ("weight banks", "sums", "store of spikes")
#: Columns of the dense arrays, and of group arrays: 1,024 products a cycle and more.
DENSE_COLUMNS = (16, 32)
GROUP_COLUMNS = (16, 32)
#: Encoders of a group array; the best count.
ENCODERS = range(1, 33)


def dense_side(case: Case, layers: Sequence[Layer], library: Library) -> list[dict[str, Any]]:
    """What dense arrays take for the case: MACs a cycle and mm2, the best first."""
    macs = work(layers)
    largest = max(int(layer.timesteps.max()) for layer in layers)
    same = fired(layers)
    found = []
    for one in (*SAME, *case.others):
        if one.array is not None and one.passes is None and library.arrays[one.array]["tmax"] < largest:
            continue
        name = one.array or "dense, T 4"
        spikes = (one.row and one.row.accuracy()["spikes_per_input"]) or same
        for lanes in (8, 16) if one.array in WIDE else (8,):
            for columns in DENSE_COLUMNS if one.array is not None else DENSE_COLUMNS[:1]:
                array = Array(library, name, columns, lanes)
                cycles = sum(array.cycles(layer, one_pass=one.passes is not None) for layer in layers)
                cycles *= one.passes or 1.0
                area = (sum(array.areas().values()) if one.array is not None else library.eight_bits()) / 1e6
                planes = array.array["planes"]
                passes = cycles * columns * 8 * lanes / macs if lanes == 8 else 1.0
                pj = energies.dense(library.slug, planes, lanes, spikes, passes) if one.array else None
                found.append(
                    {
                        "name": one.name,
                        "array": one.array,
                        "columns": columns,
                        "inputs": lanes,
                        "accuracy": (one.row or case.row).accuracy(),
                        "spikes_per_input": one.row and one.row.accuracy()["spikes_per_input"],
                        "passes": passes,
                        "pj_per_mac": pj,
                        **_density(macs, cycles, area),
                    }
                )
    return list(_best(found, "name"))


def group_side(case: Case, layers: Sequence[Layer], library: Library) -> list[dict[str, Any]]:
    """What group arrays take for the same accuracy, with the number of encoders that is best, the best first."""
    macs, together = work(layers), jobs(layers)
    # an input's encoding is shared by so many products
    outputs = macs / sum(job[0].info.tokens * job[0].info.in_features for job in together)
    found = []
    for one in case.groups:
        for columns in GROUP_COLUMNS:
            for encoders in ENCODERS:
                array = Group(library, one.array, columns, encoders)
                cycles = sum(array.cycles(job, one.steps) for job in together)
                parts = array.areas()
                area = sum(parts.values())
                found.append(
                    {
                        "name": one.name,
                        "columns": columns,
                        "encoders": encoders,
                        "encoders_share": parts["encoders"] / area,
                        "accuracy": one.row.accuracy(),
                        "pj_per_mac": energies.groups(library.slug, one.array, one.steps, outputs),
                        **_density(macs, cycles, area / 1e6),
                    }
                )
    return list(_best(found, "name"))


def _density(macs: float, cycles: float, mm2: float) -> dict[str, float]:
    return {"macs_per_cycle": macs / cycles, "mm2": mm2, "macs_per_cycle_mm2": macs / cycles / mm2}


def spike_side(layers: Sequence[Layer], library: Library) -> list[dict[str, Any]]:
    """What spike cores take for the same, or, capped, for as much, in every organisation, the best first."""
    macs = work(layers)
    found = []
    for name, choices in CORES.items():
        caps = "with capped firing" in library.arrays[name]
        less = [as_good(layer, library.arrays[name]["lanes"])[0] for layer in layers] if caps else []
        for columns in choices:
            for how in (*UPGRADES, *(CAPPED if caps else ())):
                core, shown = Core(library, name, columns, how), less if how.capped else layers
                spikes = fired(shown)
                cycles = total(core.cycles(layer) for layer in shown)
                area = sum(core.areas().values()) / 1e6
                filled = spikes * macs / cycles["words"] / core.adders
                found.append(
                    {
                        "name": name,
                        "columns": columns,
                        "organisation": how.name,
                        "spikes_per_input": spikes,
                        "filled": filled,
                        "cycles": cycles,
                        "area_um2": {part: round(value) for part, value in core.areas().items()},
                        "pj_per_mac": energies.event(library.slug, spikes, filled, core.shape.lanes),
                        **_density(macs, sum(cycles.values()), area),
                    }
                )
    return list(_best(found, "name", "organisation"))


def compared(found: dict[str, Any]) -> None:
    """Add to spiking arrays of a library how they stand to the best dense one."""
    best = found["dense"][0]
    for one in (*found["spike"], *found["groups"]):
        one["per_area"] = _rank(one) / _rank(best)
        one["energy"] = ratio(one["pj_per_mac"], best["pj_per_mac"])


def kept(case: dict[str, Any]) -> dict[str, Any]:
    """A case as the results have it, its energies made anew."""
    for slug, found in case["libraries"].items():
        library = Library.read(slug)
        for one in found["dense"]:
            planes = library.arrays[one["array"]]["planes"] if one["array"] else 0
            spikes = one["spikes_per_input"] or case["spikes_per_input"]
            inputs = one.setdefault("inputs", 8)
            one["pj_per_mac"] = energies.dense(slug, planes, inputs, spikes, one["passes"])
        for one in found["spike"]:
            lanes = library.arrays[one["name"]]["lanes"]
            spikes = one.setdefault("spikes_per_input", case["spikes_per_input"])
            one["pj_per_mac"] = energies.event(slug, spikes, one["filled"], lanes)
        for one in (*found["dense"], *found["spike"]):
            one.pop("energy_pj_per_mac", None)
        found.setdefault("groups", [])
        compared(found)
    return case


def fired(layers: Sequence[Layer]) -> float:
    """Spikes an input, weighted as products are."""
    return sum(np.count_nonzero(layer.spikes) * layer.info.out_features for layer in layers) / work(layers)


def work(layers: Sequence[Layer]) -> float:
    """MACs of layers."""
    return float(sum(layer.info.tokens * layer.info.in_features * layer.info.out_features for layer in layers))


def _best(found: Sequence[dict[str, Any]], *keys: str) -> Iterator[dict[str, Any]]:
    """The best of all that have the same values of some keys, the best of these first."""
    seen = set()
    for one in sorted(found, key=_rank, reverse=True):
        what = tuple(one[key] for key in keys)
        if what not in seen:
            yield one
        seen.add(what)


def _rank(one: dict[str, Any]) -> float:
    return float(one["macs_per_cycle_mm2"])


def examine(case: Case, traces: Path, libraries: Sequence[Library]) -> dict[str, Any]:
    """Both sides of a case in each library. Raises TraceError for a bundle that is not there."""
    bundle = open_bundle(traces / case.bundle)
    layers = [bundle.layer(info.name) for info in bundle.infos]
    found = {}
    for library in libraries:
        dense, ours = dense_side(case, layers, library), spike_side(layers, library)
        groups = group_side(case, layers, library)
        found[library.slug] = {"name": library.name, "dense": dense, "spike": ours, "groups": groups}
        compared(found[library.slug])
    return {
        "case": case.name,
        "bundle": case.bundle,
        "layers": len(layers),
        "spikes_per_input": fired(layers),
        "mean_timesteps": sum(float(layer.timesteps.mean()) * work([layer]) for layer in layers) / work(layers),
        "accuracy": case.row.accuracy(),
        "note": case.note,
        "libraries": found,
    }


HEAD = """# Equal accuracy: three organisations

Label: estimated by `{command}`: cycles from the cycle model on bundles of real layers;
logic synthesised by block, with wires (`python rtl/synth/arrays.py`; groups and 16 inputs: `make ladder`), memories
estimated; accuracies measured, on the pages named. The bundles hold 32 rows of every layer (of SmolLM2 three of the 30
decoder layers); [synthesis.md](../synthesis.md#equal-accuracy) makes them and explains the organisations. No design
waits for its streams or its first block. Front end, registers and counters, which all need alike, are left out; the
group array's front end and encoders are in.

A dense array may run whatever is as accurate, and the best of that counts. It always may run the very same codes: an
array of fewer planes than T takes a chunk in two passes where a row of its tile has a larger magnitude. Rotations cost
it nothing here. A group array runs codes of its own that are as accurate; q, k and v are encoded once, gate and up too.
These models' weights have scales for groups of 64 inputs, which half of its chunk of 128 inputs holds; and sums of 8
rows leave after each such group, in 8 cycles where there are 5 to 7 steps. (Its energies are those of full chunks.)

Capped spike cores run layers in `tc_lif_capped` (8 lanes) and `tc_lif_capped16`, with T = 7 and of each layer the
threshold at which its inputs have the signal-to-noise ratio of the bundle's own codes; that this is as accurate is
estimated here, and measured for 8 lanes in [capped_embedded.md](capped_embedded.md). What the front end has more for it
is in their area.

`per area`: MACs a cycle and mm2 over those of the best dense array, at the same clock; above 1 a core is ahead.
`energy`: of a MAC, over that array's; below 1 it is ahead. Energies are of today's columns, simulated with wires, and
memories, on Gaussian inputs; dense ones are scaled to the case's spikes (tb/energies.py). Encoders are in those of
groups; lanes, picker and control are in none. Of each array the number of columns, inputs and encoders is shown that is
best for it."""


def accuracy(one: dict[str, Any]) -> str:
    """An accuracy with its interval, and where it stands."""
    which = " ".join(str(one[key]) for key in ("weights", "code"))
    numbers = f"{one['estimate']:.5g} ({one['low']:.5g} .. {one['high']:.5g})"
    return f"{numbers} {one['what']}, [{which}]({one['page']}.md)"


def summary(case: dict[str, Any], found: dict[str, Any]) -> str:
    """A sentence on a case in a library."""

    def at(name: str) -> dict[str, Any]:
        return next(one for one in found["spike"] if one["organisation"] == name)

    same = next(one for one in found["dense"] if one["accuracy"] == case["accuracy"])
    capped = {how.name for how in CAPPED}
    first = at(UPGRADES[0].name)
    last = next(one for one in found["spike"] if one["organisation"] not in capped)
    less = next((one for one in found["spike"] if one["organisation"] in capped), None)
    saved = f", with capped firing {less['per_area']:.2f}" if less else ""
    wide = next(one for one in found["spike"] if one["organisation"] == TODAY.name and one["energy"] is not None)
    groups = next(iter(found["groups"]), None)
    more = (
        f" The group array does {groups['per_area']:.2f} of it ({groups['name']}; {groups['encoders']} encoders, "
        f"{groups['encoders_share']:.0%} of its area), for {number(groups['energy'])} of the energy."
        if groups
        else ""
    )
    return (
        f"- {case['case']}, {found['name']}: the spike core does {first['per_area']:.2f} of the work per area of the "
        f"best dense array ({found['dense'][0]['name']}) with two-port sums, {at(TODAY.name)['per_area']:.2f} with "
        f"one-port sums, {at(ONE_BLOCK.name)['per_area']:.2f} built for groups of one block, {last['per_area']:.2f} at "
        f"best ({last['organisation']}){saved}. Over a dense array that runs the same codes "
        f"({same['name'].split(', ')[1]}): {_rank(at(ONE_BLOCK.name)) / _rank(same):.2f} built for groups of one block."
        f" Energy of today's core of 16 lanes: {number(wide['energy'])} of the best dense array's.{more}"
    )


def number(value: float | None) -> str:
    """Two digits, or a dash."""
    return "-" if value is None else f"{value:.2f}"


def limits(cases: Sequence[dict[str, Any]]) -> str:
    """What keeps the spike core where it is, in figures of all cases in the first library."""
    found = [next(iter(case["libraries"].values())) for case in cases]
    cores = [next(one for one in each["spike"] if one["organisation"] == TODAY.name) for each in found]
    filled = [one["filled"] for one in cores]
    kept = [sum(one["area_um2"][part] for part in MEMORIES) / sum(one["area_um2"].values()) for one in cores]
    passes = [
        one["passes"] - 1 for each in found for one in each["dense"] if one["array"] == "dense, T 7 in passes of 4"
    ]
    best = max(one["per_area"] for case in cases for each in case["libraries"].values() for one in each["spike"])
    return (
        f"No event core comes up to the best dense array (at most {best:.2f}). The same codes cost an array of 4 "
        f"planes {min(passes):.0%} to {max(passes):.0%} of a second pass, so range without rotations is cheap for it "
        f"as well. Words are filled to {min(filled):.2f} to {max(filled):.2f}: a group of 64 inputs has some 40 to 50 "
        f"spikes, and its fullest lane decides. And {min(kept):.0%} to {max(kept):.0%} of the core's array are "
        "memories, most of which the dense array does without."
    )


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The page."""
    yield HEAD.format(command=report["command"])
    yield from ("", "## What it says", "")
    for case in report["cases"]:
        for found in case["libraries"].values():
            yield summary(case, found)
    yield from ("", limits(report["cases"]))
    for case in report["cases"]:
        yield from ("", f"## {case['case'][0].upper()}{case['case'][1:]}", "")
        yield (
            f"`{case['bundle']}`: {case['layers']} layers, {case['spikes_per_input']:.2f} spikes per input, mean T "
            f"{case['mean_timesteps']:.2f}. Accuracy: {accuracy(case['accuracy'])}."
        )
        if case["note"]:
            yield f"Note: {case['note']}."
        for found in case["libraries"].values():
            yield from ("", f"### {case['case'][0].upper()}{case['case'][1:]}: {found['name']}", "")
            yield "| dense array | inputs x columns | accuracy | MACs a cycle | mm2 | MACs a cycle and mm2 | pJ a MAC |"
            yield "| --- | --: | --- | --: | --: | --: | --: |"
            for one in found["dense"]:
                own = accuracy(one["accuracy"]) if one["accuracy"] != case["accuracy"] else "the same"
                size = f"{one['inputs']} x {one['columns']}"
                yield f"| {one['name']} | {size} | {own} | {_numbers(one)} | {number(one['pj_per_mac'])} |"
            yield from _groups(found)
            yield ""
            yield (
                "| spike core | columns | organisation | words filled | cycles beside words | MACs a cycle | mm2 "
                "| MACs a cycle and mm2 | per area | pJ a MAC | energy |"
            )
            yield "| --- | --: | --- | --: | --: | --: | --: | --: | --: | --: | --: |"
            for one in found["spike"]:
                more = sum(one["cycles"].values()) / one["cycles"]["words"] - 1
                yield (
                    f"| {one['name'].removeprefix('spike, ')} | {one['columns']} | {one['organisation']} "
                    f"| {one['filled']:.2f} | {more:.1%} | {_numbers(one)} | {one['per_area']:.2f} "
                    f"| {number(one['pj_per_mac'])} | {number(one['energy'])} |"
                )


def _groups(found: dict[str, Any]) -> Iterator[str]:
    """The table of group arrays, where there are any."""
    if found["groups"]:
        yield ""
        yield (
            "| group array | columns | encoders | of the area | accuracy | MACs a cycle | mm2 | MACs a cycle and mm2 "
            "| per area | pJ a MAC | energy |"
        )
        yield "| --- | --: | --: | --: | --- | --: | --: | --: | --: | --: | --: |"
    for one in found["groups"]:
        yield (
            f"| {one['name']} | {one['columns']} | {one['encoders']} | {one['encoders_share']:.0%} "
            f"| {accuracy(one['accuracy'])} | {_numbers(one)} | {one['per_area']:.2f} | {number(one['pj_per_mac'])} "
            f"| {number(one['energy'])} |"
        )


def _numbers(one: dict[str, Any]) -> str:
    return f"{one['macs_per_cycle']:.0f} | {one['mm2']:.3g} | {one['macs_per_cycle_mm2']:.1f}"


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="equal_accuracy.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--library", nargs="+", default=LIBRARIES, help="of rtl/synth/arrays.json")
    parser.add_argument("--traces", type=Path, default=ROOT / "out" / "traces", help="folder of the bundles")
    parser.add_argument(
        "--case", action="append", choices=[case.name for case in CASES], help="only this one; others stay"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "equal_accuracy.json", help="and a page beside it")
    options = parser.parse_args(arguments)
    libraries = [Library.read(slug) for slug in options.library]
    try:
        known = json.loads(options.out.read_text(encoding="utf-8"))["cases"] if options.case else []
        found = {case["case"]: kept(case) for case in known}
        for case in CASES:
            if not options.case or case.name in options.case:
                found[case.name] = examine(case, options.traces, libraries)
        cases = [found[case.name] for case in CASES if case.name in found]
    except TraceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    command = "python tb/equal_accuracy.py"
    if options.library != LIBRARIES:
        command += f" --library {' '.join(options.library)}"
    report = {"label": "estimated", "command": command, "cases": cases}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    page = "\n".join(lines(report)) + "\n"
    options.out.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
