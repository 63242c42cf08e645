"""Group coding in the kernels: at every level codes, scales, sums and outputs have torch's bits."""

from __future__ import annotations

import pytest
import torch
from spike_compressor.coding import available_codings, get_coding, quantize_rows, row_scale
from spike_compressor.kernels import WIDEST, NativeLayer, NativeRows, Panels, available_levels, using_level

LEVELS = [level for level in available_levels() if level != "torch"]
if not LEVELS:
    pytest.skip("the kernels were not built: make kernels", allow_module_level=True)
STATISTICS = ("absmax", "rms", "mean_abs")


def layer_of(K: int, groups: int, bits: int) -> tuple[NativeLayer, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(K)
    weights = torch.randint(-(1 << bits - 1), 1 << bits - 1, (40, K), generator=generator, dtype=torch.int8)
    scales = torch.rand(groups, 48, generator=generator)
    return NativeLayer(Panels.of(weights, groups), scales, 127), weights, scales


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("K", "groups", "bits"), [(96, 1, 4), (96, 4, 8), (70, 1, 8), (66, 11, 4), (3, 1, 4)])
@pytest.mark.parametrize("coding", [name for name in available_codings() if get_coding(name).native])
def test_rows_to_outputs(level: str, K: int, groups: int, bits: int, coding: str) -> None:
    layer, weights, scales = layer_of(K, groups, bits)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(45, K, generator=generator) * torch.randn(45, 1, generator=generator).exp()
    x[0], x[1] = 0, torch.arange(K) % 9 - 4  # ties
    x[2, 0] = 1e30
    T = torch.arange(45, dtype=torch.int32) % 8 + 1
    silenced = torch.arange(K) % 5 == 2
    for number, dtype in enumerate((torch.float32, torch.bfloat16, torch.float64)):
        rows = x.to(dtype)
        never = silenced if number else None
        scale = row_scale(rows, T, 0.2, STATISTICS[number], coding)
        codes, clipped = quantize_rows(rows, scale, T, coding, silenced=never)
        sums = torch.einsum("mgk,ngk->mng", codes.view(45, groups, -1).long(), weights.view(40, groups, -1).long())
        out = torch.zeros(45, 40)
        for group in range(groups):
            out += (sums[:, :, group].float() * scale[:, None]) * scales[group, :40]
        given = NativeRows(T, torch.tensor([0.2]), None, never, number, get_coding(coding).native or 0)
        with using_level(level):
            encoded = layer.encode(rows, given)
            assert torch.equal(encoded.codes, codes)
            assert torch.equal(encoded.scale, scale)
            assert encoded.clipped == clipped
            assert torch.equal(layer.plain(encoded.codes), codes)
            assert torch.equal(layer.accumulate(codes).view(45, 40, -1), sums.to(torch.int32))
            assert torch.equal(layer.linear(rows, given, None), out)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bits", [4, 8])
def test_the_widest_codes(level: str, bits: int) -> None:
    K = 600
    weights = torch.full((16, K), -(1 << bits - 1), dtype=torch.int8)
    layer = NativeLayer(Panels.of(weights, 1), torch.ones(1, 16), 127)
    codes = torch.full((7, K), WIDEST, dtype=torch.int16)
    codes[1] = -WIDEST
    codes[2, ::2] = 64  # whose digits are 1 and -64
    with using_level(level):
        assert torch.equal(layer.accumulate(codes).long(), codes.long() @ weights.long().t())


@pytest.mark.parametrize("level", LEVELS)
def test_steps_out_of_range_and_no_rows(level: str) -> None:
    layer = layer_of(8, 1, 4)[0]
    with using_level(level):
        with pytest.raises(AssertionError, match="refuse"):
            layer.encode(torch.ones(1, 8), NativeRows(torch.tensor([9], dtype=torch.int32), torch.ones(1), coding=8))
        rows = NativeRows(torch.tensor([5], dtype=torch.int32), torch.ones(1), coding=8)
        assert layer.linear(torch.zeros(0, 8), rows, None).shape == (0, 40)
