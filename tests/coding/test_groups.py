"""Group coding: which input of four fires, against plain Python and the NumPy golden; what its spikes promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from helpers import scalar_reference as scalar
from helpers.messages import naming
from hypothesis import given, settings
from hypothesis import strategies as st
from spike_compressor.coding import (
    Coding,
    encode,
    get_coding,
    quantize_rows,
    register_coding,
    row_scale,
    spikes_from_codes,
)
from spike_compressor.coding.base import CODINGS
from spike_compressor.coding.groups import group_codes, largest_group_code, step_units
from spike_compressor.trace.golden_groups import decode_groups, fire_groups, group_membranes

NAMES = {"group4": 8, "group4_beam4": 4}
ALL_S = range(1, 9)


def drives(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator) * torch.randn(*shape[:-1], 1, generator=generator).exp()


def one_spike_a_group(spikes: torch.Tensor) -> bool:
    padded = torch.nn.functional.pad(spikes.abs(), (0, -spikes.shape[-1] % 4))
    return bool((padded.unflatten(-1, (-1, 4)).sum(-1) <= 1).all())


class TestSearch:
    @given(
        st.lists(
            st.one_of(st.integers(-12610, 12610), st.sampled_from([0, 64, -64, 128, 96, -160])), min_size=4, max_size=4
        ),
        st.integers(1, 8),
        st.integers(1, 8),
    )
    def test_is_plain_python(self, drive: list[int], steps: int, beam: int) -> None:
        limit = largest_group_code(steps) << (8 - steps)
        drive = [max(-limit, min(limit, value)) for value in drive]
        expected = scalar.group_spikes(drive, steps, beam)
        codes = group_codes(torch.tensor([drive], dtype=torch.int32), steps, beam)
        weights = get_coding("group4").weights(steps)
        assert codes[0].tolist() == [sum(w * s[j] for w, s in zip(weights, expected, strict=True)) for j in range(4)]
        golden = fire_groups(np.array([drive]), np.array([steps]), beam)
        assert golden[:, 0].tolist() == [list(step) for step in expected]

    @pytest.mark.parametrize("steps", ALL_S)
    def test_one_step_and_the_sign_of_an_input_alone(self, steps: int) -> None:
        """A group of one live input fires the digits that come nearest, whatever they are."""
        limit = largest_group_code(steps) << (8 - steps)
        drive = torch.zeros(9, 4, dtype=torch.int32)
        drive[:, 1] = torch.linspace(-limit, limit, 9).to(torch.int32)
        codes = group_codes(drive, steps, 8)
        assert not bool(codes[:, [0, 2, 3]].any())
        assert codes[0, 1] == -codes[8, 1] == -largest_group_code(steps)

    def test_ties_go_to_silence_then_to_the_first_input(self) -> None:
        half = torch.tensor([[64, 64, 64, 64], [65, 65, 65, 65], [0, 0, -65, 65]], dtype=torch.int32)
        assert group_codes(half, 1, 8).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]

    def test_units_are_the_weights(self) -> None:
        for S in ALL_S:
            weights = get_coding("group4").weights(S)
            assert [step_units(S - 1 - t) for t in range(S)] == [w << (8 - S) for w in weights]
            assert sum(weights) == largest_group_code(S) == 3**S - 2**S

    def test_what_is_left_has_never_more_energy_than_what_came(self) -> None:
        x = drives(30, 64)
        for S, beam in itertools.product((1, 4, 8), (1, 4, 8)):
            membrane = torch.from_numpy(group_membranes(x.numpy(), np.full(30, 0.01, np.float32), np.full(30, S)))
            codes = group_codes(membrane.view(-1, 4), S, beam).to(torch.int64)
            left = membrane.view(-1, 4) - (codes << (8 - S))
            assert bool((left.square().sum(1) <= membrane.view(-1, 4).to(torch.int64).square().sum(1)).all())


@pytest.mark.parametrize(("name", "beam"), NAMES.items())
class TestCoding:
    @pytest.mark.parametrize("K", [64, 70, 3, 1])
    def test_every_way_is_the_golden(self, name: str, beam: int, K: int) -> None:
        x = drives(40, K)
        T = torch.arange(40) % 8 + 1
        for statistic, ratio in (("rms", 0.3), ("absmax", 0.7), ("mean_abs", 0.1)):
            scale = row_scale(x, T, ratio, statistic, name)
            codes, saturated = quantize_rows(x, scale, T, name)
            golden = fire_groups(group_membranes(x.numpy(), scale.numpy(), T.numpy()), T.numpy(), beam)
            assert codes.dtype == torch.int16
            assert np.array_equal(decode_groups(golden, T.numpy()), codes.numpy())
            train = encode(x, scale, T, name)
            assert np.array_equal(train.spikes.numpy(), golden)
            assert torch.equal(train.codes(), codes)
            assert (train.saturated, train.zero_point, train.steps) == (saturated, None, 8)
            assert torch.equal(spikes_from_codes(codes, T, name).spikes, train.spikes)
            assert one_spike_a_group(train.spikes)

    def test_rows_are_as_if_alone(self, name: str, beam: int) -> None:
        x, T = drives(16, 20), torch.arange(16) % 8 + 1
        scale = row_scale(x, T, 0.3, "rms", name)
        codes, _ = quantize_rows(x, scale, T, name)
        for row in range(16):
            alone, _ = quantize_rows(x[row], scale[row], int(T[row]), name)
            assert torch.equal(alone, codes[row])

    def test_blocks_do_not_show(self, name: str, beam: int, monkeypatch: pytest.MonkeyPatch) -> None:
        x = drives(9, 24)
        whole, _ = quantize_rows(x, 0.02, 6, name)
        monkeypatch.setattr("spike_compressor.coding.blocks._ELEMENTS_PER_THREAD", 1)
        assert torch.equal(quantize_rows(x, 0.02, 6, name)[0], whole)

    def test_silenced_neurons_leave_their_steps_to_others(self, name: str, beam: int) -> None:
        x = drives(30, 22)
        silenced = torch.zeros(22, dtype=torch.bool)
        silenced[::3] = True
        codes, _ = quantize_rows(x, 0.02, 7, name, silenced=silenced)
        assert not bool(codes[:, silenced].any())
        assert torch.equal(codes, quantize_rows(x.masked_fill(silenced, 0), 0.02, 7, name)[0])
        assert torch.equal(codes, encode(x, 0.02, 7, name, silenced=silenced).codes())
        assert not torch.equal(codes, quantize_rows(x, 0.02, 7, name)[0].masked_fill(silenced, 0))

    def test_what_lies_beyond_the_largest_code_is_counted(self, name: str, beam: int) -> None:
        limit = largest_group_code(5)
        x = torch.tensor([[limit + 0.4, 0, 0, 0], [-limit - 0.6, 0, 0, 0], [1e38, 0, 0, -limit - 2]])
        codes, saturated = quantize_rows(x, 1.0, 5, name)
        assert codes[:2].tolist() == [[limit, 0, 0, 0], [-limit, 0, 0, 0]]
        assert saturated == 3
        assert int(codes[2].abs().sum()) <= limit

    @pytest.mark.parametrize("shape", [(0, 8), (3, 0), (0,), (2, 0, 4)])
    def test_nothing_in_nothing_out(self, name: str, beam: int, shape: tuple[int, ...]) -> None:
        train = encode(torch.zeros(shape), 1.0, 5, name)
        assert train.shape == torch.Size(shape)
        assert train.count() == 0


class TestScales:
    """`s = ratio * statistic` is what a spike of the last step is worth; codes count 2^(1-S) of it."""

    @pytest.mark.parametrize("S", ALL_S)
    def test_of_range_alone(self, S: int) -> None:
        x = drives(5, 40)
        last = row_scale(x, 7, 0.25, "rms")
        assert torch.equal(row_scale(x, S, 0.25, "rms", "group4") * 2 ** (S - 1), last)

    @pytest.mark.parametrize("S", ALL_S)
    def test_of_the_largest_input(self, S: int) -> None:
        x = drives(5, 40)
        scale = row_scale(x, S, 1.0, "absmax", "group4")
        assert torch.equal(scale, x.abs().amax(1) / (3**S - 2**S))
        assert quantize_rows(x, scale, S, "group4")[1] == 0


@settings(max_examples=50)
@given(
    st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=13),
    st.floats(0.0078125, 4, width=32),
    st.integers(1, 8),
    st.sampled_from(tuple(NAMES)),
)
def test_spikes_are_what_they_promise(values: list[float], scale: float, S: int, name: str) -> None:
    train = encode(torch.tensor(values), scale, S, name)
    assert one_spike_a_group(train.spikes)
    assert train.count() <= S * math.ceil(len(values) / 4)
    assert torch.equal(spikes_from_codes(train.codes(), S, name).spikes, train.spikes)


@pytest.mark.parametrize("S", [1, 2, 3, 4])
def test_no_two_spike_trains_have_the_same_code(S: int) -> None:
    weights = get_coding("group4").weights(S)
    trains = list(itertools.product((-1, 0, 1), repeat=S))
    codes = [sum(w * s for w, s in zip(weights, train, strict=True)) for train in trains]
    assert len(set(codes)) == len(trains)
    spikes = spikes_from_codes(torch.tensor(codes).unsqueeze(1), S, "group4").spikes
    assert spikes[:, :, 0].t().tolist() == [list(train) for train in trains]


class TestRefused:
    def test_codes_that_no_spikes_stand_for(self) -> None:
        with pytest.raises(ValueError, match=naming("group4")):
            spikes_from_codes(torch.tensor([[4, 0, 0, 0]]), 2, "group4")  # 3 and 2 make 1, 2, 3, 5
        with pytest.raises(ValueError, match=naming("group4")):
            spikes_from_codes(torch.tensor([[3, 3, 0, 0]]), 2, "group4")  # both in the first step
        assert spikes_from_codes(torch.tensor([[3, 0, 0, 2, 3]]), 2, "group4").count() == 3

    @pytest.mark.parametrize("S", [0, 9, torch.tensor([9])])
    def test_steps_out_of_range(self, S: int | torch.Tensor) -> None:
        with pytest.raises(ValueError, match=naming("timesteps", "8")):
            encode(torch.zeros(1, 4), 1.0, S, "group4")

    def test_not_finite(self) -> None:
        with pytest.raises(ValueError, match="NaN"):
            encode(torch.tensor([[math.nan, 0, 0, 0]]), 1.0, 4, "group4")


def test_a_coding_that_sees_several_inputs_is_one_class() -> None:
    """Pairs, of which the larger input is coded and the other stays silent."""

    with CODINGS.temporarily():

        @register_coding("larger_of_two")
        class LargerOfTwo(type(get_coding("tc_lif"))):  # type: ignore[misc]
            group = 2

            def quantize(self, y: torch.Tensor, *args: object, **how: object) -> int:
                pairs = y.view(y.shape[0], -1, 2)
                pairs.masked_fill_(pairs.abs() < pairs.abs().amax(2, keepdim=True), 0)
                return int(super().quantize(y, *args, **how))

        codec = get_coding("larger_of_two")
        assert not codec.rounds
        assert codec.native is None  # tc_lif's way is not the way around it
        train = encode(torch.tensor([[3.0, -5.0, 1.0, 9.0]]), 1.0, 3, "larger_of_two")
        assert train.codes().tolist() == [[0, -5, 0, 7]]
        assert train.saturated == 1
        assert isinstance(codec, Coding)
