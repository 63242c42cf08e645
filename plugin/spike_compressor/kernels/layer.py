"""One spiking Linear as the kernels see it: rows to codes, codes to accumulators, rows to outputs."""

from __future__ import annotations

import functools
import threading
import weakref
from ctypes import byref, c_int64
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from spike_compressor.kernels.library import CLayer, CRows, Library, library
from spike_compressor.kernels.panels import QUAD, Panels

_DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}
_NOT_FINITE, _NO_MEMORY = 1, 2
#: The largest magnitude of codes that are no int8.
WIDEST = 8127
#: From so many inputs of a call on, codes are kept for the next layer that gets the same tensor.
_SHARED = 1 << 15


class NotFiniteError(ArithmeticError):
    """NaN or infinity among the inputs."""


class Encoded(NamedTuple):
    """Rows as codes.

    Attributes:
        codes: int8 [M, width], laid out as the kernels read them; int16 [M, K] of a coding of wider codes.
        scale: float32 [M].
        clipped: number of codes that lay beyond their range.
    """

    codes: Tensor
    scale: Tensor
    clipped: int


@dataclass(frozen=True, eq=False)
class NativeRows:
    """How rows are coded: what does not change from call to call.

    Attributes:
        timesteps: int32 [1], or [M] one for each row.
        ratio: float32 likewise, of dynamic thresholds.
        scale: float32 likewise, of static ones, or of dynamic ones that were measured elsewhere; None where the kernels
            are to measure them.
        silenced: bool [K], True where a neuron must not fire; None if all may.
        statistic: number of the statistic that the kernels are to measure rows by (`coding.Statistic.native`); None of
            one that they do not know: they are to be told the scales.
        coding: how they choose codes (`coding.Coding.native`): 0, by rounding; B, four inputs together, by a beam of B.
        rounding: how they round (`coding.Rounding.native`).
    """

    timesteps: Tensor
    ratio: Tensor
    scale: Tensor | None = None
    silenced: Tensor | None = None
    statistic: int | None = 0
    coding: int = 0
    rounding: int = 0

    def same(self, other: NativeRows) -> bool:
        """Whether the same inputs get the same codes and scales."""
        return self is other or all(_same(getattr(self, key), getattr(other, key)) for key in self.__dataclass_fields__)

    @functools.cached_property
    def longest(self) -> int:
        """The largest T."""
        return int(self.timesteps.max()) if self.timesteps.numel() else 1

    @functools.cached_property
    def template(self) -> CRows:
        """As the library takes them, but for the inputs; valid as long as this object lives."""
        scale, silenced = self.scale, self.silenced
        return CRows(
            timesteps=self.timesteps.data_ptr(),
            timesteps_step=int(self.timesteps.numel() > 1),
            ratio=self.ratio.data_ptr(),
            ratio_step=int(self.ratio.numel() > 1),
            scale=None if scale is None else scale.data_ptr(),
            scale_step=0 if scale is None else int(scale.numel() > 1),
            silenced=None if silenced is None else silenced.data_ptr(),
            statistic=self.statistic or 0,
            rounding=self.rounding,
        )


def _same(left: Tensor | int | None, right: Tensor | int | None) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left is right or torch.equal(left, right)
    return left is right or (not isinstance(left, Tensor) and left == right)


class _Last(threading.local):
    """The encoding that was made last in a thread, for layers that have the same input (q/k/v, gate/up)."""

    def __init__(self) -> None:
        self.x: Any = None  # a weak reference: the codes go with it
        self.version = 0
        self.rows: NativeRows | None = None
        self.group = 0
        self.encoded: Encoded | None = None

    def of(self, x: Tensor, rows: NativeRows, group: int) -> Encoded | None:
        if self.x is None or self.x() is not x or self.version != x._version or self.group != group:
            return None
        assert self.rows is not None
        return self.encoded if self.rows.same(rows) else None

    def keep(self, x: Tensor, rows: NativeRows, group: int, encoded: Encoded) -> None:
        self.x = weakref.ref(x, self._forget)
        self.version, self.rows, self.group, self.encoded = x._version, rows, group, encoded

    def _forget(self, reference: Any) -> None:
        if self.x is reference:
            self.x = self.rows = self.encoded = None


