"""The page of `quality_map.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

#: Outputs that the tables show.
SHOWN = (576, 2048, 8192)
HEAD = """# Where each organisation wins

Label: estimated by `{command}`: words and passes from the cycle model, groups from the coding's own search, on {rows}
generated rows of {inputs:,} inputs (seed {seed}); areas synthesised by block, with wires (`python
rtl/synth/arrays.py`, `make ladder`), memories estimated; energies of arrays and memories, simulated on netlists of
columns with Gaussian inputs (`make ladder`), dense ones less where inputs fire less (tb/energies.py). No design waits
for its streams. Front ends of dense arrays and of the event core, registers and counters are left out; that of groups
is in.

Not equal T, but equal error: each organisation codes the same rows in its own way until signal over error is what the
row of the table says. Thresholds are over a row's root mean square. A *dense array* has 3, 4 or 7 planes, or takes
larger magnitudes in two passes; 8 or 16 inputs a cycle, 16 to 64 columns; the best per area is the baseline. The
*event core* takes the coarsest threshold that errs no more, with up to seven planes of range. The *group array* takes
as few steps as do (a beam of four; rows of S and S + 1 mixed), and encoders that just keep up: a part of one, where
outputs are many. `per area`: MACs a cycle and mm2 over the baseline's, at the same clock; above 1 an organisation is
ahead. `energy`: a MAC's, over that of the baseline; below 1 it is ahead. Encoders are in the energy of groups;
picker, control and other front ends are in none; "-" stands where no netlist was asked for it. Arrays of two planes
were not synthesised, which would do for less than the 13 dB that they have on Gaussian inputs. No array is larger
than {largest}.

All of it is at the same clock, and clocks are not the same: see the last table."""


def winner(row: dict[str, Any]) -> str:
    """Who does most per area."""
    rates = {side: row[side]["macs_per_cycle_mm2"] for side in ("dense", "event", "groups") if row[side]}
    return max(rates, key=lambda side: float(rates[side]))


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Rows of one library."""
    some = SHOWN[1]
    groups = " | ".join(f"groups, per area, {n:,} outputs" for n in SHOWN)
    spent = " | ".join(f"energy, {n:,}" for n in SHOWN)
    wins = " | ".join(f"ahead at {n:,}" for n in SHOWN)
    yield (
        f"| inputs | dB | best dense array at {some:,} outputs | event core | per area | energy | group array "
        f"| {groups} | {spent} | {wins} |"
    )
    yield "| --- | --: | --- | --- | --: | --: | --- |" + " --: |" * (2 * len(SHOWN)) + " --- |" * len(SHOWN)
    by = {(row["kind"], row["db"], row["outputs"]): row for row in rows}
    for kind, db in dict.fromkeys((row["kind"], row["db"]) for row in rows):
        here = {n: by[kind, db, n] for n in SHOWN}
        event, own = here[some]["event"], here[some]["groups"]
        cells = [kind, f"{db:g}", here[some]["dense"]["name"].removeprefix("dense, ")]
        cells += [event["name"].removeprefix("spike, "), f"{event['per_area']:.2f}", number(event["energy"])]
        cells.append(own["name"].removeprefix("groups, ") if own else "more than 7 steps")
        cells += [number(here[n]["groups"] and here[n]["groups"]["per_area"]) for n in SHOWN]
        cells += [number(here[n]["groups"] and here[n]["groups"]["energy"]) for n in SHOWN]
        cells += [winner(here[n]) for n in SHOWN]
        yield f"| {' | '.join(cells)} |"


def clock_table(result: dict[str, Any]) -> Iterator[str]:
    """MHz of arrays, without their control."""
    arrays = list(dict.fromkeys(row["array"] for row in result["clocks"]))
    yield f"| array's clock, MHz | {' | '.join(arrays)} |"
    yield f"| --- |{' --: |' * len(arrays)}"
    for slug, name in result["libraries"].items():
        found = {row["array"]: row["ns"] for row in result["clocks"] if row["library"] == slug}
        yield f"| {name} | {' | '.join(f'{1000 / found[array]:.0f}' for array in arrays)} |"


def number(value: float | None) -> str:
    """Two digits, or a dash."""
    return "-" if value is None else f"{value:.2f}"


def share_table(result: dict[str, Any]) -> Iterator[str]:
    """What encoders take that never let the array wait."""
    outputs = list(dict.fromkeys(row["outputs"] for row in result["shares"]))
    yield f"| encoders' share of the array's area | {' | '.join(f'{n:,} outputs' for n in outputs)} |"
    yield f"| --- |{' --: |' * len(outputs)}"
    for library, array in dict.fromkeys((row["library"], row["array"]) for row in result["shares"]):
        found = [row["share"] for row in result["shares"] if (row["library"], row["array"]) == (library, array)]
        yield f"| {array}, {result['libraries'][library]} | {' | '.join(f'{share:.0%}' for share in found)} |"


def counts(result: dict[str, Any]) -> Iterator[str]:
    """How often each is ahead, and how far the others are behind."""
    for slug, name in result["libraries"].items():
        rows = [row for row in result["rows"] if row["library"] == slug]
        wins = [winner(row) for row in rows]
        parts = [f"the dense array in {wins.count('dense')} of {len(rows)} places"]
        for side, who in (("event", "the event core"), ("groups", "the group array")):
            known = [row[side]["per_area"] for row in rows if row[side]]
            parts.append(f"{who} in {wins.count(side)} ({min(known):.2f} to {max(known):.2f} of the baseline)")
        yield f"- {name}: {', '.join(parts)} (kinds of inputs x quality x outputs)."


def page(result: dict[str, Any]) -> str:
    """The page as Markdown."""
    sizes = (f"{mm2:.3g} mm2 ({result['libraries'][slug]})" for slug, mm2 in result["largest_mm2"].items())
    head = HEAD.format(command=result["command"], largest=" or ".join(sizes), **result["settings"])
    lines = [head, "", "## Who is ahead", "", *counts(result)]
    for slug, name in result["libraries"].items():
        lines += ["", f"## {name}", "", *table([row for row in result["rows"] if row["library"] == slug])]
    lines += ["", "## What encoders take", "", *share_table(result), ""]
    lines += ["## Clocks", "", *clock_table(result), ""]
    lines.append(
        "[rtl_map_equal_t.md](rtl_map_equal_t.md) is the map that was here before: the event core beside a dense array "
        "that runs the same codes, at equal T, on results of synthesis of that time. Equal T is not the best that "
        "either can do for the same quality."
    )
    return "\n".join(lines) + "\n"
