"""Spikes, with all that is needed to read them as integers again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spike_compressor.coding.arguments import PerRow, along_features

__all__ = ["SpikeTrain"]


@dataclass(frozen=True, eq=False)
class SpikeTrain:
    """The spikes of integer codes [*rows, K].

    Attributes:
        spikes: int8 [steps, *rows, K], in {-1, 0, 1}, or in {0, 1} for an unsigned coding. A row with fewer
            steps than the longest has its own first; zeros follow.
        weights: temporal weights, int32. [steps] where all rows share one T; [steps, *rows] where each has
            its own, zero after a row's own steps.
        timesteps: nominal T, an int or an int32 tensor [*rows].
        coding: name of the coding.
        zero_point: None for a signed coding; else z, an int or an int32 tensor [*rows], such that
            `sum_t weights[t] * spikes[t] == code + z`.
        saturated: number of codes that were set to the end of the range because they lay beyond it.
    """

    spikes: Tensor
    weights: Tensor
    timesteps: PerRow
    coding: str
    zero_point: PerRow | None = None
    saturated: int = 0

    @property
    def steps(self) -> int:
        """Number of steps of the longest row."""
        return self.spikes.shape[0]

    def codes(self) -> Tensor:
        """The exact integer codes, int16 [*rows, K]."""
        total = torch.zeros(self.spikes.shape[1:], dtype=torch.int16, device=self.spikes.device)
        if self.weights.ndim == 1:
            for plane, weight in zip(self.spikes, self.weights.tolist(), strict=True):
                total.add_(plane, alpha=weight)
        else:
            for plane, weight in zip(self.spikes, self.weights.to(torch.int16), strict=True):
                total.addcmul_(plane.to(torch.int16), weight.unsqueeze(-1))
        if self.zero_point is not None:
            total -= along_features(self.zero_point)
        return total

    def count(self) -> int:
        """Number of spikes fired, of either sign."""
        return int(self.spikes.count_nonzero())

    def count_per_row(self) -> Tensor:
        """Number of spikes that each row fired, int64 [*rows]."""
        return self.spikes.count_nonzero(dim=(0, -1))
