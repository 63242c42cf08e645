"""The ladder of baselines as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

HEAD = """# From FP16 to spikes: the ladder of baselines

Made by `make ladder LIBERTY="FILE …"`, once for each library; [synthesis.md](../synthesis.md) says how, and where
the libraries are found. Areas and clocks are synthesised, energies simulated on the netlist, memories and wires
estimated.

Every array of a rung has 8 rows x 16 columns, and does 1,024 products a cycle (8 inputs; those of 16 inputs 2,048;
those of groups 128 inputs in S cycles). The spike core has 1,024 adder slots (64 x 16); what it does with them hangs on
the spikes: three kinds of inputs at T = 4, whose codes are those of INT4 x (sign + 4), so these two rungs give the same
sums to the bit. The other rungs compute something else, at another accuracy. Rungs of groups have a front end, and
encoders enough for layers of 2,048 outputs. An area counts the columns, what counts a row's offset, memories, weight
register and sums; front end, registers and control, alike in all other rungs, are left out, and of the spike core's
energy its lanes, picker and pipeline, some 10 to 15 % (rtl/synth/results.md)."""


MEMORIES = ("store of activations", "weight banks", "store of spikes")


def rows(entry: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Name, MACs a cycle and pJ a MAC of an entry; of the spike core one of each kind of inputs."""
    if isinstance(entry["macs_per_cycle"], dict):
        for kind, macs in entry["macs_per_cycle"].items():
            yield f"{entry['name']}: {kind}", macs, sum(entry["energy_pj_per_mac"][kind].values())
    else:
        yield entry["name"], entry["macs_per_cycle"], sum(entry["energy_pj_per_mac"].values())


#: What papers compare with, and what one would build.
FLOATS = "FP16 x FP16, FP32 add"
OTHERS = ("BF16 x BF16, FP32 add", "INT8 x INT8", "INT4 x INT8 (W4A8)")
#: The factor that was aimed for.
AIM = 20
CONTEXT = f"""Work a second and mm2 over that of others, and energies of others over a rung's own: above 1 it is
ahead. {AIM} times FP16 was aimed for. FP16 is the more exact, so this is no comparison at equal
accuracy. For context, cited and not measured here: an accelerator of spikes in 28 nm is said to make
9.06 times as many tokens a second as an A800 with FP16, at batch size 1, and to take 1/25.8 of its
power; these are two systems with their memories ([hardware.md](../hardware.md)), not two arrays."""


def factors(library: dict[str, Any]) -> Iterator[tuple[str, str, float, float]]:
    """Rung, another, work a second and mm2 over the other's, and the other's energy over its own."""
    found = {}
    for entry in library["rungs"].values():
        area = sum(entry["area_um2"].values())
        for name, macs, energy in rows(entry):
            found[name] = macs / entry["period_ns"] / area, energy
    for name, (rate, energy) in found.items():
        for other in (FLOATS, *OTHERS):
            if other in found and name not in (FLOATS, *OTHERS):
                yield name, other, rate / found[other][0], found[other][1] / energy


def over(results: dict[str, Any]) -> Iterator[str]:
    """The factors of every library, and a sentence on what was aimed for."""
    yield from ("", "## Over FP16 and the others", "", CONTEXT)
    for library in results.values():
        if FLOATS not in library["rungs"]:
            continue
        found = {(name, other): both for name, other, *both in factors(library)}
        names, others = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
        short = [other.split(" x ")[0] if "W4A8" not in other else "W4A8" for other in others]
        yield from ("", f"### Over others: {library['name']}", "")
        heads = [f"{what} {name}" for what in ("work over", "energy of") for name in short]
        yield f"| rung | {' | '.join(heads)} |"
        yield f"| --- |{' --: |' * len(heads)}"
        for name in names:
            cells = [f"{found[name, other][place]:.3g}" for place in (0, 1) for other in others]
            yield f"| {name} | {' | '.join(cells)} |"
        spiking = {name: found[name, FLOATS] for name in names if name.startswith(("spikes", "groups"))}
        if not spiking:
            continue
        best = max(spiking, key=lambda name: spiking[name][0])
        rate, energy = spiking[best]
        said = "reaches" if min(rate, energy) >= AIM else "does not reach"
        most = max(found[name, FLOATS][0] for name in names)
        yield ""
        yield (
            f"Of the spiking rungs {best} does most: {rate:.1f} times FP16's work, for 1/{energy:.1f} of its energy. "
            f"It {said} {AIM} times in both. The best of all does {most:.1f} times the work: what is gained over "
            "FP16 is gained by few bits; spikes are beside the dense rungs of as many bits."
        )


def table(results: dict[str, Any]) -> Iterator[str]:
    """The results as Markdown."""
    yield HEAD
    for library in results.values():
        yield ""
        yield f"## {library['name']}"
        yield ""
        yield (
            "| rung | mm2 | of it memories | um2 a MAC of a column | MHz | MACs a cycle | GMAC/s a mm2 "
            "| MACs a cycle and mm2 | pJ a MAC |"
        )
        yield f"|{' --- |' * 9}"
        for entry in library["rungs"].values():
            parts = entry["area_um2"]
            area = sum(parts.values()) / 1e6
            kept = sum(parts.get(name, 0) for name in MEMORIES) / 1e6
            for name, macs, energy in rows(entry):
                rate = macs / entry["period_ns"] / area
                yield (
                    f"| {name} | {area:.3g} | {kept:.3g} | {entry['column_um2_per_mac']:,.4g} "
                    f"| {1000 / entry['period_ns']:.0f} "
                    f"| {macs:,.0f} | {rate:,.3g} | {macs / area:,.4g} | {energy:.3g} |"
                )
    yield from over(results)
    yield ""
    yield "## Area by part, um2"
    for library in results.values():
        parts = list(dict.fromkeys(part for entry in library["rungs"].values() for part in entry["area_um2"]))
        yield ""
        yield f"### {library['name']}"
        yield ""
        yield f"| rung | {' | '.join(parts)} |"
        yield f"|{' --- |' * (len(parts) + 1)}"
        for entry in library["rungs"].values():
            found = (entry["area_um2"].get(part) for part in parts)
            cells = " | ".join("" if value is None else f"{value:,.4g}" for value in found)
            yield f"| {entry['name']} | {cells} |"
