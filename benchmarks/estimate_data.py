"""What `spike-compressor estimate` knows of synthesis, out of `rtl/synth/`.

python benchmarks/estimate_data.py         # writes plugin/spike_compressor/estimate/data/synthesis.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from spike_compressor.files import write_text

ROOT = Path(__file__).resolve().parents[1]
SYNTH = ROOT / "rtl" / "synth"
TARGET = ROOT / "plugin" / "spike_compressor" / "estimate" / "data" / "synthesis.json"
#: Rung of the ladder that each kind of core contains.
RUNGS = {"spike": "spikes, INT4, T up to 4", "dense": "INT4 x (sign + 4)"}
#: Rungs of the ladder that estimates use: what cores contain, and dense arrays beside them.
KEPT = (
    "FP16 x FP16, FP32 add",
    "BF16 x BF16, FP32 add",
    "INT8 x INT8",
    "INT4 x INT8 (W4A8)",
    *reversed(RUNGS.values()),
)
#: Clock in MHz, and area over that in results.json, of the cores as they are now: docs/synthesis.md, "Clock and area of
#: the pipelined cores", from `spike 32x16, 16 slots` and `dense 8x16x8`; energies were not made again.
PIPELINED = {"spike": (239.0, 5.93 / 5.68), "dense": (228.0, 6.88 / 6.92)}


def synthesis() -> dict[str, Any]:
    """Designs and ladder as the package takes them."""
    results = json.loads((SYNTH / "results.json").read_text(encoding="utf-8"))
    ladder = json.loads((SYNTH / "ladder.json").read_text(encoding="utf-8"))
    designs = {
        entry["name"]: {
            "rung": RUNGS[kind],
            "shape": entry["shape"],
            "area_um2": round(entry["area_um2"] * PIPELINED[kind][1]),
            "period_ns": round(1000 / PIPELINED[kind][0], 4),
            "energy_pj": {event: round(value, 4) for event, value in entry["energy_pj"].items()},
        }
        for kind in RUNGS
        for entry in results[kind]
        if entry.get("energy_pj") and not entry["shape"].get("Multiply")
    }
    return {
        "made_by": "python benchmarks/estimate_data.py",
        "library": results["library"],
        "designs": designs,
        "ladder": {name: {rung: _rung(_named(entry, rung)) for rung in KEPT} for name, entry in ladder.items()},
    }


def _named(library: dict[str, Any], rung: str) -> dict[str, Any]:
    """A rung of a library, by the name that tables have."""
    found: dict[str, Any] = next(entry for entry in library["rungs"].values() if entry["name"] == rung)
    return found


def _rung(entry: dict[str, Any]) -> dict[str, float]:
    """Area, period and energy of a rung; of spikes, those of Gaussian inputs."""
    energy = entry["energy_pj_per_mac"]
    parts = energy.get("Gauss", energy)
    return {
        "area_um2": round(sum(entry["area_um2"].values()), 1),
        "period_ns": round(entry["period_ns"], 4),
        "pj_per_mac": round(sum(parts.values()), 6),
    }


def text() -> str:
    """The file's text."""
    return json.dumps(synthesis(), indent=1) + "\n"


def main() -> int:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    write_text(TARGET, text())
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
