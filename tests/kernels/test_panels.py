"""Panels: the same bytes from the library and from torch, and the integers back."""

from __future__ import annotations

import pytest
import torch
from spike_compressor.kernels import Panels, available_levels, panels

SHAPES = [(17, 45, 1), (5, 60, 5), (33, 128, 2), (16, 64, 1), (40, 18, 3), (0, 8, 1), (3, 0, 1), (1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("low", "high", "bits"), [(-8, 7, 4), (-2, 1, 4), (-128, 127, 8), (-15, 15, 8)])
def test_there_and_back(shape: tuple[int, int, int], low: int, high: int, bits: int) -> None:
    N, K, groups = shape
    codes = torch.randint(low, high + 1, (N, K), dtype=torch.int8)
    codes.view(-1)[:2] = torch.tensor([low, high], dtype=torch.int8)[: codes.numel()]
    packed = Panels.of(codes, groups)
    if codes.numel() > 1:
        assert packed.bits == bits
    assert torch.equal(packed.codes(), codes)
    assert torch.equal(panels._unpack(packed), codes)
    assert torch.equal(packed.data, panels._pack(codes, groups, packed.bits))
    quads = groups * -(-(K // groups) // 4)
    assert packed.data.numel() == -(-N // 16) * quads * (32 if packed.bits == 4 else 64)


def test_a_byte_holds_the_output_and_the_one_eight_further() -> None:
    codes = torch.zeros(16, 4, dtype=torch.int8)
    codes[2, 1], codes[10, 1] = -8, 7
    data = Panels.of(codes, 1).data
    assert data[4 * 2 + 1] == (0 | (15 << 4))
    assert (data == (8 | (8 << 4))).sum() == 31


def test_the_library_is_here() -> None:
    """Tests of levels would pass without one."""
    assert {"torch", "portable"} <= set(available_levels())
