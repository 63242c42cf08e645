"""The group array beside the dense one that is as good a model: whole models, with memories and encoders.

    python rtl/synth/group_account.py [--ladder FILE] [--parts FILE] [--cores FILE …] [--page FILE]

It reads what `make ladder` measured of rungs, group_parts.py of encoders, and `make synth` of whole cores. It counts
cycles: a dense array takes one for each chunk, row tile and column tile; the group array as many as the row has steps,
and waits where its encoders take longer. Which S is as good as which T is measured in
docs/results/group_gates_embedded.md (T = 3: S = 5 and 6 in turn; T = 4: S = 7).

Exit codes: 0 done; 2 a rung is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "results" / "group_array.md"

CORE_FILES = [HERE / "results_wires.json", HERE / "results_sky130hd_wires.json"]

ROWS, COLUMNS = 8, 16  # of a tile, in every rung
GROUP = 4
MOST_ENCODERS = 32
Entry = Mapping[str, Any]

#: Rungs of groups, and the dense ones that are as good: the better of them is the baseline.
PAIRS = {
    "groups, INT4, S = 5.5": ("INT4 x (sign + 3)", "INT4 x (sign + 3), 16 inputs"),
    "groups, INT4, S = 7": ("INT4 x (sign + 4)", "INT4 x (sign + 4), 16 inputs"),
}
INPUTS = {name: 16 if name.endswith("16 inputs") else 8 for pair in PAIRS.values() for name in pair}
CHUNK = 128


@dataclass(frozen=True)
class Job:
    """A product of a layer, or of layers that share their inputs and so one encoding: K inputs, N outputs."""

    inputs: int
    outputs: int
    times: int = 1

    @property
    def macs(self) -> int:
        """Of a row tile."""
        return ROWS * self.inputs * self.outputs


#: Jobs of a row tile: q, k and v are one, and gate and up.
MODELS = {
    "embedded model, language": (Job(192, 320, 6), Job(192, 192, 6), Job(192, 1024, 6), Job(512, 192, 6)),
    "SmolLM2-135M": (Job(576, 960, 30), Job(576, 576, 30), Job(576, 3072, 30), Job(1536, 576, 30)),
    "2,048 inputs and outputs": (Job(2048, 2048),),
    "4,096 inputs and outputs": (Job(4096, 4096),),
}


def up(value: int, unit: int) -> int:
    """Units that hold a value."""
    return -(-value // unit)


def dense_cycles(job: Job, lanes: int) -> int:
    """Of a row tile."""
    return up(job.inputs, lanes) * up(job.outputs, COLUMNS)


def group_cycles(job: Job, steps: float, encoders: int) -> float:
    """Of a row tile: what takes longer, the array or the encoders, of which each takes S cycles a group."""
    array = up(job.inputs, CHUNK) * up(job.outputs, COLUMNS)
    encoding = ROWS * up(job.inputs, GROUP) / encoders
    return steps * max(array, encoding)


def area(entry: Entry, encoders: int = 0) -> float:
    """Of an array in mm2, with so many encoders."""
    parts = entry["area_um2"]
    return (sum(parts.values()) - parts.get("encoders", 0) + encoders * entry.get("encoder_um2", 0)) / 1e6


def rate(jobs: Sequence[Job], cycles: Sequence[float]) -> float:
    """MACs a cycle over all jobs."""
    return sum(job.macs * job.times for job in jobs) / sum(
        one * job.times for job, one in zip(jobs, cycles, strict=True)
    )


def best_encoders(jobs: Sequence[Job], entry: Entry) -> int:
    """How many give most MACs a cycle and mm2."""

    def density(count: int) -> float:
        return rate(jobs, [group_cycles(job, entry["steps"], count) for job in jobs]) / area(entry, count)

    return max(range(1, MOST_ENCODERS + 1), key=density)


def encoding(entry: Entry, encoder: Entry) -> float:
    """pJ of an input until its spikes are in the store: encoder, front end (as much a um2 as an encoder), store."""
    front = entry["area_um2"].get("front end", 0.0) / entry["encoder_um2"]
    step = encoder["pj_per_step"] * (1 + front) + encoder["store_pj_per_write"]
    return float(entry["steps"] / GROUP * step)


def energy(jobs: Sequence[Job], entry: Entry, input_pj: float = 0.0) -> float:
    """pJ a MAC over all jobs: of the array, and of its inputs."""
    macs = sum(job.macs * job.times for job in jobs)
    inputs = sum(ROWS * job.inputs * job.times for job in jobs)
    return float(sum(entry["energy_pj_per_mac"].values()) + input_pj * inputs / macs)


def encoder_share(entry: Entry, outputs: int) -> float:
    """Share of the whole that encoders have which keep up with an array that works for so many outputs."""
    needed = ROWS * CHUNK / GROUP / up(outputs, COLUMNS)
    own = needed * entry["encoder_um2"] / 1e6  # a part of one, where several arrays share it
    return own / (area(entry) + own)


def rows(rungs: Mapping[str, Entry], encoders: Mapping[str, Entry]) -> Iterator[str]:
    """The table of one library."""
    yield (
        "| as good as | model | encoders | of the area | MACs a cycle | mm2 | baseline | its MACs a cycle | its mm2 "
        "| per area | per area, each at its clock | energy of arrays | with encoding |"
    )
    yield f"|{' --- |' * 13}"
    for name, pair in PAIRS.items():
        ours = rungs[name]
        for model, jobs in MODELS.items():
            count = best_encoders(jobs, ours)
            rate_of_ours = rate(jobs, [group_cycles(job, ours["steps"], count) for job in jobs])
            size = area(ours, count)
            dense = {
                other: (rate(jobs, [dense_cycles(job, INPUTS[other]) for job in jobs]), area(rungs[other]))
                for other in pair
            }
            other = max(dense, key=lambda one: dense[one][0] / dense[one][1])
            theirs, their_size = dense[other]
            ratio = rate_of_ours / size / (theirs / their_size)
            clocked = ratio * rungs[other]["period_ns"] / ours["period_ns"]
            spent = energy(jobs, rungs[other])
            alone = energy(jobs, ours) / spent
            whole = energy(jobs, ours, encoding(ours, encoders[name])) / spent
            share = count * ours["encoder_um2"] / 1e6 / size
            yield (
                f"| {name} | {model} | {count} | {100 * share:.0f} % | {rate_of_ours:,.0f} | {size:.3g} | {other} "
                f"| {theirs:,.0f} | {their_size:.3g} | **{ratio:.2f}** | {clocked:.2f} "
                f"| {alone:.2f} | {whole:.2f} |"
            )


def shares(rungs: Mapping[str, Entry]) -> Iterator[str]:
    """What encoders take that never let the array wait."""
    outputs = (576, 960, 2048, 3072, 4096, 8192)
    yield f"| encoders that keep up, share of the area | {' | '.join(f'{n:,} outputs' for n in outputs)} |"
    yield f"|{' --- |' * (len(outputs) + 1)}"
    for name in PAIRS:
        found = (f"{100 * encoder_share(rungs[name], n):.0f} %" for n in outputs)
        yield f"| {name} | {' | '.join(found)} |"


HEAD = """# The group array, whole models

