"""Exact integer matrix products on whatever the machine does fast.

A float32 product of integers is exact, in every order of summation, as long as no partial sum exceeds 2^24; a float64
one up to 2^53. The bound is known from the weights when a layer is attached, so the fast float kernels of any machine
can carry integers without a rounding, and the 8-bit kernels are used where there is hardware for them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.errors import InputError
from spike_compressor.runtime.weights import IntegerWeight

_EXACT = {torch.float32: 2**24, torch.float64: 2**53}
_INT32_LIMIT = 2**31 - 1
#: From so many rows on, weights become floats anew at each call, a small part of the product's work: kept floats take
#: four or eight times the memory of 8-bit codes.
_MANY_ROWS = 64


def has_int8_kernel(device: torch.device) -> bool:
    """True where `torch._int_mm` runs on 8-bit dot-product hardware; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return True
    return device.type == "cpu" and bool(torch.cpu._is_vnni_supported())


class IntegerMatmul:
    """Products of integer codes with one layer's integer weights, group by group.

    Args:
        weight: codes int8 [N, K].
        max_code: largest magnitude that a code can have.
        kernel: `int8`, `float` or None for what suits the device.

    Raises:
        InputError: if an accumulator could leave int32.
    """

    def __init__(self, weight: IntegerWeight, max_code: int, name: str, kernel: str | None = None) -> None:
        N, K = weight.codes.shape
        self.groups = weight.groups
        grouped = weight.codes.view(N, self.groups, K // self.groups)
        # |sum of any subset of the terms of one accumulator| <= max_code * sum of |weights| of its row
        # (in int16: -128 has no absolute value in int8)
        sums = grouped.to(torch.int16).abs().sum(dim=2, dtype=torch.int64)
        self.bound = max_code * int(sums.max()) if K and N else 0
        if self.bound > _INT32_LIMIT:
            raise InputError(
                f"{name}: an accumulator could reach {self.bound}, beyond int32, with K = {K} inputs and codes up to "
                f"{max_code}; use fewer timesteps, fewer weight bits or weight groups."
            )
        device = weight.codes.device
        self.kernel = kernel or ("int8" if has_int8_kernel(device) and max_code <= 127 else "float")
        if self.kernel not in ("int8", "float"):
            raise InputError(f"unknown kernel {self.kernel!r}; there are: int8, float")
        if self.kernel == "int8" and max_code > 127:
            raise InputError(f"{name}: codes up to {max_code} do not fit the int8 kernel; use kernel='float'")
        self._dtype = next(dtype for dtype, limit in _EXACT.items() if self.bound <= limit)
        # a view of the layer's codes [G, K/G, N]
        self._operand = weight.codes.t() if self.kernel == "int8" and self.groups == 1 else grouped.permute(1, 2, 0)
        self._floats: Tensor | None = None

    def __call__(self, codes: Tensor) -> Tensor:
        """Accumulators int32 [M, N], or [M, N, G] with groups, of codes [M, K].

        With groups it is a view of [G, M, N]: each group's accumulators lie together, as they are used.
        """
        M = codes.shape[0]
        if self._operand.device != codes.device:
            self._operand, self._floats = self._operand.to(codes.device), None
        if self.kernel == "int8":
            return self._int8(codes)
        operand = self._floats
        if operand is None:
            operand = self._operand.to(self._dtype)  # laid out as the codes: one pass over them, and no transposition
            if M < _MANY_ROWS:  # token after token: the product reads the weights and does little else
                self._floats = operand = operand.contiguous()
        if self.groups == 1:
            return (codes.to(self._dtype) @ operand[0]).to(torch.int32)
        grouped = codes.to(self._dtype).unflatten(1, (self.groups, codes.shape[1] // self.groups)).transpose(0, 1)
        return torch.bmm(grouped, operand).to(torch.int32).permute(1, 2, 0)

    def _int8(self, codes: Tensor) -> Tensor:
        codes = codes.to(torch.int8)  # asymmetric codes come as int16, and fit
        if self.groups == 1:
            return _int_mm(codes, self._operand)
        parts = codes.unflatten(1, (self.groups, codes.shape[1] // self.groups)).unbind(1)
        sums = [_int_mm(part.contiguous(), operand) for part, operand in zip(parts, self._operand, strict=True)]
        return torch.stack(sums).permute(1, 2, 0)


class OperandMatmul:
    """Products of integer codes with another integer operand of the same call, a batch of them at once.

    Args:
        operand: integer codes [batch, K, N].
        bound: what no accumulator, and no partial sum of one, exceeds in magnitude.
        name: of the product, for the error.

    Raises:
        InputError: if an accumulator could leave int32.
    """

    def __init__(self, operand: Tensor, bound: int, name: str) -> None:
        if bound > _INT32_LIMIT:
            raise InputError(
                f"{name}: an accumulator could reach {bound}, beyond int32, with {operand.shape[1]} inputs; use fewer "
                "timesteps or shorter sequences."
            )
        # TF32, where it is switched on, keeps this exact: codes of 8 bits fit its 11, and it sums in float32
        self._operand = operand.to(next(dtype for dtype, limit in _EXACT.items() if bound <= limit))

    def __call__(self, codes: Tensor) -> Tensor:
        """Accumulators int32 [batch * rows, N] of codes [batch * rows, K], the rows of a batch entry together."""
        batch, K, N = self._operand.shape
        left = codes.to(self._operand.dtype).view(batch, -1, K)
        return torch.bmm(left, self._operand).to(torch.int32).view(-1, N)


def _int_mm(left: Tensor, right: Tensor) -> Tensor:
    """`torch._int_mm` of int8 [M, K] and [K, N]; on CUDA padded to the sizes that cuBLAS takes."""
    if not left.is_cuda:
        return torch._int_mm(left, right)
    (M, K), N = left.shape, right.shape[1]
    left = torch.nn.functional.pad(left, (0, -K % 8, 0, max(0, 17 - M)))  # more than 16 rows, whole groups of 8
    if K % 8 or N % 8:
        right = torch.nn.functional.pad(right, (0, -N % 8, 0, -K % 8))
    return torch._int_mm(left, right)[:M, :N]
