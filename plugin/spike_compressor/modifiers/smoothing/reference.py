"""What a model did with one batch, and hooks for as long as a pass takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Reference:
    """What a model did with one batch.

    Attributes:
        output: its logits.
        inputs: of each module that reads features, of every call.
        order: modules that read or make features, as they were called first.
    """

    output: Tensor
    inputs: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    order: list[str] = field(default_factory=list)


def record(
    run: Callable[[], Tensor], readers: Mapping[str, nn.Module], producers: Mapping[str, nn.Module]
) -> Reference:
    """Run a model once and note what its modules got.

    Args:
        run: runs it on a batch, and gives its output.
        readers: modules whose inputs are kept.
        producers: others whose place in the order of calls is noted.
    """
    reference = Reference(torch.empty(0))
    last: list[Tensor] = []  # modules that get the same tensor share what is kept of it

    def note(name: str, module: Any, args: tuple[Any, ...]) -> None:
        if name not in noted:
            noted.add(name)
            reference.order.append(name)
        if name not in readers or not args or not has_features(args[0], module.weight.shape[1]):
            return
        x: Tensor = args[0]
        if not (last and last[0] is x):
            last[:] = [x, x.detach().clone()]
        reference.inputs[name].append(last[1])

    noted: set[str] = set()
    with hooks() as handles:
        for name, module in {**readers, **producers}.items():
            handles.append(module.register_forward_pre_hook(partial(note, name)))
        reference.output = run()
    return reference


def has_features(x: Any, width: int) -> bool:
    """Whether something is a tensor with rows of so many features."""
    return isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 0 and x.shape[-1] == width and x.numel() > 0


@contextmanager
def hooks() -> Iterator[list[Any]]:
    """A list for handles of hooks, which are removed in the end."""
    handles: list[Any] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()
