"""Weights as a checkpoint stores them, as the integers and scales that neurons are made with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def by_row(table: Tensor, sizes: Sequence[int]) -> Tensor:
    """Scales or zero points of N outputs, [N, G].

    Args:
        table: by row already, [N, G]; or one for each of some layers, [layers].
        sizes: outputs of these layers, N in all.
    """
    if table.dim() == 2:
        return table
    return torch.cat([value.expand(size) for value, size in zip(table, sizes, strict=True)]).unsqueeze(1)


def centred(codes: Tensor, zero_point: Tensor, inputs: int, first: int) -> Tensor:
    """Codes int8 [N, K] of which zero is no weight.

    Args:
        codes: int8 [N, K] as they are stored, K of a layer's inputs.
        zero_point: of all groups of the layer's inputs, [N, G].
        inputs: how many it has.
        first: of them that the codes belong to.
    """
    zero = zero_point.to(torch.int16).repeat_interleave(inputs // zero_point.shape[1], dim=1)
    if zero.shape[1] != codes.shape[1]:
        zero = zero[:, first : first + codes.shape[1]]
    return (codes.to(torch.int16) - zero).to(torch.int8)
