"""Scales tried on calibration rows by the native kernel: what torch finds, and what the neuron does."""

from __future__ import annotations

import pytest
import torch
from spike_compressor.coding import absmax_scale, encode, get_coding, quantize_rows
from spike_compressor.coding.quantize import magnitude_codes
from spike_compressor.coding.statistics import candidate_scales, get_statistic
from spike_compressor.kernels import NotFiniteError, available_levels, encode_groups, try_scales, using_level
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


@pytest.mark.skipif(len(available_levels()) == 1, reason="the package was built without a C++ compiler")
@pytest.mark.parametrize("coding", ["group4", "group4_beam4"])
@pytest.mark.parametrize("width", [1, 7, 64, 203])
def test_groups_have_the_codes_of_the_neuron(width: int, coding: str) -> None:
    x, beam = rows(width), get_coding(coding).native
    for S in range(1, 9):
        scale = absmax_scale(x, min(S, 7), 0.7)
        expected = quantize_rows(x, scale, S, coding)[0]
        for level in available_levels()[1:]:
            with using_level(level):
                found = encode_groups(x, scale, S, beam)
            assert found is not None
            assert torch.equal(found, expected.to(torch.int16)), (S, level)
    steps = torch.arange(len(x)) % 8 + 1
    assert torch.equal(encode_groups(x, scale, steps, beam), quantize_rows(x, scale, steps, coding)[0].to(torch.int16))
    with pytest.raises(NotFiniteError):
        encode_groups(x.clone().fill_(float("nan")), scale, S, beam)
    assert encode_groups(x, scale, S, None) is None  # a search that the kernel does not know
    with using_level("torch"):
        assert encode_groups(x, scale, S, beam) is None


@pytest.mark.parametrize("with_gradient", [True, False])
def test_tables_of_groups_are_the_same_by_torch(with_gradient: bool) -> None:
    """Spikes are counted code by code, and are those that the neuron fires."""
    x = rows(60)[:4]
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) if with_gradient else None
    weight = torch.randn(5, 60, generator=torch.Generator().manual_seed(2))
    tables = []
    for level in (available_levels()[-1], "torch"):
        table = ErrorTable(60, "group4", (0.5, 1.0), "rms")
        with using_level(level):
            table.update(x, weight, gradient)
            tables.append([(table.error(S, r), table.spikes_per_row(S, r)) for S in range(1, 9) for r in (0.5, 1.0)])
    assert tables[0] == tables[1]
    value = get_statistic("rms").of_rows(x)
    scale = candidate_scales(value, [5], (0.5, 1.0), "rms", "group4")[0][1]
    fired = encode(x, scale, 5, "group4").spikes
    assert tables[0][9][1] == int(fired.ne(0).sum()) / 4