Made by `python rtl/synth/group_account.py` from `rtl/synth/ladder.json` (`make ladder`). Label: areas and clocks
synthesised, energies simulated on netlists of columns, memories and wires estimated; cycles counted.

Arrays of 8 rows x 16 columns: 128 inputs a chunk for groups; 8 or 16 inputs for the dense ones, whichever does more per
area. Both have their memories; the group array has its front end too, and as many encoders as give most per area. The
front end of the dense one (some .2 mm2 at 180 nm), registers and control are in neither. Energies are of arrays and
memories on normally distributed inputs, first without encoders, then with them, with the front end (taken to need as
much a um2 as an encoder) and with what it takes to write the store; what the dense one needs for its inputs (some 40 pJ
each at 180 nm) is left out. Jobs are whole layers; q, k and v are one job, gate and up another.

The goals were: 1.2 times the baseline's throughput per area, 1.3 at the quality of T = 3, .9 of its energy; and
encoders of less than 5 % of the area at 2,048 outputs."""


def more(pair: Sequence[float]) -> float:
    """By how much the second is larger."""
    return pair[1] / pair[0] - 1


def encoders_of(rungs: Mapping[str, Entry], encoders: Mapping[str, Entry]) -> Iterator[str]:
    """What an encoder takes."""
    yield (
        "| encoder | mm2 | MHz | pJ a group and step | pJ an input, with front end and store "
        "| a column that knows TC-LIF: area | its period |"
    )
    yield f"|{' --- |' * 7}"
    for name in PAIRS:
        one = encoders[name]
        yield (
            f"| {name} | {one['area_um2'] / 1e6:.3g} | {1000 / one['period_ns']:.0f} | {one['pj_per_step']:,.0f} "
            f"| {encoding(rungs[name], one):,.0f} | {more(one['column_um2']):+.1%} "
            f"| {more(one['column_period_ns']):+.0%} |"
        )


#: Steps of a row in the mean, by the largest S that a core is built for.
MEAN_STEPS = {6: 5.5, 7: 7.0}
CORES = """## The whole core

