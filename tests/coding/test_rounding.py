"""Rounding: least error and spikes together, at every tie; where the range ends; rules that others bring."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers import scalar_reference as scalar
from helpers.messages import naming
from spike_compressor.coding import (
    RATE_DISTORTION,
    Rounding,
    TCLIFNode,
    codes_from_membrane,
    encode,
    fixed_membrane,
    get_coding,
    quantize_rows,
    row_scale,
)
from spike_compressor.coding.codings.tc_lif import TCLIF
from spike_compressor.coding.quantize import magnitude_codes
from torch import Tensor

RDOQ = "tc_lif_rdoq"


def drives(T: int) -> Tensor:
    """Every quarter up to beyond the range, and the float32 on either side of it."""
    quarters = torch.arange(4 * 2**T + 9, dtype=torch.float32) / 4
    beside = [torch.nextafter(quarters, torch.full_like(quarters, to)) for to in (-1e9, 1e9)]
    every = torch.cat([quarters, *beside, torch.tensor([1e-45, 8388607.5, 1e30, 3e38])])
    return torch.cat([every, -every])


@pytest.mark.parametrize("T", range(1, 8))
def test_codes_are_those_of_least_cost_in_every_form(T: int) -> None:
    y = drives(T)
    limit = 2**T - 1
    expected = [scalar.code(value, -limit, limit, 0.5) for value in y.tolist()]
    wanted = [code for code, _ in expected]
    codes, saturated = quantize_rows(y, 1.0, T, RDOQ)
    assert codes.tolist() == wanted
    assert saturated == sum(beyond for _, beyond in expected) == quantize_rows(y, 1.0, T)[1]
    weights = torch.tensor(get_coding(RDOQ).weights(T)).unsqueeze(1)
    assert (TCLIFNode(T, rounding=RATE_DISTORTION)(y) * weights).sum(dim=0).tolist() == wanted
    for frac_bits in (2, 3, 24):
        membrane = fixed_membrane(y, 1.0, T, frac_bits)
        assert codes_from_membrane(membrane, T, frac_bits, RATE_DISTORTION).tolist() == wanted
    found = torch.empty(len(y), dtype=torch.int8)
    magnitude_codes(y.abs(), torch.ones(1), T, torch.empty_like(y), found, RATE_DISTORTION)
    assert found.tolist() == [abs(code) for code in wanted]


def test_rows_of_other_timesteps_end_elsewhere() -> None:
    x = torch.tensor([[0.74, 0.75, 1.49, 1.5, 3.2, 3.25, 7.0, 99.0]]).repeat(7, 1)
    codes, saturated = quantize_rows(x, 1.0, torch.arange(1, 8), RDOQ)
    whole = [0, 1, 1, 2, 3, 4, 8, 99]
    for T, row in enumerate(codes.tolist(), start=1):
        limit = 2**T - 1
        # 99 = 1100011 ends in two ones, and stays
        assert row == [min(code, limit) for code in whole]
    assert saturated == int((x[0] >= 2 ** torch.arange(1, 8).unsqueeze(1) - 0.5).sum())


@pytest.mark.parametrize("kind", ["gauss", "gated"])
def test_fewer_spikes_for_the_same_error(kind: str) -> None:
    """At as many spikes, from .3 of an input on, the error is less by .7 dB or more."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 512, generator=generator)
    if kind == "gated":
        x = torch.nn.functional.silu(2.5 * x) * torch.randn(x.shape, generator=generator)
    curves = {}
    for coding in ("tc_lif", RDOQ):
        points = []
        for ratio in (0.1, 0.14, 0.2, 0.28, 0.4, 0.56, 0.8, 1.0, 1.2):
            scale = row_scale(x, 7, ratio, "rms", coding)
            train = encode(x, scale, 7, coding)
            lost = (x - train.codes() * scale.unsqueeze(1)).square().sum() / x.square().sum()
            points.append((train.count() / x.numel(), -10 * float(lost.log10())))
        curves[coding] = points[::-1]
    compared = [point for point in curves["tc_lif"] if 0.3 <= point[0] <= curves[RDOQ][-1][0]]
    assert len(compared) >= 5
    for spikes, snr in compared:
        (s0, d0), (s1, d1) = next(pair for pair in itertools.pairwise(curves[RDOQ]) if pair[1][0] >= spikes)
        assert d0 + (d1 - d0) * (spikes - s0) / (s1 - s0) > snr + 0.7


def test_membranes_need_the_bits_that_are_read() -> None:
    x = torch.tensor([[0.75, 3.25]])
    for refused in (
        lambda: codes_from_membrane(fixed_membrane(x, 1.0, 3, 1), 3, 1, RATE_DISTORTION),
        lambda: get_coding(RDOQ).membrane(x, torch.ones(1), 3, 1),
    ):
        with pytest.raises(ValueError, match=naming("frac_bits", 2, 1)):
            refused()


class Down(Rounding):
    """Towards zero."""

    frac_bits = 1

    def potential(self, whole: Tensor) -> Tensor | int:
        return 0


def test_a_rounding_is_an_initial_potential_and_nothing_else() -> None:
    class Floor(TCLIF):
        rounding = Down()

    y = torch.tensor([[0.9, -1.5, 7.99, 9.0, -0.2]])
    codes = torch.empty(y.shape, dtype=torch.int8)
    assert Floor().quantize(y.clone(), 3, -7, 7, codes, inside=False) == 2
    assert codes.tolist() == [[0, -1, 7, 7, 0]]
    assert Floor.native == 0
    assert Floor.rounding.native is None  # so kernels leave it to torch
    assert not Floor().shares_codes(TCLIF())
    node = TCLIFNode(3, rounding=Down())
    assert (node(y) * torch.tensor([4, 2, 1]).view(3, 1, 1)).sum(dim=0).tolist() == codes.tolist()
