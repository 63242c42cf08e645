"""What holds of every statistic, those that are added included: no order of inputs and no other row shows in it."""

from __future__ import annotations

import pytest
import torch
from helpers.messages import naming
from spike_compressor.coding import available_statistics, get_coding, get_statistic, row_scale
from spike_compressor.errors import InputError

EACH = pytest.mark.parametrize("statistic", available_statistics())


def sample(K: int = 37, rows: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(K)
    x = torch.randn(rows, K, generator=generator) * torch.logspace(-40, 36, rows).unsqueeze(1)
    x[3] = 0
    x[5, :-1] = 0
    x[7] = 1e-44
    return x


@EACH
@pytest.mark.parametrize("K", [1, 2, 37, 300])
def test_order_and_company_do_not_show(statistic: str, K: int) -> None:
    kind, x = get_statistic(statistic), sample(K)
    value = kind.of_rows(x)
    assert value.dtype == torch.float32
    shuffled = x[:, torch.randperm(K, generator=torch.Generator().manual_seed(0))]
    assert torch.equal(kind.of_rows(shuffled), value)
    assert torch.equal(kind.of_rows(-x.flip(0)).flip(0), value)
    assert torch.equal(torch.cat([kind.of_rows(row.unsqueeze(0)) for row in x]), value)
    assert torch.equal(kind.of_rows(x.view(4, 6, K)), value.view(4, 6))
    assert torch.equal(kind.of_rows(x.repeat_interleave(2, dim=1)[:, ::2]), value)


@EACH
def test_zero_exactly_where_a_row_is(statistic: str) -> None:
    x = sample()
    live = x.abs().amax(dim=1) > 1e-30  # what is smaller than float32 has numbers for may vanish
    value = get_statistic(statistic).of_rows(x)
    assert value[3] == 0
    assert bool((value[live] > 0).all())
    assert bool((value <= x.abs().amax(dim=1)).all())
    assert get_statistic(statistic).of_rows(x[:0]).shape == (0,)


@EACH
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_not_finite_where_a_row_is_not(statistic: str, bad: float) -> None:
    x = sample()
    x[2, 0] = x[9, 20] = bad
    finite = get_statistic(statistic).of_rows(x).isfinite()
    assert finite.logical_not().nonzero().flatten().tolist() == [2, 9]


@EACH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_float32_first(statistic: str, dtype: torch.dtype) -> None:
    x = sample()[8:20].clamp(-6e4, 6e4).to(dtype)
    kind = get_statistic(statistic)
    assert torch.equal(kind.of_rows(x), kind.of_rows(x.to(torch.float32)))


@EACH
@pytest.mark.parametrize("coding", ["tc_lif", "csd"])
def test_scales_are_one_product_and_one_quotient(statistic: str, coding: str) -> None:
    x = sample()[8:20]
    kind = get_statistic(statistic)
    T = torch.arange(12) % 7 + 1
    divisor = torch.tensor([float(kind.divisor(get_coding(coding), int(t))) for t in T])
    assert torch.equal(row_scale(x, T, 0.3, statistic), kind.of_rows(x) * torch.tensor(0.3) / divisor)


@EACH
def test_calibration_has_ratios_to_choose_from(statistic: str) -> None:
    ratios = get_statistic(statistic).ratios
    assert list(ratios) == sorted(set(ratios))
    assert 0 < ratios[0] < ratios[-1] <= 2


def test_native_numbers_are_those_of_the_library() -> None:
    """SPIKE_ABSMAX, SPIKE_RMS and SPIKE_MEAN_ABS."""
    assert [get_statistic(name).native for name in ("absmax", "rms", "mean_abs")] == [0, 1, 2]


def test_an_unknown_one_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=naming("threshold statistic", "'root_mean'", "mean_abs")):
        get_statistic("root_mean")
