"""Which models are best: the Pareto front over synaptic operations, and whether seeds agree on an order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any


def pareto(rows: Sequence[dict[str, Any]], evaluation: str, higher_is_better: bool) -> list[dict[str, Any]]:
    """The spiking rows that no other one beats in the metric at as few synaptic operations; cheapest first."""
    front: list[dict[str, Any]] = []
    best = -math.inf
    for row in sorted(rows, key=lambda row: (total_sops(row), -_score(row, evaluation, higher_is_better))):
        score = _score(row, evaluation, higher_is_better)
        if score > best:
            best = score
            front.append(row)
    return front


def total_sops(row: dict[str, Any]) -> float:
    """Synaptic operations for one token of the language model."""
    spikes = row["spikes"]
    tokens = sum(spikes["tokens"].values())
    return (
        sum(sops * spikes["tokens"][name] for name, sops in spikes["sops_per_token"].items()) / tokens
        if tokens
        else 0.0
    )


def _score(row: dict[str, Any], evaluation: str, higher_is_better: bool) -> float:
    value = float(row["figures"][evaluation]["value"])
    return value if higher_is_better else -value


def pairs_in_order(result: dict[str, Any], evaluation: str, budget: str) -> tuple[int, int] | None:
    """Pairs of recipes that all seeds put in one order at a budget, ties allowed, and all pairs.

    Seeds that have no row at this budget do not count. None if fewer than two seeds or recipes do, or if recipes had
    different seeds.
    """
    (higher,) = (one["higher_is_better"] for one in result["evaluations"] if one["label"] == evaluation)
    scores: dict[str, dict[int, float]] = {}
    for row in result["rows"]:
        if (row["kind"], row["budget"]) == ("spiking", budget):
            scores.setdefault(row["recipe"], {})[row["seed"]] = _score(row, evaluation, higher)
    by_recipe = list(scores.values())
    if len(by_recipe) < 2 or len({frozenset(one) for one in by_recipe}) != 1 or len(by_recipe[0]) < 2:
        return None
    pairs = [[a[seed] - b[seed] for seed in a] for a, b in combinations(by_recipe, 2)]
    kept = sum(all(d >= 0 for d in differences) or all(d <= 0 for d in differences) for differences in pairs)
    return kept, len(pairs)
