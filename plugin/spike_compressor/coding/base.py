"""What a coding is, and the registry that knows all of them."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from spike_compressor.coding.arguments import MAX_TIMESTEPS, PerRow
from spike_compressor.coding.bits import pack_spikes, packed_width, unpack
from spike_compressor.coding.blocks import as_table, row_blocks
from spike_compressor.coding.fixed_point import fixed_membrane
from spike_compressor.coding.rounding import NEAREST, Limit, Rounding
from spike_compressor.errors import InputError
from spike_compressor.registry import Registry

__all__ = ["CODINGS", "Coding", "available_codings", "get_coding", "register_coding", "rows_of", "spike_table"]


class Coding(ABC):
    """An exact codec between integer codes and spikes.

    `timesteps` is always the *nominal* T: `L = 2^(T+1)` levels, codes `|q| <= 2^T - 1`, or what `largest` says.
    How many steps a coding takes for that is its own affair (`steps`). A subclass sets `signed`, and implements
    `weights` and either `fire` or, for speed, `write`; everything else follows. Its codes are the drives rounded to
    integers, each by itself by `rounding`, unless it implements `quantize`: then it may see all inputs of a row.

    The contract, for every code in `code_range`, with `z` the zero point (0 for a signed coding):

        sum_t weights(T)[t] * spikes[t]  ==  code + z
    """

    name: ClassVar[str]
    """Set by `register_coding`."""

    signed: ClassVar[bool]
    """Whether spikes are in {-1, 0, 1}. If not they are in {0, 1}, and codes are shifted by a zero point."""

    max_timesteps: ClassVar[int] = MAX_TIMESTEPS
    """The largest T, `MOST_TIMESTEPS` at most."""

    group: ClassVar[int] = 1
    """Consecutive inputs that are coded together. The magnitudes of their codes add up to no more than `largest`."""

    rounding: ClassVar[Rounding] = NEAREST
    """How drives become codes, if each does so by itself."""

    native: ClassVar[int | None] = 0
    """How the native kernels choose its codes: 0, by `rounding`; B, by a beam of B states; None, not at all."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "quantize" in cls.__dict__ and "native" not in cls.__dict__:
            cls.native = None  # not the way around another class's `quantize`

    @abstractmethod
    def weights(self, timesteps: int) -> tuple[int, ...]:
        """Temporal weights of the steps that `timesteps` nominal timesteps take, the first step's first."""

    def fire(self, levels: Tensor, timesteps: PerRow, spikes: Tensor) -> None:
        """Write the spikes of integer levels that all fit.

        Args:
            levels: int16 [rows, K'], K' the next multiple of 8 from K on; `code + z`, so `|levels| <= largest(T)` for
                a signed coding and `0 … 2^(T+1) - 1` for an unsigned one, and 0 beyond K. Not to be changed.
            timesteps: T, an int or an int16 tensor [rows, 1].
            spikes: int8 [steps, rows, K'], where to write. It has the steps of the row that takes most; a
                row's own come first, and what follows them is to be zero.
        """
        raise NotImplementedError(f"{type(self).__name__} implements neither `fire` nor `write`")

    def write(self, levels: Tensor, timesteps: PerRow, fired: Tensor, negative: Tensor | None) -> None:
        """Write the spikes of integer levels that all fit, packed: those of `fire`, if a subclass has nothing faster.

        Args:
            levels: int16 [rows, 8 * B], contiguous, as `fire` gets them.
            timesteps: as `fire` gets them.
            fired: uint8 [steps, rows, B], where to write which neurons fire, the lowest bit of a byte first.
            negative: likewise, which of them fire -1; None for an unsigned coding. What is written beyond K is cleared.
        """
        spikes = torch.empty((fired.shape[0], *levels.shape), dtype=torch.int8, device=levels.device)
        self.fire(levels, timesteps, spikes)
        pack_spikes(spikes, fired, negative)

    def quantize(
        self,
        y: Tensor,
        timesteps: PerRow,
        low: Limit,
        high: Limit,
        codes: Tensor,
        *,
        inside: bool,
        silenced: Tensor | None = None,
    ) -> int:
        """Write the codes of drives: those of `rounding`, each input by itself, if a subclass has no others.

        Args:
            y: float32 [rows, K], inputs in units of the code, never NaN. May be overwritten.
            timesteps: T, an int or an int16 tensor [rows, 1].
            low: the smallest codes, as `code_range` has them: an int or float32 [rows, 1].
            high: the largest codes, likewise.
            codes: int8, or int16 where they need it, [rows, K]: where to write.
            inside: no `y` is nearest to an integer beyond the limits.
            silenced: bool [K], True at neurons that must not fire; None if all may.

        Returns:
            How many drives are nearest to integers beyond the limits.
        """
        count = self.rounding.to_codes(y, low, high, codes, inside=inside)
        if silenced is not None:
            codes.masked_fill_(silenced, 0)
        return count

    def why_no_spikes(self, codes: Tensor, timesteps: PerRow) -> str | None:
        """Why no spikes stand for some of the integer codes [*rows, K] within the range; None if they do for all."""
        return None

    @property
    def rounds(self) -> bool:
        """Whether codes are drives rounded by `rounding`, whatever stands beside them."""
        return type(self).quantize is Coding.quantize

    def shares_codes(self, other: Coding) -> bool:
        """Whether another coding makes the same codes of the same drives."""
        return self.rounds and other.rounds and self.rounding is other.rounding

    def require_rounding(self, what: str, remedy: str) -> None:
        """Refuse what is for codings that round.

        Raises:
            InputError: this one does not.
        """
        if not self.rounds:
            raise InputError(f"{what} does not go with coding {self.name!r}, which codes inputs together: {remedy}")

    membrane_bits: ClassVar[int | None] = None
    """Fraction bits of `membrane`, where the coding fixes them."""

    def membrane(self, x: Tensor, scale: Tensor, timesteps: PerRow, frac_bits: int) -> Tensor:
        """What hardware gets in the place of `x` [*rows, K], int32: `fixed_membrane`, unless a subclass has another.

        Raises:
            ValueError: fewer fraction bits than `rounding` reads.
        """
        self.rounding.require_frac_bits(frac_bits)
        return fixed_membrane(x, scale, timesteps, frac_bits)

    def largest(self, timesteps: int) -> int:
        """The largest code of T timesteps."""
        return (1 << timesteps) - 1

    def unit(self, timesteps: int) -> int:
        """What the weakest spike is worth, in codes: 1 but where temporal weights are no powers of two."""
        return min(self.weights(timesteps))

    def code_type(self, zero_point: PerRow | None = None) -> torch.dtype:
        """Of codes: int8, or int16 where those of some T do not fit it."""
        fits = zero_point is None and self.largest(self.max_timesteps) <= torch.iinfo(torch.int8).max
        return torch.int8 if fits else torch.int16

    def steps(self, timesteps: int) -> int:
        """Number of steps that `timesteps` nominal timesteps take."""
        return len(self.weights(timesteps))

    def spike_bits(self, timesteps: int) -> int:
        """Bits that carry the spikes of one input: one a step, and a sign where spikes have one."""
        return self.steps(timesteps) + self.signed

    def integer_bits(self, timesteps: int) -> int:
        """Bits of an integer that is as fine as the codes of T timesteps, for dense arithmetic to be compared with."""
        return timesteps + 1

    def default_zero_point(self, timesteps: PerRow) -> PerRow | None:
        """`2^T` for an unsigned coding, as an int or per row; None for a signed one."""
        return None if self.signed else 1 << timesteps

    def code_range(self, timesteps: PerRow, zero_point: PerRow | None = None) -> tuple[PerRow, PerRow]:
        """Smallest and largest code, each an int or an int32 tensor [*rows].

        Without a zero point these are the symmetric codes `±(2^T - 1)` in every coding that rounds, so that changing
        the coding never changes a code, unless it changes the rounding. A zero point z, which asymmetric quantizers
        give, makes it all L codes `[-z, L-1-z]`.
        """
        if zero_point is None:
            limit = self.by_timesteps(self.largest, timesteps)
            return -limit, limit
        return -zero_point, (2 << timesteps) - 1 - zero_point

    def by_timesteps(self, function: Callable[[int], int], timesteps: PerRow) -> PerRow:
        """A function of T: of an int, or int32 [*rows] of a tensor of T."""
        if isinstance(timesteps, int):
            return function(timesteps)
        table = torch.tensor([0, *map(function, range(1, self.max_timesteps + 1))], dtype=torch.int32)
        return table.to(timesteps.device)[timesteps.long()]

    def step_weights(self, timesteps: PerRow) -> Tensor:
        """Temporal weights, int32: [steps]; for a tensor [steps, *rows], zero after a row's own steps."""
        if isinstance(timesteps, int):
            return torch.tensor(self.weights(timesteps), dtype=torch.int32)
        longest = self.max_steps(timesteps)
        table = torch.zeros(self.max_timesteps + 1, longest, dtype=torch.int32)
        for nominal in range(1, self.max_timesteps + 1):
            row = self.weights(nominal)[:longest]
            table[nominal, : len(row)] = torch.tensor(row, dtype=torch.int32)
        return table.to(timesteps.device)[timesteps.long()].movedim(-1, 0)

    def max_steps(self, timesteps: PerRow) -> int:
        """Steps of the row that takes most; 0 if there is no row."""
        if isinstance(timesteps, int):
            return self.steps(timesteps)
        return self.steps(int(timesteps.max())) if timesteps.numel() else 0

    def pack(self, codes: Tensor, timesteps: PerRow, zero_point: PerRow | None = None) -> tuple[Tensor, Tensor | None]:
        """Spikes of integer `codes` [*rows, K] that fit `code_range`, as the bits that a `SpikeTrain` holds.

        Nothing is checked here: `spikes_from_codes` does that, and clamps.

        Args:
            codes: integer [*rows, K].
            timesteps: T, an int or an int32 tensor [*rows].
            zero_point: z of an unsigned coding, an int or an int32 tensor [*rows]; default `2^T`.

        Returns:
            uint8 [steps, *rows, ceil(K / 8)]: which neurons fire, and, None for an unsigned coding, whose spike is -1.
        """
        shift: PerRow = 0
        if not self.signed:
            shift = 1 << timesteps if zero_point is None else zero_point
        table = as_table(codes)
        (rows, width), steps = table.shape, self.max_steps(timesteps)
        fired = torch.empty((steps, rows, packed_width(width)), dtype=torch.uint8, device=codes.device)
        negative = torch.empty_like(fired) if self.signed else None
        if fired.numel():
            for block in row_blocks(rows, width * packed_width(steps), codes.device):
                levels = table[block].to(torch.int16)
                if not self.signed:
                    levels = levels + rows_of(shift, block)
                if width % 8:
                    levels = torch.nn.functional.pad(levels, (0, -width % 8))
                levels = levels.contiguous()
                self.write(
                    levels,
                    rows_of(timesteps, block),
                    fired[:, block],
                    None if negative is None else negative[:, block],
                )
            if width % 8:
                fired[..., -1] &= (1 << width % 8) - 1
                if negative is not None:
                    negative[..., -1] &= (1 << width % 8) - 1
        shape = (steps, *codes.shape[:-1], fired.shape[-1])
        return fired.view(shape), None if negative is None else negative.view(shape)

    def spikes(self, codes: Tensor, timesteps: PerRow, zero_point: PerRow | None = None) -> Tensor:
        """Spikes of `pack` unpacked, int8 [steps, *rows, K]; of codes [*rows, K]."""
        fired, negative = self.pack(codes, timesteps, zero_point)
        return unpack(fired, negative, codes.shape[-1])


