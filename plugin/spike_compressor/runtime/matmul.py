"""Exact integer matrix products on whatever the machine does fast.

The native kernels carry 8-bit codes on any CPU. Where they are not there, or codes are wider, floats do: a float32
product of integers is exact in every order of summation, as long as no partial sum exceeds 2^24; a float64 one up to
2^53. The bound is known from the weights when a layer is attached. torch's own 8-bit kernels are used where there is
hardware for them.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from spike_compressor.errors import InputError
from spike_compressor.kernels import WIDEST, CudaLayer, NativeLayer, active_level, int_mm
from spike_compressor.runtime.integers import IntegerWeight

_EXACT = {torch.float32: 2**24, torch.float64: 2**53}
_INT32_LIMIT = 2**31 - 1
#: From so many rows on, weights become floats anew at each call, a small part of the product's work: kept floats take
#: four or eight times the memory of 8-bit codes.
_MANY_ROWS = 64
_KERNELS = ("native", "int8", "float")
_CHUNK = 1 << 22  # weights whose magnitudes are summed at a time


def native_kernels() -> bool:
    """Whether a level of the native kernels is in use."""
    return active_level() != "torch"


def has_int8_kernel(device: torch.device) -> bool:
    """True where `torch._int_mm` runs on 8-bit dot-product hardware; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return True
    return device.type == "cpu" and bool(torch.cpu._is_vnni_supported())


def surely_fits(inputs: int, groups: int, bits: int, max_code: int) -> bool:
    """Whether no weights of so many bits could bring an accumulator of such codes beyond int32."""
    return max_code * worst_sum(inputs, groups, bits) <= _INT32_LIMIT


