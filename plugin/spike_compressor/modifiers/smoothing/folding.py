"""Factors of channels, folded into the weights that make and that read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from compressed_tensors.offload import update_offload_parameter
from torch import Tensor, nn


@dataclass(frozen=True)
class Group:
    """Modules that read what one module makes, each input of theirs proportional to one of its outputs.

    Attributes:
        producer: name of the module whose outputs these are: a norm, or a Linear.
        channels: how many outputs it has.
        readers: name of each module that reads them -> int64 [K], the output that each of its inputs follows; -1 where
            an input follows none of them.
    """

    producer: str
    channels: int
    readers: Mapping[str, Tensor]

    def along(self, reader: str, factors: Tensor) -> Tensor:
        """What a reader's inputs have of factors [channels] of the outputs: `along`."""
        return along(self.readers[reader].to(factors.device), factors)


def along(follows: Tensor, factors: Tensor) -> Tensor:
    """Factors of inputs [K], of factors [channels] and the channel that each input follows; 1 where it follows none."""
    return torch.where(follows >= 0, factors[follows.clamp(min=0)], 1.0)


@torch.no_grad()
def fold(model: nn.Module, group: Group, divisors: Tensor) -> None:
    """Divide what a group's producer makes, and multiply the columns of its readers by the same.

    Args:
        model: that the group is of.
        group: found by `find_groups`.
        divisors: float32 [channels], above 0.
    """
    producer = model.get_submodule(group.producer)
    for name in ("weight", "bias"):
        parameter = getattr(producer, name, None)
        if isinstance(parameter, Tensor):
            by = divisors.to(parameter.device).view(-1, *[1] * (parameter.dim() - 1))
            _update(producer, name, parameter, parameter.to(torch.float32) / by)
    for reader in group.readers:
        module: Any = model.get_submodule(reader)
        weight: Tensor = module.weight
        _update(module, "weight", weight, weight.to(torch.float32) * group.along(reader, divisors.to(weight.device)))


def _update(module: nn.Module, name: str, old: Tensor, new: Tensor) -> None:
    update_offload_parameter(module, name, new.to(old.dtype))