_LAST = _Last()
#: Where counts go that nobody reads, of all threads.
_UNREAD = byref(c_int64())


class Layer(Protocol):
    """One spiking Linear on the fast kernels of its device."""

    def usable(self, x: Tensor) -> bool:
        """Whether the kernels take these inputs, and are in use."""

    def encodes(self, coding: int | None, rounding: int | None) -> bool:
        """Whether the kernels choose the codes of a coding (`Coding.native`) with its rounding (`Rounding.native`)."""

    def linear(self, x: Tensor, rows: NativeRows, bias: Tensor | None) -> Tensor:
        """Outputs float32 [*leading, N] of inputs [*leading, K]; NotFiniteError of NaN and infinity."""

    def encode(self, x: Tensor, rows: NativeRows) -> Encoded:
        """Codes of inputs [*leading, K], as rows; NotFiniteError of NaN and infinity."""

    def plain(self, codes: Tensor) -> Tensor:
        """Codes as `encode` gives them, as [..., K]."""


class NativeLayer:
    """The panels, scales and bias of a layer, and what the library computes with them.

    Inputs may have any leading dimensions and any dtype of `float32`, `bfloat16`, `float16`, `float64`; all tensors are
    on the CPU.

    Args:
        panels: the integer weights.
        scales: float32 [G, N padded to 16], contiguous.
        max_code: largest magnitude that a code can have, 1 to 127.
    """

    def __init__(self, panels: Panels, scales: Tensor, max_code: int) -> None:
        self._panels, self._scales = panels, scales
        self._c = CLayer(
            inputs=panels.inputs,
            outputs=panels.outputs,
            groups=panels.groups,
            bits=panels.bits,
            max_code=max_code,
            panels=panels.data.data_ptr(),
            scales=scales.data_ptr(),
        )
        self._address = byref(self._c)
        self._bias: Tensor | None = None
        self._bias_of: tuple[Tensor | None, int | None] = (None, None)
        self._group = panels.inputs // panels.groups if panels.groups else 0
        self.width = panels.groups * -(-self._group // QUAD) * QUAD

    @staticmethod
    def usable(x: Tensor) -> bool:
        """Whether the library takes these inputs, and a level of it is in use."""
        if not x.is_cpu or x.dtype not in _DTYPES or type(x) not in (Tensor, torch.nn.Parameter):
            return False  # a subclass of Tensor may hold its numbers elsewhere
        loaded = library()
        return loaded is not None and loaded.level is not None

    @staticmethod
    def encodes(coding: int | None, rounding: int | None) -> bool:
        """Whether the library chooses the codes of a coding with its rounding."""
        return coding in (0, 4, 8) and rounding in (0, 1)

    def linear(self, x: Tensor, rows: NativeRows, bias: Tensor | None) -> Tensor:
        """Outputs float32 [*leading, N] of inputs [*leading, K].

        Raises:
            NotFiniteError: NaN or infinity in x.
        """
        if rows.coding or (x.numel() >= _SHARED and not x.is_inference()):
            return self.outputs(self.encode(x, rows), bias, x.shape[:-1])
        # a token's call takes microseconds, and every line of Python here counts
        loaded, x = _library(), x.contiguous()
        out = torch.empty(*x.shape[:-1], self._panels.outputs, dtype=torch.float32)
        c = self._rows(x, rows)
        self._with(bias)
        status = loaded.call.spike_linear(loaded.level, self._address, byref(c), out.data_ptr(), _UNREAD)
        if status:
            _check(status)
        return out

    def encode(self, x: Tensor, rows: NativeRows) -> Encoded:
        """Codes of inputs [*leading, K], as rows.

        Raises:
            NotFiniteError: NaN or infinity in x.
        """
        if x.numel() >= _SHARED and not x.is_inference():
            return self._shared(x, rows)
        return self._encode(x, rows)

    def _shared(self, x: Tensor, rows: NativeRows) -> Encoded:
        group = self._group if self._group % QUAD else QUAD  # the layout of codes, where it depends on groups
        encoded = _LAST.of(x, rows, group)
        if encoded is None:
            encoded = self._encode(x, rows)
            _LAST.keep(x, rows, group, encoded)
        return encoded

    def _encode(self, x: Tensor, rows: NativeRows) -> Encoded:
        loaded, x = _library(), x.contiguous()
        c = self._rows(x, rows)
        scale = torch.empty(c.count, dtype=torch.float32)
        clipped = c_int64()
        if rows.coding:
            codes = torch.empty((c.count, self._panels.inputs), dtype=torch.int16)
            arguments = (byref(c), rows.coding, codes.data_ptr(), scale.data_ptr(), byref(clipped))
            _check(loaded.call.spike_encode_groups(loaded.level, self._address, *arguments))
            return Encoded(codes, scale, clipped.value)
        codes = torch.empty((c.count, self.width), dtype=torch.int8)
        _check(
            loaded.call.spike_encode(
                loaded.level, self._address, byref(c), codes.data_ptr(), scale.data_ptr(), byref(clipped)
            )
        )
        return Encoded(codes, scale, clipped.value)

    def outputs(self, encoded: Encoded, bias: Tensor | None, leading: torch.Size) -> Tensor:
        """Outputs float32 [*leading, N] of codes."""
        loaded = _library()
        out = torch.empty((*leading, self._c.outputs), dtype=torch.float32)
        self._with(bias)
        codes, scale = encoded.codes, encoded.scale
        call = loaded.call.spike_outputs if codes.dtype == torch.int8 else loaded.call.spike_outputs_wide
        _check(call(loaded.level, self._address, codes.data_ptr(), scale.data_ptr(), codes.shape[0], out.data_ptr()))
        return out

    def accumulate(self, codes: Tensor) -> Tensor:
        """Accumulators int32 [M, N], or [M, N, G] with groups, of codes int8 [M, width] or int16 [M, K].

        With groups it is a view of [G, M, N]: each group's accumulators lie together, as they are used.
        """
        loaded = _library()
        sums = torch.empty((self._c.groups, codes.shape[0], self._c.outputs), dtype=torch.int32)
        call = loaded.call.spike_accumulate if codes.dtype == torch.int8 else loaded.call.spike_accumulate_wide
        _check(call(loaded.level, self._address, codes.data_ptr(), codes.shape[0], sums.data_ptr()))
        return self._by_row(sums)

    def outputs_steps(self, planes: Tensor, weights: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Outputs float32 [M, N] of spikes step by step.

        Args:
            planes: int8 [steps, M, width], in {-1, 0, 1}.
            weights: temporal weights, int32 [steps] or [steps, M].
            scale: of the rows, float32 [M].
            bias: [N], or None.
        """
        loaded = _library()
        steps, M = planes.shape[:2]
        out = torch.empty((M, self._c.outputs), dtype=torch.float32)
        weights = weights.contiguous()
        self._with(bias)
        _check(
            loaded.call.spike_outputs_steps(
                loaded.level,
                self._address,
                planes.data_ptr(),
                scale.data_ptr(),
                M,
                steps,
                weights.data_ptr(),
                int(weights.dim() > 1),
                out.data_ptr(),
            )
        )
        return out

    def planes(self, codes: Tensor, table: Tensor, timesteps: Tensor) -> Tensor:
        """Spikes of each step, int8 [steps, M, width].

        Args:
            codes: int8 [M, width].
            table: of `Coding.table`, int8 [steps, 8, 256].
            timesteps: int32 [1], or [M].
        """
        planes = torch.empty((table.shape[0], *codes.shape), dtype=torch.int8)
        _library().call.spike_planes(
            codes.data_ptr(),
            *codes.shape,
            table.data_ptr(),
            table.shape[0],
            timesteps.data_ptr(),
            int(timesteps.numel() > 1),
            planes.data_ptr(),
        )
        return planes

    def laid_out(self, codes: Tensor) -> Tensor:
        """Codes int8 [..., K] as the kernels read them, [..., width]."""
        if self.width == self._c.inputs:
            return codes.contiguous()
        split = codes.unflatten(-1, (self._c.groups, self._group))
        return torch.nn.functional.pad(split, (0, -self._group % QUAD)).flatten(-2).contiguous()

    def plain(self, codes: Tensor) -> Tensor:
        """Codes [..., width] as [..., K]; wider ones are that."""
        if codes.dtype != torch.int8 or self.width == self._c.inputs:
            return codes
        return codes.unflatten(-1, (self._c.groups, -1))[..., : self._group].flatten(-2)

    def _by_row(self, sums: Tensor) -> Tensor:
        return sums[0] if self._c.groups == 1 else sums.permute(1, 2, 0)

    def _rows(self, x: Tensor, rows: NativeRows) -> CRows:
        """For contiguous x, which is to live as long as what is returned."""
        c = CRows.from_buffer_copy(rows.template)
        K = self._panels.inputs
        c.x, c.stride, c.dtype = x.data_ptr(), K, _DTYPES[x.dtype]
        c.count = x.numel() // K if K else x.shape[:-1].numel()
        return c

    def _with(self, bias: Tensor | None) -> None:
        if bias is None:
            self._c.bias = None
            return
        version = None if bias.is_inference() else bias._version  # what was made in inference mode counts no writes
        if self._bias is None or version is None or self._bias_of[0] is not bias or self._bias_of[1] != version:
            self._bias = bias.detach().to(torch.float32).contiguous()  # itself, where it is float32
            self._bias_of = (bias, version)
        self._c.bias = self._bias.data_ptr()


def _library() -> Library:
    loaded = library()
    assert loaded is not None
    return loaded


def _check(status: int) -> None:
    if status == _NOT_FINITE:
        raise NotFiniteError
    if status == _NO_MEMORY:
        raise MemoryError
    if status:
        raise AssertionError(f"the kernels refuse their arguments: status {status}")


def encode_groups(x: Tensor, scale: Tensor, timesteps: int | Tensor, beam: int | None) -> Tensor | None:
    """Codes of a coding of groups for rows whose scales are known, without a layer.

    Args:
        x: float32 [R, K].
        scale: float32 [R].
        timesteps: S, 1 to 8, an int or an integer tensor [R].
        beam: states of the search (`coding.Coding.native`), 4 or 8.

    Returns:
        int16 [R, K]. None where torch is to find them: without native kernels, with a search that they do not know, and
        off the CPU.

    Raises:
        NotFiniteError: NaN or infinity in x.
    """
    loaded = library() if x.is_cpu else None
    if loaded is None or loaded.level is None or not beam:
        return None
    x, (R, K) = x.contiguous(), x.shape
    steps = torch.as_tensor(timesteps, dtype=torch.int32).reshape(-1).contiguous()
    told = NativeRows(steps, torch.ones(1), scale.to(torch.float32).contiguous(), coding=beam)
    rows = told.template
    rows.x, rows.count, rows.stride, rows.dtype = x.data_ptr(), R, K, _DTYPES[torch.float32]
    codes, scales = torch.empty((R, K), dtype=torch.int16), torch.empty(R)
    found = (codes.data_ptr(), scales.data_ptr(), byref(c_int64()))
    _check(loaded.call.spike_encode_groups(loaded.level, byref(CLayer(inputs=K, groups=1)), byref(rows), beam, *found))
    return codes
