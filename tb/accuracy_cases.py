"""Cases of `equal_accuracy.py`: models as an event-driven core runs them, and what a dense array may run instead."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from toolchain import ROOT

RESULTS = ROOT / "docs" / "results"


@dataclass(frozen=True)
class Row:
    """A row of a results page: the file's stem, and what its fields have to be."""

    page: str
    fields: dict[str, Any]

    def accuracy(self) -> dict[str, Any]:
        """What it says: estimate, low and high, and of what.

        Raises:
            SystemExit: the page has no such row.
        """
        rows = json.loads((RESULTS / f"{self.page}.json").read_text(encoding="utf-8"))["rows"]
        found = [row for row in rows if all(row.get(key) == value for key, value in self.fields.items())]
        if len(found) != 1:
            raise SystemExit(f"{self.page}.json has {len(found)} rows with {self.fields}, not one")
        figures = found[0].get("figures") or {"figure": found[0]["figure"]}
        name = next(name for name in ("over_float", "accuracy", "figure") if name in figures)
        scale = 100 if name == "accuracy" else 1
        figure = {key: scale * figures[name][key] for key in ("estimate", "low", "high")}
        what = "perplexity over float" if name == "over_float" else "accuracy, %"
        spikes = found[0].get("spikes_per_input") or found[0].get("spikes_per_neuron")
        return {"page": self.page, **self.fields, "what": what, **figure, "spikes_per_input": spikes}


@dataclass(frozen=True)
class Dense:
    """What a dense array runs.

    Args:
        name: of tables.
        array: that it is; None: the ladder's of eight bits.
        row: its accuracy; None: that of the case, as the codes are the same.
        passes: over a chunk, on the mean; None: those of the bundle's codes.
    """

    name: str
    array: str | None
    row: Row | None = None
    passes: float | None = 1.0


@dataclass(frozen=True)
class Groups:
    """What a group array runs.

    Args:
        name: of tables.
        array: that it is.
        steps: of a row, on the mean.
        row: its accuracy.
    """

    name: str
    array: str
    steps: float
    row: Row


@dataclass(frozen=True)
class Case:
    """One comparison.

    Args:
        name: of tables.
        bundle: its folder below that of the bundles.
        row: of the accuracy.
        others: what a dense array may run, beside the same codes.
        groups: what a group array may run.
        note: what is not as it should be.
    """

    name: str
    bundle: str
    row: Row
    others: tuple[Dense, ...] = field(default=())
    groups: tuple[Groups, ...] = field(default=())
    note: str = ""


SAME = (
    Dense("the same codes, 3 planes in two passes", "dense, T 6 in passes of 3", passes=None),
    Dense("the same codes, 4 planes in two passes", "dense, T 7 in passes of 4", passes=None),
    Dense("the same codes, 7 planes", "dense, T 7"),
)


def _group(weights: str, code: str) -> Row:
    return Row("group_gates_embedded", {"weights": weights, "code": code})


def _in_groups(page: str, weights: str, code: str, what: str) -> Groups:
    """A row of the gates' page: S = 5.5 is 5 and 6 in turn."""
    steps = 7.0 if code.startswith("S = 7") else 5.5
    array = "groups, S 7" if steps == 7 else "groups, S 6"
    return Groups(f"{what}, {code}", array, steps, Row(page, {"weights": weights, "code": code}))


#: Of the embedded model.
IN_GROUPS = tuple(
    _in_groups("group_gates_embedded", weights, code, what)
    for weights, what in (("none+gptq_g64", "not rotated"), ("quip+gptq_g64", "rotated"))
    for code in ("S = 5.5", "S = 7")
)


def _embedded(code: str) -> Row:
    return Row("frontier_embedded", {"weights": "none+gptq_g64", "code": code, "seed": 0})


def _smollm2(weights: str, code: str) -> Row:
    page = "frontier_smollm2_rotated" if weights.startswith("quip") else "frontier_smollm2"
    return Row(page, {"weights": weights, "code": code, "seed": 0})


#: Its accuracy is at most that of the weights alone.
EIGHT = "not rotated, inputs of 8 bits"

CASES = (
    Case(
        "embedded, .6 spikes",
        "embedded_rebuilt60",
        _embedded("rms@spikes=0.6+rebuilt"),
        (
            Dense(EIGHT, None, _embedded("weights")),
            Dense("not rotated, absmax, T = 3", "dense, T 3", _group("none+gptq_g64", "T = 3")),
            Dense("rotated, absmax, T = 3", "dense, T 3", _group("quip+gptq_g64", "T = 3")),
        ),
        IN_GROUPS,
    ),
    Case(
        "embedded, .75 spikes",
        "embedded_rebuilt75",
        _embedded("rms@spikes=0.75+rebuilt"),
        (
            Dense(EIGHT, None, _embedded("weights")),
            Dense("rotated, absmax, T = 3", "dense, T 3", _group("quip+gptq_g64", "T = 3")),
            Dense("not rotated, absmax, T = 4", "dense, T 4", _group("none+gptq_g64", "T = 4")),
        ),
        IN_GROUPS[1:],
    ),
    Case(
        "SmolLM2, .73 spikes",
        "smollm2_73",
        _smollm2("none+autoround_g64", "tc_lif_rdoq:rms@sops=0.77e8"),
        (
            Dense(EIGHT, None, _smollm2("none+autoround_g64", "weights")),
            # 2.9 % of the products have T = 5, all others less
            Dense(
                "rotated, absmax, T of 3 on the mean",
                "dense, T 7 in passes of 4",
                _smollm2("quip+autoround_g64", "absmax@mean=3"),
                1.029,
            ),
            Dense("rotated, absmax, T = 4", "dense, T 4", _smollm2("quip+autoround_g64", "absmax@T4")),
        ),
        note="the bundle's weights are of GPTQ, its budget and coding TC-LIF's: the accuracy is of AutoRound's "
        "weights, in tc_lif_rdoq, at as many spikes",
    ),
)
