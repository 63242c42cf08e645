"""Numbers of what fired while vLLM served: of a request, or of all of them."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from spike_compressor.errors import InputError
from spike_compressor.modality import in_order

#: In vLLM's `additional_config`: true where spikes are to be counted. Also what the worker's method is called.
KEY = "spike_counts"
#: Requests whose counts are kept, the last ones.
KEPT = 1024
_COUNTED = ("inputs", "spikes", "sops")


@dataclass
class Counts:
    """Counts by kind of layer and modality of rows.

    Attributes:
        tokens: rows of the language model by modality.
        layers: by (kind of layer, modality): neuron evaluations, spikes, synaptic operations.
    """

    tokens: dict[str, int] = field(default_factory=dict)
    layers: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def add_tokens(self, modality: str, count: int) -> None:
        self.tokens[modality] = self.tokens.get(modality, 0) + count

    def add(self, kind: str, modality: str, numbers: Iterable[int]) -> None:
        """Add what layers of a kind did with rows of a modality: neuron evaluations, spikes, synaptic operations."""
        mine = self.layers.setdefault((kind, modality), [0] * len(_COUNTED))
        for index, number in enumerate(numbers):
            mine[index] += number

    def plain(self) -> dict[str, Any]:
        """As plain values, `layers` a list with an entry for each kind and modality."""
        totals = [sum(column) for column in zip(*self.layers.values(), strict=True)] or [0] * len(_COUNTED)
        return {
            "tokens": {name: self.tokens[name] for name in in_order(set(self.tokens))},
            **dict(zip(_COUNTED, totals, strict=True)),
            "layers": [
                {"kind": kind, "modality": modality, **dict(zip(_COUNTED, numbers, strict=True))}
                for (kind, modality), numbers in self.layers.items()
            ],
        }

    @classmethod
    def summed(cls, several: Iterable[dict[str, Any]]) -> Counts:
        """What several processes counted, which `plain` gave, together."""
        made = cls()
        for one in several:
            for modality, count in one["tokens"].items():
                made.add_tokens(modality, count)
            for entry in one["layers"]:
                made.add(entry["kind"], entry["modality"], [entry[name] for name in _COUNTED])
        return made


class Ledger:
    """Counts of the requests that a process computes, and of all since it started."""

    def __init__(self) -> None:
        self.total = Counts()
        self.requests: OrderedDict[str, Counts] = OrderedDict()

    def of(self, request: str) -> Counts:
        """The counts of a request, which is the latest from now on; those of the oldest are dropped."""
        found = self.requests.setdefault(request, Counts())
        self.requests.move_to_end(request)
        return found

    def drop(self, running: int) -> None:
        """Drop the oldest requests, but as many as `running` and `KEPT` together."""
        while len(self.requests) > KEPT + running:
            self.requests.popitem(last=False)

    def plain(self, request: str | None) -> dict[str, Any]:
        """Counts as plain values.

        Args:
            request: an identifier as users of vLLM have it; None for all since the start.

        Returns:
            As `Counts.plain`; nothing counted for a request that is not known.
        """
        if request is None:
            return self.total.plain()
        # vLLM puts the number of the answer before an identifier, the number of the prompt and eight letters behind it
        own = re.compile(rf"(\d+_)?{re.escape(request)}(-\d+)?(-[0-9a-f]{{8}})?")
        return Counts.summed(one.plain() for name, one in self.requests.items() if own.fullmatch(name)).plain()


def told(several: Iterable[dict[str, Any]], request: str | None) -> dict[str, Any]:
    """What the processes of an engine counted, together.

    Args:
        several: what each gave.
        request: whose counts they are; None for all.

    Raises:
        InputError: nobody knows the request.
    """
    found = Counts.summed(several)
    if request is not None and not found.tokens:
        raise InputError(f"no request {request!r} has run, or more than {KEPT} have since")
    return found.plain()
