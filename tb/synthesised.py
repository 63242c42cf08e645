"""Results of synthesis: area and energy of whole cores, in one library or several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain import ROOT

#: What `make synth` writes, a file a library, with wires and without; the first is the one of plain ratios.
SYNTH = ROOT / "rtl" / "synth" / "results.json"
#: The baseline whose products are what synthesis makes of `*`: same cycles, another area and energy.
MULTIPLY = "dense_multiply"


def everywhere() -> list[Path]:
    """Results of every library, with wires and without; those of plain ratios first."""
    return sorted(SYNTH.parent.glob("results*.json"), key=lambda path: (path != SYNTH, path.name))


def ratio(over: float | None, under: float | None) -> float | None:
    """Quotient, None if either is unknown."""
    return None if over is None or not under else over / under


def _entries(data: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Of a kind of core; group cores may stand among those of spikes."""
    keys = ("group", "spike") if kind == "group" else (kind,)
    found = [one for key in keys for one in _listed(data.get(key, []))]
    return [one for one in found if ("Units" in one["shape"]) == (kind == "group")]


def _listed(entries: Any) -> list[dict[str, Any]]:
    return list(entries) if isinstance(entries, list) else [entries]


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
            for entry in _entries(data, "dense" if name == MULTIPLY else name):
                plain = name == MULTIPLY and "Multiply" not in entry["shape"]
                known = {"Planes": 0, "OneBlock": 0, "Capped": 0} | entry["shape"]  # 0: one pass; sums; no capping
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


@dataclass(frozen=True)
class Worked:
    """What a core did on the layers of a bundle.

    Args:
        name: of tables.
        kind: its list in results of synthesis.
        shape: what an entry there has to have.
        cycles: that it took.
        how: simulated, or from a model.
        events: words, additions, products and cycles.
    """

    name: str
    kind: str
    shape: dict[str, int]
    cycles: float
    how: str
    events: dict[str, float]


def standings(files: Sequence[Path], worked: Sequence[Worked], macs: float) -> Iterator[dict[str, Any]]:
    """How cores stand in each library that has two of them: work per area, and energy, over the best dense one's.

    Args:
        files: results of synthesis.
        worked: cores on the same layers, at the same quality.
        macs: of these layers.
    """
    for path in files:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = []
        for one in worked:
            synth = Synth(path, {one.kind: one.shape})
            area = synth.area(one.kind)
            if area is not None:
                rate = macs / one.cycles
                energy = synth.energy(one.kind, **one.events)
                design = synth.found[one.kind]
                found.append(
                    {
                        "name": one.name,
                        "design": design.get("name", one.kind),
                        "kind": one.kind,
                        "cycles": one.how,
                        "mhz": design.get("fmax_mhz"),
                        "macs_per_cycle": rate,
                        "mm2": area / 1e6,
                        "macs_per_cycle_mm2": rate / area * 1e6,
                        "pj_per_mac": None if energy is None else energy / macs,
                    }
                )
        dense = [one for one in found if one["kind"] == "dense"]
        if len(found) < 2 or not dense:
            continue
        best = max(dense, key=lambda one: float(one["macs_per_cycle_mm2"]))
        for one in found:
            one["per_area"] = one["macs_per_cycle_mm2"] / best["macs_per_cycle_mm2"]
            one["energy"] = ratio(one["pj_per_mac"], best["pj_per_mac"])
        yield {"library": data.get("library", path.stem), "file": path.name, "best": best["design"], "cores": found}
