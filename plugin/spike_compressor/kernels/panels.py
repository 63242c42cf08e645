"""Integer weights in the layout that kernels read: packed once, and unpacked when somebody asks for the integers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spike_compressor.kernels.library import library

OUTPUTS, QUAD = 16, 4  # of a panel, and inputs that lie together in it


@dataclass(frozen=True, eq=False)
class Panels:
    """Integers [N, K] in panels of 16 outputs; docs/kernels.md has the layout.

    Attributes:
        data: uint8, flat.
        outputs: N.
        inputs: K.
        groups: G, into which the inputs are divided.
        bits: 4 or 8, of an integer in a panel.
    """

    data: Tensor
    outputs: int
    inputs: int
    groups: int
    bits: int

    @classmethod
    def of(cls, codes: Tensor, groups: int) -> Panels:
        """Panels of integers int8 [N, K], on the CPU; in 4 bits if all of them fit."""
        N, K = codes.shape
        low, high = (int(value) for value in torch.aminmax(codes)) if codes.numel() else (0, 0)
        bits = 4 if low >= -8 and high <= 7 else 8
        codes = codes.contiguous()
        loaded = library()
        if loaded is None:
            return cls(_pack(codes, groups, bits), N, K, groups, bits)
        size = loaded.call.spike_panels_size(N, K, groups, bits)
        data = torch.empty(size, dtype=torch.uint8)
        loaded.call.spike_pack(codes.data_ptr(), N, K, groups, bits, data.data_ptr())
        return cls(data, N, K, groups, bits)

    def codes(self) -> Tensor:
        """The integers, int8 [N, K]."""
        loaded = library()
        if loaded is None:
            return _unpack(self)
        codes = torch.empty((self.outputs, self.inputs), dtype=torch.int8)
        loaded.call.spike_unpack(
            self.data.data_ptr(), self.outputs, self.inputs, self.groups, self.bits, codes.data_ptr()
        )
        return codes


def _sizes(N: int, K: int, groups: int) -> tuple[int, int, int]:
    """Panels, quads of a group, and inputs of a group."""
    width = K // groups
    return -(-N // OUTPUTS), -(-width // QUAD), width


def _pack(codes: Tensor, groups: int, bits: int) -> Tensor:
    N, K = codes.shape
    count, quads, width = _sizes(N, K, groups)
    padded = codes.new_zeros((count * OUTPUTS, groups, quads * QUAD))
    padded[:N, :, :width] = codes.view(N, groups, width)
    # [panel, output, quad, input] -> [panel, quad, output, input]
    apart = padded.view(count, OUTPUTS, groups * quads, QUAD).transpose(1, 2)
    values = (apart.to(torch.int16) + 2 ** (bits - 1)).to(torch.uint8)
    if bits == 4:
        low, high = values.split(OUTPUTS // 2, dim=2)
        values = low | (high << 4)
    return values.reshape(-1)


def _unpack(panels: Panels) -> Tensor:
    N, K, groups, bits = panels.outputs, panels.inputs, panels.groups, panels.bits
    count, quads, width = _sizes(N, K, groups)
    values = panels.data.view(count, groups * quads, OUTPUTS * bits // 8, QUAD)
    if bits == 4:
        values = torch.cat([values & 15, values >> 4], dim=2)
    padded = (values.transpose(1, 2).to(torch.int16) - 2 ** (bits - 1)).to(torch.int8)
    return padded.reshape(count * OUTPUTS, groups, quads * QUAD)[:N, :, :width].reshape(N, K)
