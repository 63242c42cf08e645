"""Layers that calibration data did not reach: a mixture's router may send no row to an expert.

What such a layer cannot know of its own inputs it borrows from the other experts of its layer, which get rows of the
same hidden states.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.modifiers.distributed import sum_over_ranks
from spike_compressor.modifiers.reinterpret import set_activation_bits

#: In log lines: this many layers by name.
_FEW = 5


class Reached:
    """Counts the rows that each layer gets while calibration data run through the model.

    Args:
        names: of the layers.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._rows = torch.zeros(len(self._names), dtype=torch.int64)
        self._seen: set[str] = set()

    def watch(self, modules: Mapping[str, nn.Module], register: Any) -> None:
        """Register the hooks that count, by `register(module, hook, "forward_pre")`."""
        for index, name in enumerate(self._names):
            register(modules[name], partial(self._count, index), "forward_pre")

    def _count(self, index: int, module: nn.Module, args: tuple[Any, ...]) -> None:
        x: Tensor = args[0]
        self._rows[index] += x.shape[:-1].numel()

    def end(self) -> None:
        """The pass over the data is over, on all ranks."""
        sum_over_ranks(self._rows)
        self._seen |= {name for name, rows in zip(self._names, self._rows.tolist(), strict=True) if rows}
        self._rows.zero_()

    @property
    def missed(self) -> list[str]:
        """The layers that got no row in any pass; none where no data were read at all."""
        return [name for name in self._names if name not in self._seen] if self._seen else []


class Siblings:
    """The same projection of all experts of a layer, and what they have seen together.

    Args:
        names: of all layers.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._families: dict[tuple[str, str], list[str]] | None = None  # made for the first layer that asks
        self._pooled: dict[tuple[str, ...], Any] = {}

    def of(self, name: str) -> list[str]:
        """The family of a layer, itself among them; empty for a layer that belongs to no expert."""
        if self._families is None:
            self._families = {}
            for other in self._names:
                key = _family(other)
                if key is not None:
                    self._families.setdefault(key, []).append(other)
        own = _family(name)
        return [] if own is None else self._families[own]

    def once(self, name: str, what: str, make: Callable[[list[str]], Any]) -> Any:
        """`make(family)`, made once for all of the family; None for a layer that belongs to no expert."""
        family = _family(name)
        if family is None:
            return None
        key = (*family, what)
        if key not in self._pooled:
            self._pooled[key] = make(self.of(name))
        return self._pooled[key]


def _family(name: str) -> tuple[str, str] | None:
    """`layers.0.mlp.experts.3.up_proj` -> what stands before and after the expert's number."""
    parts = name.split(".")
    last = max((index for index, part in enumerate(parts) if part.isdecimal()), default=0)
    if last == 0 or "expert" not in parts[last - 1]:
        return None
    return ".".join(parts[:last]), ".".join(parts[last + 1 :])


def pooled(statistics: Sequence[Any]) -> Any | None:
    """All that several histograms have seen, as one; None if that is nothing."""
    total = copy.deepcopy(statistics[0])
    for one in statistics[1:]:
        total.add(one)
    return None if total.empty else total


def lend_input_scales(modules: Mapping[str, nn.Module], missed: Container[str], siblings: Siblings) -> list[str]:
    """Give a scale to the layers whose static activation scheme has none, since no row reached their observers.

    It is the widest one of the other experts; where there is none either, each row gets a scale of its own.

    Args:
        modules: the layers, by name; changed in place.
        missed: layers that no row reached: what their scales hold is uninitialized memory.
        siblings: of them.

    Returns:
        The names of those layers.
    """
    static = {name: module for name, module in modules.items() if _statically_quantized(module)}
    lacking = [name for name, module in static.items() if name in missed or not _observed(module)]
    without = set(lacking)
    for name in lacking:
        lenders: list[Any] = [static[other] for other in siblings.of(name) if other in static and other not in without]
        module: Any = static[name]
        if not lenders:
            scheme = module.quantization_scheme.input_activations
            set_activation_bits(module, scheme.num_bits, scheme.symmetric)
            continue
        lender = max(lenders, key=lambda one: float(one.input_scale))
        for key in ("input_scale", "input_zero_point"):
            if hasattr(module, key):
                getattr(module, key).data.copy_(getattr(lender, key).data)
    return lacking


def _statically_quantized(module: nn.Module) -> bool:
    scheme: Any = getattr(module, "quantization_scheme", None)
    args = None if scheme is None else scheme.input_activations
    return args is not None and args.dynamic is False and hasattr(module, "input_scale")


def _observed(module: Any) -> bool:
    scale = module.input_scale
    return bool((torch.isfinite(scale) & (scale > 0)).all())


def some(names: Sequence[str]) -> str:
    """Names for a log line: a few, and how many more there are."""
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")
