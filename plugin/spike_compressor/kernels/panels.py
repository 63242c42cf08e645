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


def _padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _pack(codes: Tensor, groups: int, bits: int) -> Tensor:
    N, K = codes.shape
    width, rows = K // groups if groups else 0, _padded(N, OUTPUTS)
    padded = codes.new_zeros((rows, groups, _padded(width, QUAD)))
    padded[:N, :, :width] = codes.view(N, groups, width)
    # [panel, output, quad, input] -> [panel, quad, output, input]
    quads = padded.view(rows // OUTPUTS, OUTPUTS, -1, QUAD).transpose(1, 2)
    values = (quads.to(torch.int16) + 2 ** (bits - 1)).to(torch.uint8)
    if bits == 4:
        low, high = values.split(OUTPUTS // 2, dim=2)
        values = low | (high << 4)
    return values.reshape(-1)


def _unpack(panels: Panels) -> Tensor:
    N, K, groups, bits = panels.outputs, panels.inputs, panels.groups, panels.bits
    width, rows = K // groups if groups else 0, _padded(N, OUTPUTS)
    values = panels.data
    if bits == 4:
        packed = values.view(rows // OUTPUTS, -1, OUTPUTS // 2, QUAD)
        values = torch.cat([packed & 15, packed >> 4], dim=2)
    quads = values.view(rows // OUTPUTS, -1, OUTPUTS, QUAD).transpose(1, 2)
    padded = (quads.to(torch.int16) - 2 ** (bits - 1)).to(torch.int8)
    return padded.reshape(rows, groups, _padded(width, QUAD))[:N, :, :width].reshape(N, K)