@functools.cache
def spike_table(coding: Coding, longest: int) -> tuple[Tensor, Tensor]:
    """What each code fires, and the temporal weights, for all T up to `longest`.

    Returns:
        int8 [steps, 8, 256], entry [:, T, code + 128], steps being those of `longest`; and int32 [8, steps]. A coding
        with fewer timesteps has zeros after its own steps.
    """
    steps = coding.steps(longest)
    table = torch.zeros((steps, MAX_TIMESTEPS + 1, 256), dtype=torch.int8)
    weights = torch.zeros((MAX_TIMESTEPS + 1, steps), dtype=torch.int32)
    for T in range(1, longest + 1):
        limit = 2**T - 1
        own = coding.steps(T)
        table[:own, T, 128 - limit : 129 + limit] = coding.spikes(torch.arange(-limit, limit + 1), T)
        weights[T, :own] = torch.tensor(coding.weights(T), dtype=torch.int32)
    return table, weights


def rows_of(value: PerRow, block: slice) -> PerRow:
    """An int as it is; of a tensor [*rows] the rows of a block, int16 [rows, 1]."""
    return value if isinstance(value, int) else value.reshape(-1, 1)[block].to(torch.int16)


CODINGS: Registry[Coding] = Registry("coding", "spike_compressor.codings", named=True, convert=lambda coding: coding())
CodingT = TypeVar("CodingT", bound=type[Coding])


def register_coding(name: str) -> Callable[[CodingT], CodingT]:
    """Class decorator that makes a `Coding` known under `name`.

    Raises:
        InputError: the name belongs to another class already.
    """
    return CODINGS.register(name)


def get_coding(name: str) -> Coding:
    """The coding of that name.

    Raises:
        InputError: there is none.
    """
    return CODINGS.get(name)


def available_codings() -> tuple[str, ...]:
    """Names of all registered codings, sorted."""
    return CODINGS.names()
