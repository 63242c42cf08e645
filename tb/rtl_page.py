"""Reports of `make rtl-bench` as a page of results; below them stays what stood there under `BEFORE`.

    python tb/rtl_page.py [REPORT …] [--out docs/results/rtl_bench.json]

A report takes the place of an earlier one of the same bundle; without any, the page is made anew from the JSON and
today's results of synthesis.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

from synthesised import Worked, everywhere, standings  # noqa: E402
from toolchain import ROOT  # noqa: E402

OUT = ROOT / "docs" / "results" / "rtl_bench.json"
BEFORE = "## Before: two organisations"
HEAD = """# Three organisations on real layers

Label: cycles simulated, bit-exact (`make rtl-bench TRACE=dir`; "model": passes over chunks, times what
the simulated dense core takes over its own); areas and clocks synthesised, energies of simulated netlists, with wires
where the library's line says so; memories estimated ([synthesis.md](../synthesis.md)). Made by `python tb/rtl_page.py
REPORT …`. Whole cores: front ends, registers and counters are in. Rows without wires are of cores before their long
paths were cut.

The *event core* adds where a spike is; the *dense baseline* multiplies, on the very same codes; the *group core* adds
one of four inputs a step. A core that does not take a bundle's coding gets its inputs coded anew: codes of the same
integers sum for sum the same, and between plain spikes and groups at equal quality, S = 5 and 6 in turn for T = 3, S
= 7 for T = 4, as the embedded model's gates have it ([group_gates_embedded.md](group_gates_embedded.md)). On rotated
SmolLM2 that does not hold without a second coding for flat rows ([group_gates_smollm2.md](group_gates_smollm2.md)).
`per area`: MACs a cycle and mm2 over the best dense core's of the library, above 1 a core is ahead; `at its clock`:
the same a second. `energy`: a MAC's over that core's, below 1 it is ahead. Rows of all T and modalities are in the
totals, as the plan has them. Two encoders keep up with layers of 2,048 outputs that come one by one; these layers
have 64 to 1,536, so the group core mostly waits for them: [group_array.md](group_array.md) says how many would pay."""
#: What a report keeps on the page's JSON.
KEPT = ("bundle", "codings", "spike", "dense", "group", "total", "by_modality", "by_timesteps", "by_kind", "worked")


def kept(report: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of a report."""
    found = {key: report[key] for key in KEPT} | {"bundle": Path(report["bundle"]).name}
    for side in ("spike", "dense"):
        found[side] = {key: value for key, value in found[side].items() if key != "synthesis"}
    return found


def cores(report: dict[str, Any]) -> Iterator[str]:
    """The table of a bundle: cores in each library that results of synthesis are of."""
    yield (
        "| library | core | cycles | MACs a cycle | mm2 | MHz | MACs a cycle and mm2 | per area | at its clock "
        "| pJ a MAC | energy |"
    )
    yield f"| --- | --- | --- |{' --: |' * 8}"
    for library in report["libraries"]:
        best = next(one for one in library["cores"] if one["design"] == library["best"])
        for one in library["cores"]:
            speed = one["per_area"] * one["mhz"] / best["mhz"] if one["mhz"] and best["mhz"] else None
            yield (
                f"| {library['library']} | {one['design']} | {one['cycles']} | {one['macs_per_cycle']:,.0f} "
                f"| {one['mm2']:.3g} | {number(one['mhz'], '.0f')} | {one['macs_per_cycle_mm2']:,.1f} "
                f"| {one['per_area']:.2f} | {number(speed)} | {number(one['pj_per_mac'])} | {number(one['energy'])} |"
            )


def parts(report: dict[str, Any]) -> Iterator[str]:
    """The table of a bundle: what each core does by modality, T and kind of layer."""
    yield "| part | MACs | spikes per input | event core, MACs a cycle | dense baseline | group core | words filled |"
    yield f"| --- |{' --: |' * 6}"
    found = [("total", report["total"])]
    found += [item for key in ("by_modality", "by_timesteps", "by_kind") for item in report[key].items()]
    for label, part in found:
        groups = part["group"] and part["group"]["macs_per_cycle"]
        yield (
            f"| {label} | {part['macs']:,} | {part['spikes_per_input']:.2f} | {part['spike']['macs_per_cycle']:,.0f} "
            f"| {part['dense']['macs_per_cycle']:,.0f} | {number(groups, ',.0f')} | {part['utilisation']:.2f} |"
        )


def number(value: float | None, form: str = ".2f") -> str:
    """A number, or a dash."""
    return "-" if value is None else format(value, form)


def lines(reports: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The page, without what stood there before."""
    yield HEAD
    for report in reports:
        shape, dense, group = report["spike"]["shape"], report["dense"]["shape"], report["group"]
        yield from ("", f"## `{report['bundle']}`, coded in {', '.join(report['codings'])}", "")
        size = f"{dense['rows']} rows x {dense['columns']} columns x {dense['lanes']} inputs"
        yield (
            f"Event core {shape['Columns']} columns x {shape['Lanes']} lanes x {shape['Slots']} slots; "
            f"dense baseline {size}"
            + (f", {dense['planes']} planes in two passes" if dense["planes"] else "")
            + (f"; group core {group['shape']['Columns']} columns x {group['shape']['Groups']} groups" if group else "")
            + "."
        )
        own = next((one for one in report["worked"] if one["kind"] == "group"), None)
        if own is not None:
            words, macs = own["events"]["words"], report["total"]["macs"]
            yield ""
            yield (
                f"The group core's array works in {words / own['cycles']:.0%} of its cycles; in the others it waits, "
                f"above all for its {group['shape']['Units']} encoders. With enough of them it would do up to "
                f"{macs / words:,.0f} MACs a cycle."
            )
        yield from ("", *cores(report), "", *parts(report))


def before(page: Path) -> str:
    """What stands on a page from `BEFORE` on; nothing where there is none."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    return text[text.index(BEFORE) :] if BEFORE in text else ""


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="rtl_page.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("reports", type=Path, nargs="*", metavar="REPORT", help="what --out of run_bench.py wrote")
    parser.add_argument("--out", type=Path, default=OUT, help="and a page beside it (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="the page alone, from its JSON as it is")
    options = parser.parse_args(arguments)
    known = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else []
    found = {report["bundle"]: report for report in known}
    for path in options.reports:
        try:
            report = kept(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError) as error:
            print(f"error: {path}: no report of `make rtl-bench` ({type(error).__name__}: {error})", file=sys.stderr)
            return 2
        found[report["bundle"]] = report
    if not options.again:
        for report in found.values():
            worked = [Worked(**one) for one in report["worked"]]
            report["libraries"] = list(standings(everywhere(), worked, report["total"]["macs"]))
    page = options.out.with_suffix(".md")
    text = "\n".join(lines(list(found.values()))) + "\n"
    old = before(page)
    options.out.write_text(json.dumps(list(found.values()), indent=1) + "\n", encoding="utf-8")
    page.write_text(f"{text}\n{old}" if old else text, encoding="utf-8")
    print(f"wrote {options.out} and {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
