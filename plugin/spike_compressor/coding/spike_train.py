"""Spikes, with all that is needed to read them as integers again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from spike_compressor.coding.arguments import PerRow, along_features
from spike_compressor.coding.bits import popcount, unpack

__all__ = ["SpikeTrain"]

Part: TypeAlias = int | slice


@dataclass(frozen=True, eq=False)
class SpikeTrain:
    """The spikes of integer codes [*rows, K], a bit or two for each neuron and step.

    A row with fewer steps than the longest has its own first; silence follows. Neuron k of a row is bit `k % 8`,
    counted from the least significant, of byte `k // 8`; bits beyond K are 0.

    Indexing takes steps and rows apart, `train[steps, rows, …]`, with a slice for steps and slices or integers for
    rows; the part shares the memory of the whole. Two trains are equal if the same spikes, of one coding, stand for the
    same codes; how many codes were clipped on the way does not matter.

    Attributes:
        fired: uint8 [steps, *rows, ceil(K / 8)], the neurons that fire.
        negative: uint8 like `fired`, the neurons whose spike is -1; None for an unsigned coding.
        shape: of the codes, [*rows, K].
        weights: temporal weights, int32. [steps] where all rows share one T; [steps, *rows] where each has
            its own, zero after a row's own steps.
        timesteps: nominal T, an int or an int32 tensor [*rows].
        coding: name of the coding.
        zero_point: None for a signed coding; else z, an int or an int32 tensor [*rows], such that
            `sum_t weights[t] * spikes[t] == code + z`.
        saturated: number of codes that were set to the end of the range because they lay beyond it. A part has that of
            the whole.
    """

    fired: Tensor
    negative: Tensor | None
    shape: torch.Size
    weights: Tensor
    timesteps: PerRow
    coding: str
    zero_point: PerRow | None = None
    saturated: int = 0

    @property
    def steps(self) -> int:
        """Number of steps of the longest row."""
        return self.fired.shape[0]

    @property
    def spikes(self) -> Tensor:
        """All spikes unpacked, int8 [steps, *rows, K], in {-1, 0, 1}, or in {0, 1} for an unsigned coding."""
        return self._unpacked(self.fired, self.negative).view(self.steps, *self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the spikes take."""
        return self.fired.nbytes + (0 if self.negative is None else self.negative.nbytes)

    def planes(self) -> Iterator[Tensor]:
        """The spikes step by step, int8 [*rows, K] each; only one step is unpacked at a time."""
        for step in range(self.steps):
            negative = None if self.negative is None else self.negative[step]
            yield self._unpacked(self.fired[step], negative).view(self.shape)

    def codes(self) -> Tensor:
        """The exact integer codes, int16 [*rows, K]; of some of the steps, what these add to `-zero_point` or 0."""
        total = torch.zeros(self.shape, dtype=torch.int16, device=self.fired.device)
        if self.weights.ndim == 1:
            for plane, weight in zip(self.planes(), self.weights.tolist(), strict=True):
                total.add_(plane, alpha=weight)
        else:
            for plane, weight in zip(self.planes(), self.weights.to(torch.int16), strict=True):
                total.addcmul_(plane.to(torch.int16), weight.unsqueeze(-1))
        if self.zero_point is not None:
            total -= along_features(self.zero_point)
        return total

    def count(self) -> int:
        """Number of spikes fired, of either sign."""
        return int(popcount(self.fired).sum(dtype=torch.int64))

    def count_per_row(self) -> Tensor:
        """Number of spikes that each row fired, int64 [*rows]."""
        return popcount(self.fired).sum(dim=(0, -1), dtype=torch.int64)

    def to(self, device: torch.device | str) -> SpikeTrain:
        """The same on another device."""
        return self._each(lambda tensor: tensor.to(device), lambda tensor: tensor.to(device))

    def __getitem__(self, index: Part | tuple[Part, ...]) -> SpikeTrain:
        steps, *rows = index if isinstance(index, tuple) else (index,)
        if not isinstance(steps, slice) or not all(isinstance(row, int | slice) for row in rows):
            raise TypeError(
                "a spike train takes a slice of steps, then slices or integers for its rows, as in train[:, 2:5]; "
                "single steps come from planes(), and neurons from spikes"
            )
        if len(rows) > self.fired.ndim - 2:
            raise IndexError(f"{len(rows)} indices of rows, but the rows are {list(self.shape[:-1])}")
        # weights that all rows share have steps alone
        return self._each(lambda tensor: tensor[(steps, *rows)[: tensor.ndim]], lambda tensor: tensor[tuple(rows)])

    def __iter__(self) -> Iterator[Tensor]:
        return self.planes()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpikeTrain):
            return NotImplemented
        if (self.coding, self.shape, self.steps) != (other.coding, other.shape, other.steps):
            return False
        other = other.to(self.fired.device)
        return all(
            mine is theirs if mine is None or theirs is None else torch.equal(mine, theirs)
            for mine, theirs in zip(self._content(), other._content(), strict=True)
        )

    __hash__ = None  # type: ignore[assignment]  # tensors can be written to

    def _unpacked(self, fired: Tensor, negative: Tensor | None) -> Tensor:
        return unpack(fired, negative, self.shape[-1] if self.shape else 1)

    def _content(self) -> tuple[Tensor | None, ...]:
        rows = self.fired.shape[1:-1]
        weights = self.weights if self.weights.ndim > 1 else self.weights.view(-1, *[1] * len(rows))
        return (
            self.fired,
            self.negative,
            weights.expand(self.steps, *rows),
            self._of_rows(self.timesteps),
            None if self.zero_point is None else self._of_rows(self.zero_point),
        )

    def _of_rows(self, value: PerRow) -> Tensor:
        return torch.as_tensor(value, dtype=torch.int32, device=self.fired.device).expand(self.fired.shape[1:-1])

    def _each(self, of_steps: Callable[[Tensor], Tensor], of_rows: Callable[[Tensor], Tensor]) -> SpikeTrain:
        """The train with functions applied to what it has for each step (and row), and for each row."""
        fired = of_steps(self.fired)
        return replace(
            self,
            fired=fired,
            negative=None if self.negative is None else of_steps(self.negative),
            shape=torch.Size((*fired.shape[1:-1], *self.shape[-1:])),
            weights=of_steps(self.weights),
            timesteps=of_rows(self.timesteps) if isinstance(self.timesteps, Tensor) else self.timesteps,
            zero_point=of_rows(self.zero_point) if isinstance(self.zero_point, Tensor) else self.zero_point,
        )
