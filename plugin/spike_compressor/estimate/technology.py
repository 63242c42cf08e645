"""Areas, clocks and energies of designs in a process: synthesised ones, scaled by synthesised ones.

`data/synthesis.json` is taken from `rtl/synth/`: both cores at 180 nm (`make synth`), and the ladder of arrays in four
libraries (`make ladder`). A core in another library is the core of 180 nm times what that library does to the rung of
the ladder that it contains. A process between two libraries lies on the straight line between their logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from spike_compressor.errors import InputError
from spike_compressor.estimate.names import DATA
from spike_compressor.reading import read_object
from spike_compressor.yaml_files import read_yaml

#: Library that both cores were synthesised in.
HOME = "osu180"
#: What is scaled: um2, ns, pJ.
FIGURES = ("area_um2", "period_ns", "pj_per_mac")


@dataclass(frozen=True)
class Technology:
    """A process.

    Attributes:
        name: as descriptions name it.
        nm: of the node.
        volts: supply.
        sram_pj_per_bit: an access to a large on-chip memory.
        label: `synthesised` where a library was used, else `estimated`.
        source: where its figures are from.
        weights: libraries, and the share of each in the logarithms.
    """

    name: str
    nm: float
    volts: float
    sram_pj_per_bit: float
    label: str
    source: str
    weights: Mapping[str, float]

    def rung(self, name: str) -> dict[str, float]:
        """A rung of the ladder in this process: `FIGURES`."""
        rungs = synthesis()["ladder"]
        return {
            figure: math.exp(
                sum(share * math.log(rungs[library][name][figure]) for library, share in self.weights.items())
            )
            for figure in FIGURES
        }

    def factors(self, rung: str) -> dict[str, float]:
        """This process over the 180 nm library, of a rung: what a core that contains it is scaled by."""
        home = synthesis()["ladder"][HOME][rung]
        return {figure: value / home[figure] for figure, value in self.rung(rung).items()}


@dataclass(frozen=True)
class Core:
    """One core in a process.

    Attributes:
        area_mm2: memories included.
        clock_hz: of synthesis, without wires.
        pj: energy of each event: `cycle`, `word`, `addition`, `mac`.
    """

    area_mm2: float
    clock_hz: float
    pj: Mapping[str, float]


def core(design: str, technology: Technology) -> Core:
    """A synthesised design in a process.

    Raises:
        InputError: no such design.
    """
    designs = synthesis()["designs"]
    if design not in designs:
        raise InputError(f"no synthesised design {design!r}; there are: {', '.join(designs)}")
    found = designs[design]
    by = technology.factors(found["rung"])
    return Core(
        found["area_um2"] * by["area_um2"] / 1e6,
        1e9 / (found["period_ns"] * by["period_ns"]),
        {event: value * by["pj_per_mac"] for event, value in found["energy_pj"].items()},
    )


def technology(name: str) -> Technology:
    """A process by name.

    Raises:
        InputError: no such process.
    """
    known = _technologies()
    if name not in known:
        raise InputError(f"unknown technology {name!r}; there are: {', '.join(known)}")
    return known[name]


@lru_cache
def synthesis() -> dict[str, Any]:
    """What was synthesised: `designs` by name, and the `ladder` by library and rung."""
    return read_object(DATA / "synthesis.json")


@lru_cache
def _technologies() -> dict[str, Technology]:
    raw = read_yaml(DATA / "technologies.yaml")
    found = {}
    for name, one in raw.items():
        low, high = one["between"]["low"], one["between"]["high"]
        found[name] = Technology(
            name,
            float(one["nm"]),
            float(one["volts"]),
            float(one["sram_pj_per_bit"]),
            one["label"],
            one["source"],
            _shares(float(one["nm"]), low, high),
        )
    return found


def _shares(nm: float, low: Mapping[str, float], high: Mapping[str, float]) -> dict[str, float]:
    """Shares of libraries on the line between two nodes; libraries of one node share alike."""
    (small,), (large,) = set(low.values()), set(high.values())
    at = 0.0 if small == large else math.log(nm / small) / math.log(large / small)
    shares = dict.fromkeys(low, (1 - at) / len(low))
    for library in high:
        shares[library] = shares.get(library, 0.0) + at / len(high)
    return shares
