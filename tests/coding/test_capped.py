"""Capped firing: what lanes drop, against plain Python and the NumPy golden; what its codes promise."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import scalar_reference as scalar
from helpers.messages import naming
from hypothesis import given
from hypothesis import strategies as st
from spike_compressor.coding import encode, fixed_membrane, get_coding, quantize_rows, spikes_from_codes
from spike_compressor.trace.golden import membranes
from spike_compressor.trace.golden_capped import capped_codes

NAME = "tc_lif_capped"
LANES = {NAME: 8, "tc_lif_capped16": 16}


def plain(row: list[float], T: int, lanes: int) -> list[int]:
    """One row, input by input."""
    largest = 2**T - 1
    codes = [abs(scalar.code(y, -largest, largest)[0]) for y in row]
    for first in range(0, len(row), 64):
        block = range(first, min(first + 64, len(row)))
        ones = {lane: sum(codes[k].bit_count() for k in block if k % lanes == lane) for lane in range(lanes)}
        cap = math.ceil(Fraction(sum(ones.values()), lanes))
        for lane, count in ones.items():
            odd = [k for k in block if k % lanes == lane and codes[k] % 2]
            # how far above its limit, in quarters, an input lies
            far = {k: min(math.floor(4 * (min(abs(row[k]), 1000.0) - codes[k]) + 2), 3) for k in odd}
            for k in sorted(odd, key=lambda k: (far[k], k))[: max(0, count - cap)]:
                codes[k] -= 1
    return [code if y > 0 else -code for code, y in zip(codes, row, strict=True)]


awkward = st.one_of(
    st.floats(-20, 20, width=32),
    st.integers(-80, 80).map(lambda n: n / 4),
    st.sampled_from([y for y in scalar.awkward_drives(3) if math.isfinite(y)]),
)


@st.composite
def tables(draw: st.DrawFn) -> list[list[float]]:
    """Rows of up to three blocks, made of a few numbers."""
    values = draw(st.lists(awkward, min_size=1, max_size=9))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 150))
    return generator.choice(values, shape).tolist()


names = st.sampled_from(sorted(LANES))


@given(tables(), st.lists(st.integers(1, 7), min_size=3, max_size=3), st.integers(2, 16), names)
def test_is_plain_python_and_the_golden_model(rows: list[list[float]], timesteps: list[int], F: int, name: str) -> None:
    T = torch.tensor(timesteps[: len(rows)])
    expected = [plain(row, t, LANES[name]) for row, t in zip(rows, T.tolist(), strict=True)]
    x, scale = torch.tensor(rows), torch.ones(len(rows))
    codes, saturated = quantize_rows(x, scale, T, name)
    assert codes.tolist() == expected
    assert saturated == quantize_rows(x, scale, T)[1]
    membrane = membranes(x.numpy(), scale.numpy(), T.numpy(), F)
    assert capped_codes(membrane, T.numpy(), F, LANES[name]).tolist() == expected
    assert np.array_equal(get_coding(name).membrane(x, scale, T, F).numpy(), membrane)


@given(tables(), st.integers(1, 7), names)
def test_lanes_drop_spikes_of_the_last_step_and_no_others(rows: list[list[float]], T: int, name: str) -> None:
    x, lanes = torch.tensor(rows), LANES[name]
    plain_train, capped = encode(x, 1.0, T), encode(x, 1.0, T, name)
    dropped = plain_train.spikes.abs() - capped.spikes.abs()
    assert not dropped[:-1].any()
    assert (dropped[-1] >= 0).all()

    def by_lane(fired: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(fired, (0, -x.shape[1] % 64))
        return padded.view(len(rows), -1, 64 // lanes, lanes).sum(dim=2)

    full, lost = by_lane(plain_train.spikes.abs().sum(dim=0)), by_lane(dropped[-1])
    cap = (full.sum(dim=2, keepdim=True) + lanes - 1) // lanes
    assert (lost <= (full - cap).clamp(min=0)).all()  # no more than the cap asks for
    assert ((full - lost <= cap) | (by_lane(capped.spikes[-1].abs()) == 0)).all()  # no less, if there was one left
    assert torch.equal(encode(-x, 1.0, T, name).spikes, -capped.spikes)


def test_even_lanes_keep_everything() -> None:
    x = torch.full((2, 128), 0.6)
    assert torch.equal(quantize_rows(x, 1.0, 3, NAME)[0], quantize_rows(x, 1.0, 3)[0])


def test_one_full_lane_is_brought_to_the_mean() -> None:
    x = torch.zeros(1, 64)
    x[0, ::8] = torch.tensor([0.5, 1.4, 0.8, 1.2, 0.6, 1.0, 0.7, 3.0])  # 9 spikes, two a lane on the mean
    codes = quantize_rows(x, 1.0, 3, NAME)[0]
    assert codes[0, ::8].tolist() == [0, 1, 0, 0, 0, 0, 0, 2]
    assert codes.count_nonzero() == 2


def test_silenced_neurons_leave_room_for_others() -> None:
    x = torch.rand(3, 64, generator=torch.Generator().manual_seed(0)) * 4
    silenced = torch.arange(64) % 8 > 3
    without = torch.where(silenced, 0.0, x)
    assert torch.equal(quantize_rows(x, 1.0, 3, NAME, silenced=silenced)[0], quantize_rows(without, 1.0, 3, NAME)[0])


def test_codes_alone_tell_spikes() -> None:
    x = torch.randn(4, 100, generator=torch.Generator().manual_seed(0)) * 3
    train = encode(x, 1.0, 4, NAME)
    assert torch.equal(spikes_from_codes(train.codes(), 4, NAME).spikes, train.spikes)
    assert torch.equal(train.spikes, spikes_from_codes(train.codes(), 4).spikes)


def test_one_fraction_bit_is_refused() -> None:
    with pytest.raises(ValueError, match=naming(2, NAME, 1)):
        get_coding(NAME).membrane(torch.zeros(1, 8), torch.ones(1), 3, 1)
    assert fixed_membrane(torch.zeros(1, 8), 1.0, 3, 1).shape == (1, 8)
