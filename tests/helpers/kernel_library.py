"""The C functions of the kernels by themselves, on tensors: for tests of the library, not of the package around it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

OK, NOT_FINITE, NO_MEMORY, BAD_ARGUMENT = range(4)
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}
PANEL, QUAD = 16, 4


class CLayer(ctypes.Structure):
    _fields_: Sequence[tuple[str, Any]] = (
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("groups", ctypes.c_int32),
        ("bits", ctypes.c_int32),
        ("max_code", ctypes.c_int32),
        ("panels", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class CRows(ctypes.Structure):
    _fields_: Sequence[tuple[str, Any]] = (
        ("x", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("timesteps_step", ctypes.c_int32),
        ("timesteps", ctypes.c_void_p),
        ("ratio", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("ratio_step", ctypes.c_int32),
        ("scale_step", ctypes.c_int32),
        ("silenced", ctypes.c_void_p),
        ("statistic", ctypes.c_int32),
        ("rounding", ctypes.c_int32),
    )


class Failed(Exception):  # noqa: N818
    """A kernel did not return OK; `status` has what it returned."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@dataclass
class Weights:
    """A layer: `codes` int8 [N, K], `scales` float32 [N, G], and what the library is given of them."""

    codes: Tensor
    scales: Tensor
    bias: Tensor | None
    panels: Tensor
    padded: Tensor
    c: CLayer


@dataclass
class Rows:
    """How rows are coded. T, ratio and scale are one number or one per row."""

    x: Tensor
    timesteps: int | Tensor
    ratio: float | Tensor = 1.0
    scale: float | Tensor | None = None
    silenced: Tensor | None = None
    statistic: int = 0
    rounding: int = 0

    def to_c(self) -> tuple[CRows, list[Tensor]]:
        """The structure, and the tensors that it points into."""
        x = self.x
        assert x.dim() == 2
        assert x.stride(1) == 1 or x.shape[1] < 2
        timesteps = torch.as_tensor(self.timesteps, dtype=torch.int32).reshape(-1).contiguous()
        ratio = torch.as_tensor(self.ratio, dtype=torch.float32).reshape(-1).contiguous()
        scale = (
            None if self.scale is None else torch.as_tensor(self.scale, dtype=torch.float32).reshape(-1).contiguous()
        )
        silenced = None if self.silenced is None else self.silenced.to(torch.uint8).contiguous()
        c = CRows(
            x=x.data_ptr(),
            count=x.shape[0],
            stride=x.stride(0),
            dtype=DTYPES[x.dtype],
            timesteps_step=int(timesteps.numel() > 1),
            timesteps=timesteps.data_ptr(),
            ratio=ratio.data_ptr(),
            scale=None if scale is None else scale.data_ptr(),
            ratio_step=int(ratio.numel() > 1),
            scale_step=int(scale is not None and scale.numel() > 1),
            silenced=None if silenced is None else silenced.data_ptr(),
            statistic=self.statistic,
            rounding=self.rounding,
        )
        return c, [tensor for tensor in (x, timesteps, ratio, scale, silenced) if tensor is not None]


