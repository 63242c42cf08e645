"""Learning by gradient: a few steps of Adam on what a part of a model is to give, on calibration data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: Decay of Adam's averages: there are few steps.
_BETAS = (0.9, 0.95)
#: Share of the steps in which rates rise from nothing.
_WARM_UP = 0.1


@dataclass(frozen=True)
class Rates:
    """How far a step moves what is learned, at most.

    Attributes:
        weights: in steps of the integers.
        floats: of gains and biases, in their units.
    """

    weights: float
    floats: float

    def times(self, factor: float) -> Rates:
        """All of them multiplied."""
        return Rates(self.weights * factor, self.floats * factor)


def orders(parts: int, seed: int) -> Iterator[int]:
    """Numbers of parts without end, each part as often as the others, in an order that the seed gives."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(parts, generator=generator).tolist()


def descend(
    groups: Sequence[tuple[Sequence[nn.Parameter], float]],
    loss: Callable[[int], Tensor],
    parts: int,
    steps: int,
    seed: int,
    on_step: Callable[[], object] = lambda: None,
) -> None:
    """Take steps of Adam, one part of the data each; rates rise at first and then fall along half a cosine.

    Args:
        groups: parameters and their rate.
        loss: of a part of the data, by its number.
        parts: of the data.
        steps: to take.
        seed: of the order of parts.
        on_step: called after each.
    """
    learned = [{"params": list(parameters), "lr": rate} for parameters, rate in groups if parameters]
    if not learned:
        return
    optimizer = torch.optim.Adam(learned, betas=_BETAS)
    warm = max(1, round(_WARM_UP * steps))

    def rate(step: int) -> float:
        return (step + 1) / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (steps - warm))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    order = orders(parts, seed)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss(next(order)).backward()
        optimizer.step()
        schedule.step()
        on_step()