def worst_sum(inputs: int, groups: int, bits: int, together: int = 1) -> int:
    """`largest_sum` of weights of which nothing is known but their bits.

    Args:
        inputs: K.
        groups: of weight scales.
        bits: of the weights.
        together: consecutive inputs whose codes' magnitudes have a common limit.
    """
    own = inputs // groups
    together = _together(own, groups, together)
    return -(-own // together) * 2 ** (bits - 1)


def require_int32(bound: int, name: str, inputs: int, max_code: int) -> None:
    """Check a bound of a layer's accumulators.

    Raises:
        InputError: beyond int32; names the layer, the bound and what would make it less.
    """
    if bound > _INT32_LIMIT:
        raise InputError(
            f"{name}: an accumulator could reach {bound}, beyond int32, with K = {inputs} inputs and codes up to "
            f"{max_code}; use fewer timesteps, fewer weight bits or weight groups."
        )


class IntegerMatmul:
    """Products of integer codes with one layer's integer weights, group by group.

    Args:
        weight: codes int8 [N, K].
        max_code: largest magnitude that a code can have.
        name: of the layer, for errors.
        group: consecutive inputs whose codes' magnitudes add up to `max_code` at most.
        kernel: `native`, `int8`, `float` or None for what suits the device.

    Attributes:
        name: of the layer.
        groups: G, of its weights.
        bound: what no accumulator exceeds in magnitude.
        native: what the native kernels need to know of the layer; None where they cannot carry its codes.

    Raises:
        InputError: if an accumulator could leave int32.
    """

    def __init__(
        self, weight: IntegerWeight, max_code: int, name: str, kernel: str | None = None, group: int = 1
    ) -> None:
        self._weight, self.name, self.groups = weight, name, weight.groups
        self.bound = max_code * largest_sum(weight, group)
        require_int32(self.bound, name, weight.shape[1], max_code)
        if kernel not in (None, *_KERNELS):
            raise InputError(f"unknown kernel {kernel!r}; there are: {', '.join(_KERNELS)}")
        if kernel in ("int8", "native") and max_code > 127:
            raise InputError(f"{name}: codes up to {max_code} do not fit the {kernel} kernel; use kernel='float'")
        self._asked, self._max_code = kernel, max_code
        self._dtype = next(dtype for dtype, limit in _EXACT.items() if self.bound <= limit)
        self.native = self._native()
        self._operand: Tensor | None = None
        self._floats: Tensor | None = None

    def _native(self) -> NativeLayer | CudaLayer | None:
        """What the kernels hold of the layer: addresses, no numbers."""
        weight = self._weight
        if weight.panels is not None:
            return NativeLayer(weight.panels, weight.scales, min(self._max_code, 127))
        return CudaLayer(weight.codes, weight.scales) if weight.device.type == "cuda" else None

    def on(self, weight: IntegerWeight) -> IntegerMatmul:
        """The same product, of the same weights on another device."""
        moved = copy.copy(self)
        moved._weight, moved._operand, moved._floats = weight, None, None
        moved.native = moved._native()
        return moved

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "native": None}  # a copy has addresses of its own

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.native = self._native()

    def __call__(self, codes: Tensor) -> Tensor:
        """Accumulators int32 [M, N], or [M, N, G] with groups, of codes [M, K].

        With groups it is a view of [G, M, N]: each group's accumulators lie together, as they are used.
        """
        kernel = self._asked or self._suited(codes)
        if kernel == "native":
            assert isinstance(self.native, NativeLayer)
            if codes.dtype == torch.int16:
                return self.native.accumulate(codes.contiguous())
            return self.native.accumulate(self.native.laid_out(codes.to(torch.int8)))
        return self._int8(codes) if kernel == "int8" else self._float(codes)

    def synapses(self) -> Tensor:
        """The integer weights, int8 [1, N, K]."""
        return self._weight.codes.unsqueeze(0)

    def _suited(self, codes: Tensor) -> str:
        native = isinstance(self.native, NativeLayer)
        fits = codes.dtype == torch.int8 or (codes.dtype == torch.int16 and self._max_code <= WIDEST)
        if native and fits and codes.is_cpu and native_kernels():
            return "native"
        return "int8" if has_int8_kernel(codes.device) and self._max_code <= 127 else "float"

    def _grouped(self, device: torch.device) -> Tensor:
        """A view of the layer's codes, [G, K/G, N]."""
        N, K = self._weight.shape
        return self._weight.codes.to(device).view(N, self.groups, K // self.groups).permute(1, 2, 0)

    def _float(self, codes: Tensor) -> Tensor:
        M = codes.shape[0]
        operand = self._floats
        if operand is None or operand.device != codes.device:
            # laid out as the codes: one pass over them, and no transposition
            operand = self._grouped(codes.device).to(self._dtype)
            if M < _MANY_ROWS:  # token after token: the product reads the weights and does little else
                self._floats = operand = operand.contiguous()
        if self.groups == 1:
            return (codes.to(self._dtype) @ operand[0]).to(torch.int32)
        grouped = codes.to(self._dtype).unflatten(1, (self.groups, codes.shape[1] // self.groups)).transpose(0, 1)
        return torch.bmm(grouped, operand).to(torch.int32).permute(1, 2, 0)

    def _int8(self, codes: Tensor) -> Tensor:
        codes = codes.to(torch.int8)  # asymmetric codes come as int16, and fit
        if self._operand is None or self._operand.device != codes.device:
            operand = self._grouped(codes.device)
            self._operand = operand[0] if self.groups == 1 else operand
        if self.groups == 1:
            return int_mm(codes, self._operand)
        parts = codes.unflatten(1, (self.groups, codes.shape[1] // self.groups)).unbind(1)
        sums = [int_mm(part.contiguous(), operand) for part, operand in zip(parts, self._operand, strict=True)]
        return torch.stack(sums).permute(1, 2, 0)


def _together(own: int, groups: int, together: int) -> int:
    # inputs that are coded together may lie in two groups of weights
    return 1 if groups > 1 and own % together else together


def largest_sum(weight: IntegerWeight, together: int) -> int:
    """The largest sum of magnitudes of one accumulator's weights: what no sum of any of its terms exceeds.

    Args:
        weight: of a layer.
        together: consecutive inputs that are coded together: the largest of their weights counts for all of them.
    """
    N, K = weight.shape
    group = _together(K // weight.groups, weight.groups, together)
    if not N or not K:
        return 0
    largest, codes = 0, weight.codes
    for rows in codes.split(max(1, _CHUNK // K)):
        # in int16: -128 has no absolute value in int8
        magnitudes = rows.to(torch.int16).abs()
        if group > 1:
            magnitudes = torch.nn.functional.pad(magnitudes, (0, -K % group)).unflatten(1, (-1, group)).amax(dim=2)
        sums = magnitudes.view(rows.shape[0], weight.groups, -1).sum(dim=2, dtype=torch.int64)
        largest = max(largest, int(sums.max()))
    return largest


class OperandMatmul:
    """Products of integer codes with another integer operand of the same call, a batch of them at once.

    Args:
        operand: integer codes [batch, K, N].
        bound: what no accumulator, and no partial sum of one, exceeds in magnitude.
        name: of the product.
        scale: what one unit of the operand stands for, float32 [batch, N]; None where that is 1.

    Raises:
        InputError: if an accumulator could leave int32.
    """

    groups = 1

    def __init__(self, operand: Tensor, bound: int, name: str, scale: Tensor | None = None) -> None:
        self.name, self.scale = name, scale
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

    def synapses(self) -> Tensor:
        """The operand as weights, int8 [batch, N, K]."""
        return self._operand.transpose(1, 2).to(torch.int8)
