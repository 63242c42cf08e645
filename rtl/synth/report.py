"""The results of synthesis as Markdown, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def table(results: dict[str, Any]) -> Iterator[str]:
    """The results as Markdown."""
    designs = [entry for key in ("spike", "dense", "group") for entry in results.get(key, ())]
    yield "# Synthesis of the cores and their dense baseline"
    yield ""
    yield f"Made by `make synth`; {results['label']}. Library: {results['library']}."
    yield ""
    yield "| design | slots | mm2 | of it memories | um2 a slot | MHz | pJ a cycle, word, addition or MAC |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for entry in designs:
        events = ", ".join(f"{value:.3g} a {event}" for event, value in entry.get("energy_pj", {}).items())
        error = f" (off by up to {entry['energy_error']:.0%})" if events else ""
        yield (
            f"| {entry['name']} | {entry['macs_per_cycle']:,} | {entry['area_um2'] / 1e6:.2f} "
            f"| {entry['area_of_memories_um2'] / 1e6:.2f} | {entry['area_per_slot_um2']:,} | {entry['fmax_mhz']:.0f} "
            f"| {events}{error} |"
        )
    yield ""
    yield "## Energy of layers"
    yield ""
    yield "Eight rows of each, on RTL and netlist. Spikes: of an input, all its steps together."
    yield ""
    yield "| bundle, layer | inputs x outputs | spikes | design | cycles | MACs a cycle | pJ a MAC |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    runs = [
        (one["bundle"], one["layer"], one["spikes_per_input"], entry, one) for entry in designs for one in entry["runs"]
    ]
    for bundle, layer, spikes, entry, one in sorted(runs, key=lambda item: (item[0], item[1], designs.index(item[3]))):
        yield (
            f"| {bundle}, {layer} | {one['inputs']} x {one['outputs']} | {spikes:.2f} | {entry['name']} "
            f"| {one['cycles']:,} | {one['macs'] / one['cycles']:.0f} | {one['energy_per_mac_pj']:.2f} |"
        )
    yield ""
    yield "## Area by part, um2"
    yield ""
    parts = sorted({part for entry in designs for part in entry["area_by_part_um2"]})
    yield f"| part | {' | '.join(entry['name'] for entry in designs)} |"
    yield f"| --- |{' --- |' * len(designs)}"
    for part in parts:
        found = (entry["area_by_part_um2"].get(part) for entry in designs)
        yield f"| {part} | {' | '.join('' if value is None else f'{value:,}' for value in found)} |"


def save(results: dict[str, Any], lines: Iterable[str], out: Path) -> None:
    """Write the results, and their table beside them."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")