class Library:
    """The library at a path; its functions take and give tensors."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        self.c.spike_level_name.restype = ctypes.c_char_p
        self.c.spike_panels_size.restype = self.c.spike_codes_width.restype = ctypes.c_int64
        self.c.spike_set_parallel_for.argtypes = [ctypes.c_void_p]

    def levels(self) -> dict[str, int]:
        """Name -> number of the levels that this machine supports."""
        numbers = range(self.c.spike_level_count())
        return {self.c.spike_level_name(n).decode(): n for n in numbers if self.c.spike_level_supported(n)}

    def pack(self, codes: Tensor, groups: int, bits: int) -> Tensor:
        """Panels of weights int8 [N, K]."""
        N, K = codes.shape
        size = [ctypes.c_int64(N), ctypes.c_int64(K), ctypes.c_int32(groups), ctypes.c_int32(bits)]
        panels = torch.full((self.c.spike_panels_size(*size),), 0xAA, dtype=torch.uint8)
        codes = codes.contiguous()
        self.c.spike_pack(ctypes.c_void_p(codes.data_ptr()), *size, ctypes.c_void_p(panels.data_ptr()))
        return panels

    def unpack(self, panels: Tensor, N: int, K: int, groups: int, bits: int) -> Tensor:
        """Weights int8 [N, K] of panels."""
        codes = torch.full((N, K), 99, dtype=torch.int8)
        size = [ctypes.c_int64(N), ctypes.c_int64(K), ctypes.c_int32(groups), ctypes.c_int32(bits)]
        self.c.spike_unpack(ctypes.c_void_p(panels.data_ptr()), *size, ctypes.c_void_p(codes.data_ptr()))
        return codes

    def layer(self, codes: Tensor, scales: Tensor, bias: Tensor | None, bits: int, max_code: int) -> Weights:
        """A layer of weights int8 [N, K] and scales float32 [N, G]."""
        (N, K), groups = codes.shape, scales.shape[1]
        panels = self.pack(codes, groups, bits)
        padded = torch.nn.functional.pad(scales.t(), (0, -N % PANEL)).contiguous()
        c = CLayer(
            K,
            N,
            groups,
            bits,
            max_code,
            panels.data_ptr(),
            padded.data_ptr(),
            bias.data_ptr() if bias is not None else None,
        )
        return Weights(codes, scales, bias, panels, padded, c)

    def width(self, layer: Weights) -> int:
        """Of a row of codes."""
        return int(self.c.spike_codes_width(ctypes.c_int64(layer.c.inputs), ctypes.c_int32(layer.c.groups)))

    def spread(self, layer: Weights, codes: Tensor) -> Tensor:
        """Codes [..., K] as the library lays them out: groups padded with zeros to whole quads."""
        grouped = codes.to(torch.int8).unflatten(-1, (layer.c.groups, -1))
        return torch.nn.functional.pad(grouped, (0, -grouped.shape[-1] % QUAD)).flatten(-2).contiguous()

    def gather(self, layer: Weights, codes: Tensor) -> Tensor:
        """The reverse: codes [..., K] without the padding, which must be zero."""
        grouped = codes.unflatten(-1, (layer.c.groups, -1))
        own = layer.c.inputs // layer.c.groups
        assert not bool(grouped[..., own:].any())
        return grouped[..., :own].flatten(-2)

    def encode(self, level: int, layer: Weights, rows: Rows) -> tuple[Tensor, Tensor, int]:
        """Codes int8 [M, K], scales [M], and how many clipped."""
        c, kept = rows.to_c()
        codes = torch.full((c.count, self.width(layer)), 99, dtype=torch.int8)
        scales, clipped = torch.full((c.count,), -1.0), ctypes.c_int64(-1)
        self._call("spike_encode", level, layer.c, c, codes, scales, clipped)
        del kept
        return self.gather(layer, codes), scales, clipped.value

    def accumulate(self, level: int, layer: Weights, codes: Tensor) -> Tensor:
        """Accumulators int32 [G, M, N] of codes int8 [M, K]."""
        M, N = codes.shape[0], layer.c.outputs
        sums = torch.full((layer.c.groups, M, N), 99, dtype=torch.int32)
        self._call("spike_accumulate", level, layer.c, self.spread(layer, codes), M, sums)
        return sums

    def outputs(self, level: int, layer: Weights, codes: Tensor, scales: Tensor) -> Tensor:
        """Outputs float32 [M, N] of codes int8 [M, K]."""
        M = codes.shape[0]
        out = torch.full((M, layer.c.outputs), 99.0)
        self._call("spike_outputs", level, layer.c, self.spread(layer, codes), scales.contiguous(), M, out)
        return out

    def accumulate_steps(self, level: int, layer: Weights, planes: Tensor, weights: Tensor) -> Tensor:
        """Accumulators int32 [G, M, N] of planes int8 [T, M, K] with weights int32 [T] or [T, M]."""
        T, M = planes.shape[:2]
        sums = torch.full((layer.c.groups, M, layer.c.outputs), 99, dtype=torch.int32)
        arguments = (self.spread(layer, planes), M, T, weights.contiguous(), weights.dim() - 1, sums)
        self._call("spike_accumulate_steps", level, layer.c, *arguments)
        return sums

    def outputs_steps(self, level: int, layer: Weights, planes: Tensor, scales: Tensor, weights: Tensor) -> Tensor:
        """Outputs float32 [M, N] of planes."""
        T, M = planes.shape[:2]
        out = torch.full((M, layer.c.outputs), 99.0)
        arguments = (
            self.spread(layer, planes),
            scales.contiguous(),
            M,
            T,
            weights.contiguous(),
            weights.dim() - 1,
            out,
        )
        self._call("spike_outputs_steps", level, layer.c, *arguments)
        return out

    def linear(self, level: int, layer: Weights, rows: Rows) -> tuple[Tensor, int]:
        """Outputs float32 [M, N], and how many codes clipped."""
        c, kept = rows.to_c()
        out, clipped = torch.full((c.count, layer.c.outputs), 99.0), ctypes.c_int64(-1)
        self._call("spike_linear", level, layer.c, c, out, clipped)
        del kept
        return out, clipped.value

    def _call(self, name: str, level: int, *arguments: Any) -> None:
        given: list[Any] = [ctypes.c_int32(level)]
        for argument in arguments:
            if isinstance(argument, Tensor):
                given.append(ctypes.c_void_p(argument.data_ptr()))
            elif isinstance(argument, int):  # sizes; the one int32 among them comes in a register, too
                given.append(ctypes.c_int64(argument))
            else:
                given.append(ctypes.byref(argument))
        status = getattr(self.c, name)(*given)
        if status != OK:
            raise Failed(status)