Registers, front end, encoders, store, walker, array, weights, drain and counters mapped as one netlist, with wires
(synthesised, `make synth SYNTH=--wires`; memories estimated). Both kinds for 4-bit weights and 2,048 inputs, with all
their ports; a group core has two encoders, enough for layers of 2,048 outputs. Cores of S 6 stand for S = 5 and 6 in
turn."""


def page(results: Mapping[str, Any], encoders: Mapping[str, Any]) -> Iterator[str]:
    """The page: every library that has all rungs, and their encoders."""
    yield HEAD
    for slug, library in results.items():
        rungs, found = library["rungs"], encoders.get(slug, {"rungs": {}})["rungs"]
        if set(PAIRS) <= rungs.keys() and set(INPUTS) <= rungs.keys() and set(PAIRS) <= found.keys():
            yield from ("", f"## {library['name']}", "", *rows(rungs, found), "", *shares(rungs), "")
            yield from encoders_of(rungs, found)


def cores(files: Sequence[Path]) -> Iterator[str]:
    """Whole cores, mapped as one: those of groups beside dense ones as good, of about as many MACs a cycle."""
    found = [json.loads(path.read_text()) for path in files if path.is_file()]
    if not found:
        return
    yield from ("", *CORES.splitlines(), "")
    yield "| library | core | MACs a cycle | mm2 | of it memories | cells | MHz | MACs a cycle and mm2 | GMAC/s a mm2 |"
    yield f"|{' --- |' * 9}"
    for results in found:
        for entry in (*results.get("dense", ()), *results.get("group", ())):
            macs, area, name = mean_macs(entry), entry["area_um2"] / 1e6, results["library"].split(",")[0]
            yield (
                f"| {name} | {entry['name']} | {macs:,.0f} | {area:.3g} | {entry['area_of_memories_um2'] / 1e6:.3g} "
                f"| {entry['cells']:,} | {entry['fmax_mhz']:.0f} | {macs / area:,.4g} "
                f"| {macs / entry['period_ns'] / area:,.3g} |"
            )
    for results in found:
        for entry in results.get("group", ()):
            share = ", ".join(f"{part} {area / entry['area_um2']:.1%}" for part, area in largest(entry))
            yield from ("", f"Area of {entry['name']}, {results['library'].split(',')[0]}: {share}.")


def mean_macs(entry: Entry) -> float:
    """MACs a cycle of a core, of groups with steps as the rung has them that its largest S belongs to."""
    if entry["top"] != "group_core":
        return float(entry["macs_per_cycle"])
    return float(entry["macs_per_cycle"] * entry["shape"]["Steps"] / MEAN_STEPS[entry["shape"]["Steps"]])


def largest(entry: Entry, count: int = 8) -> list[tuple[str, float]]:
    """The largest parts of a core: names and um2."""
    return sorted(entry["area_by_part_um2"].items(), key=lambda item: -item[1])[:count]


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ladder", type=Path, default=HERE / "ladder.json", help="default: %(default)s")
    parser.add_argument("--parts", type=Path, default=HERE / "group_parts.json", help="default: %(default)s")
    parser.add_argument("--cores", type=Path, nargs="*", default=CORE_FILES, help="results of whole cores")
    parser.add_argument("--page", type=Path, default=PAGE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    encoders = json.loads(options.parts.read_text()) if options.parts.is_file() else {}
    lines = list(page(json.loads(options.ladder.read_text()), encoders))
    if len(lines) == 1:
        print(
            f"error: {options.ladder} and {options.parts} have no library with all rungs of {', '.join(PAIRS)}: "
            "run `make ladder`, and rtl/synth/group_parts.py",
            file=sys.stderr,
        )
        return 2
    options.page.write_text("\n".join([*lines, *cores(options.cores)]) + "\n")
    print(f"wrote {options.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
