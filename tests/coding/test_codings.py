"""Every code of every T in every coding: round trip, spikes, weights; codes that do not fit; rows of mixed T."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import spike_compressor.coding as coding_room
import torch
from helpers import scalar_reference as scalar
from helpers.messages import naming
from spike_compressor.coding import (
    Coding,
    SpikeTrain,
    available_codings,
    encode,
    get_coding,
    register_coding,
    spikes_from_codes,
)
from spike_compressor.coding.base import CODINGS as REGISTRY

ALL_T = range(1, 8)
SIGNED = ("tc_lif", "csd", "unary")
UNSIGNED = ("unary_unsigned", "binary_unsigned")
CODINGS = SIGNED + UNSIGNED


def documented_weights(coding: str, T: int) -> list[int]:
    L = 2 ** (T + 1)
    return {
        "tc_lif": [2**e for e in reversed(range(T))],
        "csd": [2**e for e in reversed(range(T + 1))],
        "unary": [1] * (L // 2 - 1),
        "unary_unsigned": [1] * (L - 1),
        "binary_unsigned": [2**e for e in reversed(range(T + 1))],
    }[coding]


def all_codes(T: int) -> torch.Tensor:
    return torch.arange(-(2**T) + 1, 2**T)


@pytest.mark.parametrize("T", ALL_T)
@pytest.mark.parametrize("coding", CODINGS)
class TestEveryCode:
    def test_round_trip_and_documented_form(self, coding: str, T: int) -> None:
        codes = all_codes(T)
        train = spikes_from_codes(codes, T, coding)
        weights = documented_weights(coding, T)

        assert train.weights.tolist() == weights
        assert not train.weights.is_floating_point()
        assert train.spikes.dtype == torch.int8
        assert train.spikes.shape == (len(weights), *codes.shape)
        assert set(train.spikes.unique().tolist()) <= ({0, 1} if coding in UNSIGNED else {-1, 0, 1})
        assert torch.equal(train.codes().long(), codes)
        assert train.codes().dtype in (torch.int16, torch.int32)
        assert train.saturated == 0
        assert (train.coding, train.timesteps, train.steps) == (coding, T, len(weights))
        assert train.zero_point == (2**T if coding in UNSIGNED else None)

        # the same from the spikes alone, in plain Python
        zero = train.zero_point or 0
        for code, column in zip(codes.tolist(), train.spikes.T.tolist(), strict=True):
            assert sum(w * s for w, s in zip(weights, column, strict=True)) - zero == code

    def test_encode_fires_the_same(self, coding: str, T: int) -> None:
        codes = all_codes(T).reshape(1, -1)
        train = encode(codes * 0.25, 0.25, T, coding)
        assert torch.equal(train.spikes, spikes_from_codes(codes, T, coding).spikes)
        assert train.saturated == 0

    def test_codes_beyond_the_range_are_clamped_and_counted(self, coding: str, T: int) -> None:
        limit = 2**T - 1
        codes = torch.tensor([[limit + 1, -limit - 1, limit, -limit], [2**40, -(2**63), 0, 10**6]])
        train = spikes_from_codes(codes, T, coding)
        assert train.codes().tolist() == [[limit, -limit, limit, -limit], [limit, -limit, 0, limit]]
        assert train.saturated == 5
        train = encode(codes.float(), 1.0, T, coding)
        assert train.codes().tolist() == [[limit, -limit, limit, -limit], [limit, -limit, 0, limit]]
        assert train.saturated == 5

    @pytest.mark.parametrize("side", [-1, 1])
    def test_a_single_code_beyond_the_range_is_seen(self, coding: str, T: int, side: int) -> None:
        codes = torch.tensor([[0, 0], [side * 2**T, 0]], dtype=torch.int16)
        for timesteps in (T, torch.tensor([7, T])):
            train = spikes_from_codes(codes, timesteps, coding)
            assert train.codes().tolist() == [[0, 0], [side * (2**T - 1), 0]]
            assert train.saturated == 1

    def test_counts(self, coding: str, T: int) -> None:
        codes = torch.stack([all_codes(T), all_codes(T).flip(0).clamp(0, 1), torch.zeros_like(all_codes(T))])
        train = spikes_from_codes(codes, T, coding)
        per_row = [sum(s != 0 for s in train.spikes[:, row].flatten().tolist()) for row in range(3)]
        assert train.count_per_row().tolist() == per_row
        assert train.count() == sum(per_row)
        if coding in SIGNED:
            assert per_row[2] == 0  # a row of zeros is silent


@pytest.mark.parametrize("T", ALL_T)
class TestSpikePatterns:
    def test_tc_lif_is_the_neuron(self, T: int) -> None:
        train = spikes_from_codes(all_codes(T), T)
        for q, column in zip(all_codes(T).tolist(), train.spikes.T.tolist(), strict=True):
            assert column == scalar.tc_lif(q, T)

    def test_csd_is_its_firing_rule(self, T: int) -> None:
        train = spikes_from_codes(all_codes(T), T, "csd")
        for q, column in zip(all_codes(T).tolist(), train.spikes.T.tolist(), strict=True):
            assert column == scalar.csd(q, T)

    def test_csd_is_canonical(self, T: int) -> None:
        spikes = spikes_from_codes(all_codes(T), T, "csd").spikes
        assert not (spikes[1:] * spikes[:-1]).any(), "two neighbouring spikes"
        fewest = scalar.fewest_digits(T)
        fired = spikes.abs().sum(0, dtype=torch.int64).tolist()
        assert fired == [fewest[q] for q in all_codes(T).tolist()]

    def test_unary_fires_its_first_steps(self, T: int) -> None:
        spikes = spikes_from_codes(all_codes(T), T, "unary").spikes
        for q, column in zip(all_codes(T).tolist(), spikes.T.tolist(), strict=True):
            sign = (q > 0) - (q < 0)
            assert column == [sign] * abs(q) + [0] * (2**T - 1 - abs(q))

    def test_unary_unsigned_fires_its_first_steps(self, T: int) -> None:
        spikes = spikes_from_codes(all_codes(T), T, "unary_unsigned").spikes
        for q, column in zip(all_codes(T).tolist(), spikes.T.tolist(), strict=True):
            assert column == [1] * (q + 2**T) + [0] * (2**T - 1 - q)

    def test_binary_unsigned_is_the_bits(self, T: int) -> None:
        spikes = spikes_from_codes(all_codes(T), T, "binary_unsigned").spikes
        for q, column in zip(all_codes(T).tolist(), spikes.T.tolist(), strict=True):
            assert "".join(map(str, column)) == format(q + 2**T, f"0{T + 1}b")


@pytest.mark.parametrize("T", ALL_T)
@pytest.mark.parametrize("coding", UNSIGNED)
class TestZeroPoints:
    def test_every_code_of_every_zero_point(self, coding: str, T: int) -> None:
        last = 2 ** (T + 1) - 1
        zero_points = torch.arange(last + 1)
        codes = torch.arange(last + 1) - zero_points.unsqueeze(-1)  # row z: -z … L-1-z
        train = spikes_from_codes(codes, T, coding, zero_point=zero_points)
        assert torch.equal(train.codes().long(), codes)
        assert train.saturated == 0
        assert torch.equal(train.zero_point, zero_points.int())
        for z in (0, 1, last // 2, last):
            one = spikes_from_codes(codes[z], T, coding, zero_point=z)
            assert torch.equal(one.spikes, train.spikes[:, z])
            assert one.zero_point == z

    def test_limits_follow_the_zero_point(self, coding: str, T: int) -> None:
        last = 2 ** (T + 1) - 1
        zero_points = torch.tensor([0, 1, last])
        codes = torch.tensor([[-1, last + 1, 0], [-2, last, -1], [-last - 1, 1, 0]])
        train = spikes_from_codes(codes, T, coding, zero_point=zero_points)
        assert train.codes().tolist() == [[0, last, 0], [-1, last - 1, -1], [-last, 0, 0]]
        assert train.saturated == 6

    @pytest.mark.parametrize("bad", [-1, 256, torch.tensor([0, 300])])
    def test_out_of_range_is_refused(self, coding: str, T: int, bad: int | torch.Tensor) -> None:
        with pytest.raises(ValueError, match=naming("zero_point")):
            encode(torch.zeros(2, 3), 1.0, T, coding, zero_point=bad)


@pytest.mark.parametrize("coding", CODINGS)
class TestMixedTimesteps:
    def test_every_row_is_as_if_alone(self, coding: str) -> None:
        generator = torch.Generator().manual_seed(5)
        T = torch.tensor([[3, 1, 7], [4, 4, 2]], dtype=torch.uint8)
        codes = torch.randint(-140, 141, (2, 3, 67), generator=generator)
        zero = torch.tensor([[0, 3, 255], [16, 7, 2]]) if coding in UNSIGNED else None
        train = spikes_from_codes(codes, T, coding, zero_point=zero)
        assert train.spikes.shape == (len(documented_weights(coding, 7)), 2, 3, 67)
        assert train.weights.shape == (train.steps, 2, 3)
        saturated = 0
        for i in range(2):
            for j in range(3):
                z = None if zero is None else int(zero[i, j])
                alone = spikes_from_codes(codes[i, j], int(T[i, j]), coding, zero_point=z)
                saturated += alone.saturated
                assert torch.equal(train.spikes[: alone.steps, i, j], alone.spikes)
                assert not train.spikes[alone.steps :, i, j].any()
                assert torch.equal(train.weights[: alone.steps, i, j], alone.weights)
                assert not train.weights[alone.steps :, i, j].any()
                assert torch.equal(train.codes()[i, j], alone.codes())
                assert train.count_per_row()[i, j] == alone.count()
        assert train.saturated == saturated > 0

    def test_every_code_of_every_timestep_in_one_tensor(self, coding: str) -> None:
        T = torch.arange(1, 8)
        limit = (2**T - 1).unsqueeze(-1)
        codes = torch.arange(-127, 128).expand(7, -1).clamp(-limit, limit)
        train = spikes_from_codes(codes, T, coding)
        assert torch.equal(train.codes().long(), codes)
        assert train.saturated == 0

    def test_encode(self, coding: str) -> None:
        x = torch.randn(3, 50, generator=torch.Generator().manual_seed(1)) * 9
        T, scale = torch.tensor([2, 6, 3]), torch.tensor([0.5, 0.25, 1.5])
        train = encode(x, scale, T, coding)
        rows = [encode(x[i], float(scale[i]), int(T[i]), coding) for i in range(3)]
        assert torch.equal(train.codes(), torch.stack([row.codes() for row in rows]))
        assert train.saturated == sum(row.saturated for row in rows)


class TestShapes:
    @pytest.mark.parametrize("coding", CODINGS)
    @pytest.mark.parametrize("shape", [(0, 8), (3, 0), (0,), (2, 0, 4)])
    def test_nothing_in_nothing_out(self, coding: str, shape: tuple[int, ...]) -> None:
        for T in (3, torch.full(shape[:-1], 3)):
            train = encode(torch.zeros(shape), 1.0, T, coding)
            assert train.codes().shape == shape
            assert (train.count(), train.saturated) == (0, 0)
            assert train.count_per_row().shape == shape[:-1]

    @pytest.mark.parametrize("coding", CODINGS)
    def test_a_scalar_and_a_vector(self, coding: str) -> None:
        assert encode(torch.tensor(-2.5), 1.0, 3, coding).codes().item() == -3
        assert encode(torch.tensor([-2.5, 9.0]), 1.0, torch.tensor(3), coding).codes().tolist() == [-3, 7]

    def test_integer_types(self) -> None:
        for dtype in (torch.int8, torch.int16, torch.int32, torch.int64):
            train = spikes_from_codes(torch.tensor([-128, 127, 3], dtype=dtype), 7, "unary_unsigned")
            assert (train.codes().tolist(), train.saturated) == ([-127, 127, 3], 1)
        train = spikes_from_codes(torch.tensor([255, 0, 7], dtype=torch.uint8), 3)
        assert (train.codes().tolist(), train.saturated) == ([7, 0, 7], 1)

    def test_non_contiguous_codes(self) -> None:
        codes = torch.arange(-7, 8).reshape(3, 5).T
        assert torch.equal(spikes_from_codes(codes, 3).codes().long(), codes)

    def test_many_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        codes = torch.randint(-20, 21, (37, 11), generator=torch.Generator().manual_seed(2))
        T = torch.arange(37) % 7 + 1
        whole = {c: spikes_from_codes(codes, T, c) for c in CODINGS}
        monkeypatch.setattr("spike_compressor.coding.blocks._ELEMENTS_PER_THREAD", 1)
        for coding, train in whole.items():
            assert torch.equal(spikes_from_codes(codes, T, coding).spikes, train.spikes)


class TestArguments:
    @pytest.mark.parametrize("T", [0, 8, -1, torch.tensor([1, 0]), torch.tensor([8, 3])])
    def test_timesteps_out_of_range(self, T: int | torch.Tensor) -> None:
        wrong = T if isinstance(T, int) else next(t for t in T.tolist() if t not in ALL_T)
        with pytest.raises(ValueError, match=naming("timesteps", 1, 7, wrong)):
            encode(torch.zeros(2, 4), 1.0, T)
        with pytest.raises(ValueError, match=naming("timesteps", 1, 7)):
            spikes_from_codes(torch.zeros(2, 4, dtype=torch.int8), T)

    @pytest.mark.parametrize("T", [3.0, True, "3", torch.tensor([3.0, 3.0]), torch.tensor([True, True])])
    def test_timesteps_not_integer(self, T: object) -> None:
        with pytest.raises(TypeError, match=naming("timesteps", "int")):
            encode(torch.zeros(2, 4), 1.0, T)  # type: ignore[arg-type]

    def test_timesteps_of_another_shape(self) -> None:
        with pytest.raises(ValueError, match=naming("timesteps", [3], [2])):
            encode(torch.zeros(2, 4), 1.0, torch.tensor([3, 3, 3]))

    def test_real_codes_and_integer_x(self) -> None:
        with pytest.raises(TypeError, match=naming("encode", "torch.float32")):
            spikes_from_codes(torch.zeros(2), 3)
        with pytest.raises(TypeError, match=naming("spikes_from_codes", "torch.int8")):
            encode(torch.zeros(2, dtype=torch.int8), 1.0, 3)

    def test_zero_point_for_signed_spikes(self) -> None:
        for coding in SIGNED:
            with pytest.raises(ValueError, match=naming(repr(coding), "zero_point")):
                spikes_from_codes(torch.zeros(2, dtype=torch.int8), 3, coding, zero_point=4)

    def test_zero_point_not_integer(self) -> None:
        with pytest.raises(TypeError, match=naming("zero_point", "int", "float")):
            encode(torch.zeros(2), 1.0, 3, "binary_unsigned", zero_point=1.5)  # type: ignore[arg-type]


class TestRegistry:
    def test_the_documented_codings_are_there(self) -> None:
        assert set(CODINGS) <= set(available_codings())
        for name in CODINGS:
            assert get_coding(name).name == name
            assert get_coding(name).signed == (name in SIGNED)

    def test_every_file_is_found(self) -> None:
        folder = Path(coding_room.codings.__file__).parent
        assert {p.stem for p in folder.glob("[!_]*.py")} == {*CODINGS, "group4", "capped"}

    def test_unknown_name_lists_the_known(self) -> None:
        with pytest.raises(ValueError, match=naming("'tclif'", "binary_unsigned", "csd", "tc_lif")):
            encode(torch.zeros(2), 1.0, 3, "tclif")

    def test_a_new_coding_is_one_class(self) -> None:
        with REGISTRY.temporarily():
            self._add_and_use()

    def _add_and_use(self) -> None:
        @register_coding("least_first")
        class LeastFirst(Coding):
            signed = True

            def weights(self, timesteps: int) -> tuple[int, ...]:
                return tuple(1 << t for t in range(timesteps))

            def fire(self, levels: torch.Tensor, timesteps: object, spikes: torch.Tensor) -> None:
                for t, plane in enumerate(spikes):
                    plane.copy_(((levels.abs() >> t) & 1) * levels.sign())

        train = encode(torch.tensor([[6.0, -1.0], [90.0, 0.0]]), 1.0, torch.tensor([3, 7]), "least_first")
        assert isinstance(train, SpikeTrain)
        assert train.spikes[:, 0, 0].tolist() == [0, 1, 1, 0, 0, 0, 0]
        assert train.codes().tolist() == [[6, -1], [90, 0]]

        with pytest.raises(ValueError, match=naming("'least_first'", "LeastFirst")):
            register_coding("least_first")(type("Other", (LeastFirst,), {}))

    def test_code_range(self) -> None:
        assert get_coding("csd").code_range(4) == (-15, 15)
        assert get_coding("binary_unsigned").code_range(4) == (-15, 15)
        assert get_coding("binary_unsigned").code_range(4, 5) == (-5, 26)
        low, high = get_coding("tc_lif").code_range(torch.tensor([1, 7], dtype=torch.int32))
        assert (low.tolist(), high.tolist()) == ([-1, -127], [1, 127])


ALLOWED = ("spike_compressor.coding", "spike_compressor.errors", "spike_compressor.registry")


def test_the_room_stands_alone() -> None:
    for file in Path(coding_room.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                allowed = ALLOWED if name.startswith("spike_compressor") else ("torch",)
                standard = name.split(".")[0] in sys.stdlib_module_names
                assert standard or name.startswith(allowed), f"{file.name} imports {name}"
