"""Packed spikes: bytes, bits, views, parts, equality."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.messages import naming
from spike_compressor.coding import SpikeTrain, encode, get_coding, spikes_from_codes
from spike_compressor.coding.bits import popcount

CODINGS = ("tc_lif", "csd", "unary", "unary_unsigned", "binary_unsigned")


def train_of(coding: str, rows: tuple[int, ...] = (5,), width: int = 19, *, mixed: bool = True) -> SpikeTrain:
    generator = torch.Generator().manual_seed(width)
    codes = torch.randint(-9, 10, (*rows, width), generator=generator)
    T = torch.randint(1, 6, rows, generator=generator) if mixed and rows else 4
    return spikes_from_codes(codes, T, coding)


@pytest.mark.parametrize("coding", CODINGS)
class TestStorage:
    def test_bytes(self, coding: str) -> None:
        train = spikes_from_codes(torch.randint(-7, 8, (33, 64)), 3, coding)
        assert train.nbytes * (4 if get_coding(coding).signed else 8) == train.spikes.nbytes
        held = [value for value in vars(train).values() if isinstance(value, torch.Tensor)]
        small = train.weights.nbytes
        assert sum(tensor.untyped_storage().nbytes() for tensor in held) == train.nbytes + small

    @pytest.mark.parametrize("width", [1, 7, 8, 9, 64, 65])
    def test_bits_are_numpys(self, coding: str, width: int) -> None:
        train = train_of(coding, width=width)
        spikes = train.spikes.numpy()
        assert spikes.any()
        assert np.array_equal(train.fired, np.packbits(spikes != 0, axis=-1, bitorder="little"))
        if train.negative is None:
            assert spikes.min() >= 0
        else:
            assert np.array_equal(train.negative, np.packbits(spikes < 0, axis=-1, bitorder="little"))

    @pytest.mark.parametrize("width", [8, 13])
    def test_a_coding_gives_them_unpacked(self, coding: str, width: int) -> None:
        train = train_of(coding, (2, 3), width)
        spikes = get_coding(coding).spikes(train.codes(), train.timesteps, train.zero_point)
        assert torch.equal(spikes, train.spikes)

    @pytest.mark.parametrize("rows", [(), (0,), (4,), (2, 3), (2, 0)])
    @pytest.mark.parametrize("width", [0, 1, 13])
    def test_shapes(self, coding: str, rows: tuple[int, ...], width: int) -> None:
        train = train_of(coding, rows, width)
        assert train.spikes.shape == (train.steps, *rows, width)
        assert train.spikes.is_contiguous()
        assert train.fired.shape == (train.steps, *rows, -(-width // 8))
        planes = list(train.planes())
        assert len(planes) == train.steps
        assert all(torch.equal(a, b) for a, b in zip(planes, train.spikes, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(planes, train, strict=True))
        assert train.count_per_row().shape == rows
        assert train.count() == int(train.count_per_row().sum()) == int(train.spikes.count_nonzero())
        assert train == train[:]

    def test_a_number(self, coding: str) -> None:
        train = spikes_from_codes(torch.tensor(-3), 3, coding)
        assert train.spikes.shape == (train.steps,)
        assert train.codes().item() == -3
        assert train == train[:] != spikes_from_codes(torch.tensor(-2), 3, coding)

    def test_on_another_device(self, coding: str) -> None:
        train = train_of(coding)
        there = train.to("meta")
        for name in ("fired", "negative", "weights", "timesteps", "zero_point"):
            mine, moved = getattr(train, name), getattr(there, name)
            if isinstance(mine, torch.Tensor):
                assert (moved.device.type, moved.shape, moved.dtype) == ("meta", mine.shape, mine.dtype)
        assert (there.shape, there.coding, there.steps) == (train.shape, coding, train.steps)
        assert train.to("cpu") == train


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("mixed", [False, True])
class TestParts:
    def test_rows(self, coding: str, mixed: bool) -> None:
        train = train_of(coding, (4, 3), mixed=mixed)
        for index in (np.s_[:, 1:3], np.s_[:, 2], np.s_[:, :, 1], np.s_[:, -1, 0:2], np.s_[:, 3, 2], np.s_[:, 0:0]):
            part = train[index]
            assert torch.equal(part.spikes, train.spikes[index])
            assert torch.equal(part.codes(), train.codes()[index[1:]])
            assert torch.equal(part.count_per_row(), train.count_per_row()[index[1:]])
            assert part.saturated == train.saturated

    def test_steps(self, coding: str, mixed: bool) -> None:
        train = train_of(coding, mixed=mixed)
        zero = 0 if train.zero_point is None else torch.as_tensor(train.zero_point).view(-1, 1)
        first, rest = train[:2], train[2:]
        assert (first.steps, rest.steps) == (2, train.steps - 2)
        assert torch.equal(torch.cat([first.spikes, rest.spikes]), train.spikes)
        assert torch.equal(first.codes() + rest.codes() + zero, train.codes())
        assert (train[:0].steps, train[:0].count()) == (0, 0)
        assert torch.equal(train[:0].codes() + zero, torch.zeros_like(train.codes()))
        assert torch.equal(train[1:4:2, 1:].spikes, train.spikes[1:4:2, 1:])

    def test_memory_is_shared(self, coding: str, mixed: bool) -> None:
        train = train_of(coding, mixed=mixed)
        part = train[1:, 2:4]
        assert part.fired.untyped_storage().data_ptr() == train.fired.untyped_storage().data_ptr()
        assert part.nbytes < train.nbytes
        train.fired.zero_()
        assert part.count() == 0

    def test_what_is_no_slice_is_refused(self, coding: str, mixed: bool) -> None:
        train = train_of(coding, mixed=mixed)
        for index in (0, np.s_[1, :], np.s_[:, [0, 1]], np.s_[:, torch.tensor([0])], ..., None, "spikes"):
            with pytest.raises(TypeError, match=naming("planes()")):
                train[index]  # type: ignore[index]
        for index in (np.s_[:, 0, 0], np.s_[:, 7]):
            with pytest.raises(IndexError):
                train[index]


class TestEquality:
    def test_the_same_spikes_for_the_same_codes(self) -> None:
        codes = torch.tensor([[3, -1, 0], [-7, 6, 2]])
        train = spikes_from_codes(codes, 3)
        assert train == encode(codes.float(), 1.0, 3)
        assert train == spikes_from_codes(codes.to(torch.int8), torch.tensor([3, 3]))
        assert train == encode(torch.tensor([[3.0, -1, 0], [-9, 6, 2]]), 1.0, 3)  # one of them clipped
        changed = codes.clone()
        changed[1, 2] = 3
        others = (
            spikes_from_codes(changed, 3),
            spikes_from_codes(-codes, 3),
            spikes_from_codes(codes, 4),
            spikes_from_codes(codes, torch.tensor([3, 4])),
            spikes_from_codes(codes, 3, "unary"),
            spikes_from_codes(codes[:1], 3),
            spikes_from_codes(torch.nn.functional.pad(codes, (0, 1)), 3),
            "spikes",
        )
        assert all(train != other for other in others)
        with pytest.raises(TypeError, match="unhashable"):
            hash(train)

    def test_zero_points_count(self) -> None:
        levels = torch.tensor([[5, 2]])
        trains = [spikes_from_codes(levels - z, 3, "binary_unsigned", zero_point=z) for z in (8, 4)]
        assert torch.equal(trains[0].spikes, trains[1].spikes)
        assert trains[0] != trains[1]
        assert trains[0] == spikes_from_codes(levels - 8, 3, "binary_unsigned", zero_point=torch.tensor([8]))


def test_popcount() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert popcount(every).tolist() == [int(value).bit_count() for value in range(256)]
