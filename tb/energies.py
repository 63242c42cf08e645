"""pJ a MAC of arrays of all three organisations, from the ladder's netlists: columns with wires, and memories.

The ladder's inputs are Gaussian. A dense array of inputs that fire less has fewer nets that change: by as much as whole
cores of it had on real layers (`rtl/synth/results.json`). An event core's columns take a word, its banks a spike; a
group array takes a step, the same whatever its inputs are, and its encoders a group and step. Lanes, picker and control
are in no figure, some 10 to 15 % of an event core's; nor are front ends of dense arrays and event cores.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from account import GROUPS_OF, LADDER
from group_account import encoding  # of rtl/synth, which account.py puts on the path
from synthesised import SYNTH

#: What `rtl/synth/group_parts.py` measured of encoders.
ENCODERS = LADDER.with_name("group_parts.json")

#: Rungs of dense arrays by planes, and the spikes an input that their inputs would have.
DENSE = {3: ("INT4 x (sign + 3)", 0.93), 4: ("INT4 x (sign + 4)", 1.36)}
EVENT = "spikes, INT4, T up to 4"
#: Of the ladder's spike rung on Gaussian inputs: spikes an input, share of a word that is filled; its lanes.
SPIKES, FILLED, LANES = 1.36, 0.81, 16
#: The whole core that says what a product takes by itself, and what a spike in it.
WHOLE = "dense 8x16x8"


@functools.cache
def rungs(slug: str) -> dict[str, Any]:
    """A library's rungs of the ladder; none is an empty dictionary."""
    return dict(json.loads(LADDER.read_text(encoding="utf-8")).get(slug, {"rungs": {}})["rungs"])


@functools.cache
def _whole() -> dict[str, float]:
    entries = json.loads(SYNTH.read_text(encoding="utf-8"))["dense"]
    return dict(next(entry["energy_pj"] for entry in entries if entry["name"] == WHOLE))


def dense(slug: str, planes: int, lanes: int, fired: float, passes: float = 1.0) -> float | None:
    """A dense array of so many planes a pass; None if the ladder has none.

    Args:
        lanes: inputs a cycle: 8 or 16.
        fired: spikes an input that its codes would have.
    """
    name, usual = DENSE.get(planes, ("", 0.0))
    rung = rungs(slug).get(name if lanes == 8 else f"{name}, {lanes} inputs")
    if rung is None:
        return None
    each = _whole()
    sparse = (each["mac"] + each["addition"] * fired) / (each["mac"] + each["addition"] * usual)
    parts = rung["energy_pj_per_mac"]
    return float(passes * (parts["columns"] * sparse + sum(parts.values()) - parts["columns"]))


def event(slug: str, fired: float, filled: float, lanes: int = LANES) -> float | None:
    """An event core of 16 lanes whose words are filled so far; None for others, and where the ladder has none."""
    rung = rungs(slug).get(EVENT)
    if rung is None or lanes != LANES:
        return None
    own = rung["energy_pj_per_mac"]["Gauss"]
    words = (fired / filled) / (SPIKES / FILLED)
    return float(
        own["columns"] * words + own["weight banks"] * fired / SPIKES + own["store of spikes"] + own["accumulators"]
    )


def groups(slug: str, name: str, steps: float, outputs: float) -> float | None:
    """A group array, `name` of `GROUPS_OF`, with its encoders; None if the ladder has none, or nobody measured these.

    Args:
        steps: of a row, on the mean.
        outputs: that share an encoding.
    """
    rung, encoder = rungs(slug).get(GROUPS_OF[name]), _encoders(slug).get(GROUPS_OF[name])
    if rung is None or encoder is None:
        return None
    array = sum(rung["energy_pj_per_mac"].values())
    return float((array + encoding(rung, encoder) / outputs) * steps / rung["steps"])


@functools.cache
def _encoders(slug: str) -> dict[str, Any]:
    found = json.loads(ENCODERS.read_text(encoding="utf-8")) if ENCODERS.is_file() else {}
    return dict(found.get(slug, {"rungs": {}})["rungs"])
