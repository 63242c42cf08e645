"""Scales tried on calibration rows by the native kernel: what torch finds, and what the neuron does."""

from __future__ import annotations

import pytest
import torch
from spike_compressor.coding import absmax_scale, get_coding, quantize_rows
from spike_compressor.coding.quantize import magnitude_codes
from spike_compressor.coding.statistics import candidate_scales
from spike_compressor.kernels import available_levels, try_scales, using_level
from spike_compressor.modifiers.sensitivity import ErrorTable

RATIOS = (0.5, 1.0, 1.2)


def rows(width: int) -> torch.Tensor:
    """Ties, zero rows, tiny and huge values among the rows."""
    x = torch.randn(9, width, generator=torch.Generator().manual_seed(width))
    x[1] = 0
    x[2] = torch.arange(width) / 2 % 8
    x[3] *= 1e-42
    x[4] *= 1e30
    x[5, 0] = 0.49999997
    return x


CODINGS = ("tc_lif", "tc_lif_rdoq")


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("width", [1, 7, 64, 203])
def test_candidates_have_the_scales_and_codes_of_the_neuron(width: int, coding: str) -> None:
    x, rounding = rows(width), get_coding(coding).rounding
    scales = candidate_scales(x.abs().amax(dim=1), range(1, 8), RATIOS)
    codes, units = torch.empty_like(x, dtype=torch.int8), torch.empty_like(x)
    for T in range(1, 8):
        for ratio, scale in zip(RATIOS, scales[T - 1], strict=True):
            assert torch.equal(scale, absmax_scale(x, T, ratio))
            magnitude_codes(x.abs(), scale.unsqueeze(1), T, units, codes, rounding)
            assert torch.equal(codes, quantize_rows(x, scale, T, coding)[0].abs())


@pytest.mark.skipif(len(available_levels()) == 1, reason="the package was built without a C++ compiler")
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("width", [1, 7, 64, 203])
def test_the_kernel_counts_every_code_and_sums_every_error(width: int, coding: str) -> None:
    x, rounding = rows(width), get_coding(coding).rounding.native
    u = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    scales = candidate_scales(x.abs().amax(dim=1), range(1, 8), RATIOS).flatten(0, 1)
    timesteps = torch.arange(1, 8, dtype=torch.int32).repeat_interleave(len(RATIOS))
    with using_level(available_levels()[1]):
        found = try_scales(x, u, scales, timesteps, rounding)
    assert found is not None
    for index, (scale, T) in enumerate(zip(scales, timesteps.tolist(), strict=True)):
        codes = quantize_rows(x, scale, T, coding)[0].abs()
        assert found[1][index].tolist() == torch.bincount(codes.flatten().int(), minlength=128).tolist()
        lost = (x.abs() - codes * scale.unsqueeze(1)) * u
        assert float(found[0][index]) == pytest.approx(float(lost.square().sum(dtype=torch.float64)), rel=1e-12)
    with using_level("torch"):
        assert try_scales(x, u, scales, timesteps, rounding) is None
    assert try_scales(x, u, scales, timesteps, None) is None  # a rounding that the kernel does not know


@pytest.mark.skipif(len(available_levels()) == 1, reason="the package was built without a C++ compiler")
@pytest.mark.parametrize("coding", ["csd", "tc_lif_rdoq"])
def test_tables_do_not_depend_on_who_tries_the_scales(coding: str) -> None:
    torch.manual_seed(3)
    x, u = torch.randn(700, 96), torch.randn(700, 96)  # more rows than are tried at once
    tables = []
    for level in available_levels():
        with using_level(level):
            tables.append(ErrorTable(96, coding, RATIOS))
            tables[-1].update(x, None, u)
            assert tables[-1].rows == 700
    for T in range(1, 8):
        assert len({table.ratio(T) for table in tables}) == 1
        assert len({table.spikes_per_row(T) for table in tables}) == 1
        assert [table.error(T) for table in tables] == pytest.approx([tables[0].error(T)] * len(tables), rel=1e-12)
