"""Spiking layers on CUDA: Triton codes rows and scales sums, cuBLAS or Triton multiplies 8-bit integers.

All bits are those of the CPU. The kernels are tried against plain arithmetic before a device first uses them, and left
alone where they fail or do not compile; layers then run on torch, as they do without the `triton` package.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from typing import Any

import torch
from torch import Tensor

from spike_compressor.kernels.layer import Encoded, NativeRows, NotFiniteError
from spike_compressor.kernels.library import TORCH, VARIABLE, say

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_CUBLAS_ROWS = 17  # it takes no fewer rows, and sizes that are multiples of 8
_AMPERE = (8, 0)  # Triton multiplies no 8-bit integers before it


def int_mm(left: Tensor, right: Tensor) -> Tensor:
    """Exact int32 product of int8 [M, K] and [K, N]; on CUDA padded to the sizes that cuBLAS takes."""
    if left.is_cuda:
        return _padded_int_mm(left, right)
    if left.shape[1] == 1:  # torch 2.13 leaves memory as it was where K is 1, on processors with 8-bit products
        left, right = (torch.nn.functional.pad(part, pad) for part, pad in ((left, (0, 1)), (right, (0, 0, 0, 1))))
    return torch._int_mm(left, right)


def _padded_int_mm(left: Tensor, right: Tensor) -> Tensor:
    (M, K), N = left.shape, right.shape[1]
    left = torch.nn.functional.pad(left, (0, -K % 8, 0, max(0, _CUBLAS_ROWS - M)))
    if K % 8 or N % 8:
        right = torch.nn.functional.pad(right, (0, -N % 8, 0, -K % 8))
    return torch._int_mm(left, right)[:M, :N]


class CudaLayer:
    """The integers and scales of a layer on CUDA, and what its kernels compute with them; see `NativeLayer`.

    Args:
        codes: int8 [N, K]; copied unless contiguous.
        scales: float32 [G, at least N], contiguous.
    """

    def __init__(self, codes: Tensor, scales: Tensor) -> None:
        self._codes, self._scales = codes.contiguous(), scales  # as they are, if they are contiguous
        self._groups = int(scales.shape[0])

    def usable(self, x: Tensor) -> bool:
        """Whether the kernels take these inputs, and are in use on their device."""
        return (
            x.device == self._codes.device
            and x.dtype in _DTYPES
            and type(x) in (Tensor, torch.nn.Parameter)
            and self._codes.numel() > 0
            and kernels_of(x.device) is not None
        )

    @staticmethod
    def encodes(coding: int | None, rounding: int | None) -> bool:
        """Whether the kernels choose the codes of a coding: of all that round in a way that they know."""
        return coding == 0 and rounding in (0, 1)

    def linear(self, x: Tensor, rows: NativeRows, bias: Tensor | None) -> Tensor:
        """Outputs float32 [*leading, N] of inputs [*leading, K].

        Raises:
            NotFiniteError: NaN or infinity in x.
        """
        return self._outputs(self.encode(x, rows), bias, x.shape[:-1])

    def encode(self, x: Tensor, rows: NativeRows) -> Encoded:
        """Codes of inputs [*leading, K], as rows; the tensors of `rows` are on the device.

        Raises:
            NotFiniteError: NaN or infinity in x.
        """
        K = self._codes.shape[1]
        x = x.detach().reshape(-1, K)
        if x.stride(1) != 1:
            x = x.contiguous()
        M = x.shape[0]
        codes = torch.empty((M, K), dtype=torch.int8, device=x.device)
        scale = torch.empty(M, dtype=torch.float32, device=x.device)
        if not M:
            return Encoded(codes, scale, 0)
        state = torch.zeros(2, dtype=torch.int64, device=x.device)
        kernels = _kernels()
        silenced = None if rows.silenced is None else rows.silenced.view(torch.int8)
        with _on(x.device):
            kernels.encode[(M,)](
                x,
                x.stride(0),
                rows.timesteps,
                int(rows.timesteps.numel() > 1),
                rows.ratio,
                int(rows.ratio.numel() > 1),
                rows.scale,
                0 if rows.scale is None else int(rows.scale.numel() > 1),
                silenced,
                codes,
                K,
                scale,
                state,
                K,
                STATIC=rows.scale is not None,
                STATISTIC=rows.statistic or 0,
                ROUNDING=rows.rounding,
                SILENCED=silenced is not None,
                BLOCK=min(4096, _power_of_two(K)),
                **kernels.EXACT,
            )
        clipped, not_finite = state.tolist()  # waits for the kernel
        if not_finite:
            raise NotFiniteError
        return Encoded(codes, scale, clipped)

    def _outputs(self, encoded: Encoded, bias: Tensor | None, leading: torch.Size) -> Tensor:
        """Outputs float32 [*leading, N] of codes."""
        codes, scale = encoded.codes, encoded.scale
        (M, K), N = codes.shape, self._codes.shape[0]
        if self._groups == 1 and M >= _CUBLAS_ROWS and not (K % 8 or N % 8):
            return self._of_sums(int_mm(codes, self._codes.t()), scale, bias).view(*leading, N)
        out = torch.empty((M, N), dtype=torch.float32, device=codes.device)
        if M:
            kernels, size = _kernels(), K // self._groups
            rows = 16 if M <= 16 else 32 if M <= 32 else 64
            columns = 32 if M <= 16 else 64 if M <= 32 else 128
            with _on(codes.device):
                kernels.outputs_of_codes[(-(-M // rows), -(-N // columns))](
                    codes,
                    K,
                    self._codes,
                    scale,
                    self._scales,
                    self._scales.stride(0),
                    bias,
                    out,
                    M,
                    N,
                    K,
                    size,
                    HAS_BIAS=bias is not None,
                    GROUPED=self._groups > 1,
                    ROWS=rows,
                    COLUMNS=columns,
                    DEPTH=min(128, max(32, _power_of_two(size))),
                    num_warps=8 if rows == 64 else 4,  # sums and outputs of a tile are to fit registers
                    **kernels.EXACT,
                )
        return out.view(*leading, N)

    def plain(self, codes: Tensor) -> Tensor:
        """Codes [..., K] as they are."""
        return codes

    def _of_sums(self, sums: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Outputs of sums int32 [M, N] of a layer without groups."""
        M, N = sums.shape
        out = torch.empty((M, N), dtype=torch.float32, device=sums.device)
        kernels = _kernels()
        with _on(sums.device):
            kernels.outputs_of_sums[(M, -(-N // 1024))](
                sums,
                sums.stride(0),
                scale,
                self._scales,
                bias,
                out,
                N,
                HAS_BIAS=bias is not None,
                BLOCK=1024,
                **kernels.EXACT,
            )
        return out


def _on(device: torch.device) -> Any:
    """Triton launches on the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _power_of_two(size: int) -> int:
    return 1 << max(0, size - 1).bit_length()


@functools.cache
def _kernels() -> Any:
    """The module of Triton kernels; None without Triton."""
    try:
        return importlib.import_module("spike_compressor.kernels.triton_kernels")
    except ImportError:
        return None


@functools.cache
def kernels_of(device: torch.device) -> Any:
    """The module of Triton kernels, once they have proved themselves on a device; None where it is left to torch.

    Args:
        device: of CUDA, with its index; of a CPU, the kernels run in Triton's interpreter (`TRITON_INTERPRET=1`) only.
    """
    kernels = _kernels()
    if os.environ.get(VARIABLE) == TORCH or (device.type != "cuda" and not (kernels and kernels.INTERPRETED)):
        return None
    if kernels is None:
        why = "the triton package is missing"
    elif device.type == "cuda" and torch.cuda.get_device_capability(device) < _AMPERE:
        why = "Triton multiplies 8-bit integers from compute capability 8.0 on"
    else:
        try:
            with torch.device("cpu"), torch.no_grad():  # whatever device tensors are made on by default
                failed = failing_case(device)
        except Exception as error:  # of a compiler or driver: whatever it is, torch computes the same
            failed = f"{type(error).__name__}: {error}"
        if failed is None:
            return kernels
        why = f"the Triton kernels fail their test there ({failed}); please report it"
    say(f"spiking layers on {device} run on torch alone, slower than they could: {why}")
    return None


# Every case of the kernels against plain arithmetic on the CPU


def failing_case(device: torch.device) -> str | None:
    """Name of the first case in which the kernels give other bits than plain arithmetic; None if all agree."""
    for name, dtype, M, N, K, groups, statistic, rounding in (
        ("few rows", torch.float32, 5, 33, 70, 1, 0, 0),
        ("many rows", torch.bfloat16, 40, 72, 2048, 1, 0, 0),
        ("groups", torch.float16, 33, 40, 96, 3, 0, 0),
        ("few rows in groups", torch.float64, 3, 16, 320, 5, 0, 0),
        ("rows by their root mean square", torch.float32, 9, 16, 4800, 1, 1, 0),
        ("rows by their mean magnitude", torch.bfloat16, 9, 16, 130, 1, 2, 0),
        ("rows rounded by rate and distortion", torch.float32, 9, 16, 600, 1, 0, 1),
    ):
        generator = torch.Generator().manual_seed(M)
        x = _hard_rows(M, K, dtype, generator)
        T = torch.arange(M, dtype=torch.int32) % 7 + 1
        ratio = torch.rand(M, generator=generator) + 0.5
        ratio[1] = 1.0
        silenced = torch.rand(K, generator=generator) < 0.1 if groups > 1 else None
        weights = torch.randint(-128, 128, (N, K), generator=generator).to(torch.int8)
        scales = torch.rand(groups, N, generator=generator)
        bias = torch.randn(N, generator=generator).to(dtype)
        codes, scale, clipped = _coded(x, T, ratio, statistic, rounding)
        if silenced is not None:
            codes[:, silenced] = 0
        wanted = _scaled(codes, weights, scale, scales, bias)

        layer = CudaLayer(weights.to(device), scales.to(device))
        dead = None if silenced is None else silenced.to(device)
        rows = NativeRows(T.to(device), ratio.to(device), silenced=dead, statistic=statistic, rounding=rounding)
        encoded = layer.encode(x.to(device), rows)
        out = layer.linear(x.to(device), rows, bias.to(device))
        if encoded.clipped != clipped or not torch.equal(encoded.codes.cpu(), codes):
            return f"codes of {name}"
        if not torch.equal(encoded.scale.cpu(), scale):
            return f"scales of {name}"
        if not torch.equal(out.cpu(), wanted):
            return f"outputs of {name}"
    return None


def _hard_rows(M: int, K: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """A row of zeros, one of ties and what lies beside them, one of the smallest numbers, others of any size."""
    x = torch.randn(M, K, generator=generator) * 2.0 ** torch.randint(-12, 13, (M, 1), generator=generator)
    x[0] = 0
    x[1] = (torch.arange(K) % 13 - 6) / 4  # at T = 2 and a ratio of 1, quotients -3, -5/2 … 3
    x[1, 6::13] = 0.25 - 2**-26  # and the float32 below 1/2
    x[2] *= 1e-43
    return x.to(dtype)


def _coded(x: Tensor, T: Tensor, ratio: Tensor, statistic: int, rounding: int) -> tuple[Tensor, Tensor, int]:
    x = x.to(torch.float32)
    limit = (2**T - 1).to(torch.float32)
    value, divisor = (_mean(x, statistic), torch.ones(())) if statistic else (x.abs().amax(1), limit)
    scale = (value * ratio).clamp(max=torch.finfo(torch.float32).max) / divisor
    scale[scale == 0] = 1.0
    y = (x / scale.unsqueeze(1)).to(torch.float64)
    level = torch.floor((torch.floor(2 * y.abs()) + 1) / 2)
    top = limit.to(torch.float64).unsqueeze(1)
    clipped = int((level > top).sum())
    if rounding:
        whole = torch.minimum(y.abs(), top).floor()
        ones = sum((torch.remainder(whole + 1, 2**n) == 0).to(torch.float64) for n in (1, 2, 3))
        level = whole + (y.abs() - whole >= (3 - ones) / 4)
    return (torch.minimum(level, top) * y.sign()).to(torch.int8), scale, clipped


def _mean(x: Tensor, statistic: int) -> Tensor:
    """Root mean square (1) or mean magnitude (2) of rows float32, in integers of 18 bits."""
    magnitude = x.abs().to(torch.float64)
    shift = 18 - torch.frexp(magnitude.amax(1)).exponent.to(torch.int64)
    factor, unit = ((power + 1023 << 52).view(torch.float64) for power in (shift, -shift))
    units = (magnitude * factor.unsqueeze(1)).to(torch.int64)
    mean = (units * units if statistic == 1 else units).sum(1).to(torch.float64) / x.shape[1]
    return ((mean.sqrt() if statistic == 1 else mean) * unit).to(torch.float32)


def _scaled(codes: Tensor, weights: Tensor, scale: Tensor, scales: Tensor, bias: Tensor) -> Tensor:
    groups = scales.shape[0]
    parts = zip(codes.chunk(groups, 1), weights.chunk(groups, 1), scales, strict=True)
    terms = [((c.int() @ w.int().t()).to(torch.float32) * scale.unsqueeze(1)) * column for c, w, column in parts]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total + bias.to(torch.float32)
