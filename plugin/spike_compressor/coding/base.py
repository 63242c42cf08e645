"""What a coding is, and the registry that knows all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from spike_compressor.coding.arguments import MAX_TIMESTEPS, PerRow, along_features

__all__ = ["Coding", "available_codings", "get_coding", "register_coding"]


class Coding(ABC):
    """An exact codec between integer codes and spikes.

    ``timesteps`` is always the *nominal* T: ``L = 2^(T+1)`` levels, codes ``|q| <= 2^T - 1``. How many steps a
    coding takes for that is its own affair (:meth:`steps`). A subclass sets ``signed``, and implements
    :meth:`weights` and :meth:`fire`; everything else follows.

    The contract, for every code in :meth:`code_range`, with ``z`` the zero point (0 for a signed coding)::

        sum_t weights(T)[t] * spikes[t]  ==  code + z
    """

    name: ClassVar[str]
    """Set by :func:`register_coding`."""

    signed: ClassVar[bool]
    """Whether spikes are in {-1, 0, 1}. If not they are in {0, 1}, and codes are shifted by a zero point."""

    @abstractmethod
    def weights(self, timesteps: int) -> tuple[int, ...]:
        """Temporal weights of the steps that ``timesteps`` nominal timesteps take, the first step's first."""

    @abstractmethod
    def fire(self, levels: Tensor, timesteps: PerRow, steps: int) -> Tensor:
        """Spikes of integer levels that all fit.

        Args:
            levels: int16 [*rows, K]; ``code + z``, so ``|levels| <= 2^T - 1`` for a signed coding and
                ``0 … 2^(T+1) - 1`` for an unsigned one.
            timesteps: T, an int or an int32 tensor [*rows].
            steps: length of the result; the largest number of steps that any row takes.

        Returns:
            int8 [steps, *rows, K]. A row's own steps come first; what follows them is zero.
        """

    def steps(self, timesteps: int) -> int:
        """Number of steps that ``timesteps`` nominal timesteps take."""
        return len(self.weights(timesteps))

    def default_zero_point(self, timesteps: PerRow) -> PerRow | None:
        """``2^T`` for an unsigned coding, as an int or per row; None for a signed one."""
        return None if self.signed else 1 << timesteps

    def code_range(self, timesteps: PerRow, zero_point: PerRow | None = None) -> tuple[PerRow, PerRow]:
        """Smallest and largest code, each an int or an int32 tensor [*rows].

        Without a zero point these are the symmetric codes ``±(2^T - 1)`` in every coding, so that changing the
        coding never changes a code. An asymmetric quantizer's own zero point z gives all L codes ``[-z, L-1-z]``.
        """
        if zero_point is None:
            limit = (1 << timesteps) - 1
            return -limit, limit
        return -zero_point, (2 << timesteps) - 1 - zero_point

    def step_weights(self, timesteps: PerRow) -> Tensor:
        """Temporal weights, int32: [steps] for an int; [steps, *rows], zero after a row's own, for a tensor."""
        if isinstance(timesteps, int):
            return torch.tensor(self.weights(timesteps), dtype=torch.int32)
        longest = self.max_steps(timesteps)
        table = torch.zeros(MAX_TIMESTEPS + 1, longest, dtype=torch.int32)
        for nominal in range(1, MAX_TIMESTEPS + 1):
            row = self.weights(nominal)[:longest]
            table[nominal, : len(row)] = torch.tensor(row, dtype=torch.int32)
        return table.to(timesteps.device)[timesteps.long()].movedim(-1, 0)

    def max_steps(self, timesteps: PerRow) -> int:
        """Steps of the row that takes most; 0 if there is no row."""
        if isinstance(timesteps, int):
            return self.steps(timesteps)
        return self.steps(int(timesteps.max())) if timesteps.numel() else 0

    def spikes(self, codes: Tensor, timesteps: PerRow, zero_point: PerRow | None = None) -> Tensor:
        """Spikes int8 [steps, *codes.shape] of integer ``codes`` [*rows, K] that fit :meth:`code_range`.

        Nothing is checked here: :func:`~spike_compressor.coding.spikes_from_codes` does that, and clamps.
        """
        levels = codes.to(torch.int16)
        if not self.signed:
            if zero_point is None:
                zero_point = 1 << timesteps
            levels = levels + along_features(zero_point)
        return self.fire(levels.to(torch.int16), timesteps, self.max_steps(timesteps))


_CODINGS: dict[str, Coding] = {}

_C = TypeVar("_C", bound=type[Coding])


def register_coding(name: str) -> Callable[[_C], _C]:
    """Class decorator that makes a :class:`Coding` known under ``name``.

    Raises:
        ValueError: the name belongs to another class already.
    """

    def register(cls: _C) -> _C:
        known = _CODINGS.get(name)
        if known is not None and type(known).__qualname__ != cls.__qualname__:
            raise ValueError(f"coding {name!r} is registered already, by {type(known).__qualname__}")
        cls.name = name
        _CODINGS[name] = cls()
        return cls

    return register


def get_coding(name: str) -> Coding:
    """The coding of that name.

    Raises:
        ValueError: there is none.
    """
    try:
        return _CODINGS[name]
    except (KeyError, TypeError):
        raise ValueError(f"unknown coding {name!r}; there are {', '.join(available_codings())}") from None


def available_codings() -> tuple[str, ...]:
    """Names of all registered codings, sorted."""
    return tuple(sorted(_CODINGS))
