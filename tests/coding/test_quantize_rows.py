"""quantize_rows and encode: float32 quotient, exact rounding, saturation, refusal, whatever the shape and block."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from helpers import scalar_reference as scalar
from helpers.messages import naming
from spike_compressor.coding import NonFiniteInputError, absmax_scale, encode, quantize_rows

NAN, INF = float("nan"), float("inf")


def formula(y: torch.Tensor, limit: int | torch.Tensor) -> torch.Tensor:
    """(floor(2|y|) + 1) div 2, on |y| that is small enough for int64."""
    magnitude = ((2 * y.abs()).floor().long() + 1) // 2
    return y.sign().long() * torch.minimum(magnitude, torch.as_tensor(limit))


@pytest.mark.parametrize("T", range(1, 8))
class TestRounding:
    def test_ties_and_their_neighbours(self, T: int) -> None:
        limit = 2**T - 1
        drives = [y for y in scalar.awkward_drives(T) if math.isfinite(y)]
        expected = [scalar.code(y, -limit, limit) for y in drives]
        for scale in (1.0, 2.0**-10, 2.0**20):  # a power of two, so that the quotient is the drive again
            kept = [i for i, y in enumerate(drives) if abs(y * scale) < 3.4e38 and y * scale / scale == y]
            x = torch.tensor([drives[i] for i in kept], dtype=torch.float64).mul(scale).float()
            kept = [i for i, v in zip(kept, (x / scale).tolist(), strict=True) if v == drives[i]]
            x = torch.tensor([drives[i] for i in kept], dtype=torch.float64).mul(scale).float()
            assert len(kept) > 3 * limit
            codes, saturated = quantize_rows(x, scale, T)
            assert codes.tolist() == [expected[i][0] for i in kept]
            assert saturated == sum(expected[i][1] for i in kept)

    def test_ties_go_away_from_zero(self, T: int) -> None:
        k = torch.arange(2**T - 1)
        codes, saturated = quantize_rows(torch.stack([k + 0.5, -(k + 0.5)]), 1.0, T)
        assert torch.equal(codes.long(), torch.stack([k + 1, -k - 1]))
        assert saturated == 0

    def test_against_the_formula(self, T: int) -> None:
        x = torch.randn(64, 512, generator=torch.Generator().manual_seed(T))
        for ratio in (0.3, 1.0, 1.7):
            scale = absmax_scale(x, T, ratio)
            y = x / scale.unsqueeze(-1)
            codes, saturated = quantize_rows(x, scale, T)
            assert codes.dtype == torch.int8
            assert torch.equal(codes.long(), formula(y, 2**T - 1))
            assert saturated == (formula(y, 1 << 40).abs() > 2**T - 1).sum()
            train = encode(x, scale, T)
            assert torch.equal(train.codes(), codes.to(torch.int16))
            assert train.saturated == saturated

    def test_dense_floats_around_small_ties(self, T: int) -> None:
        for centre in (0.5, 1.5, 2.5):
            around = np.float32(centre).view(np.int32) + np.arange(-2000, 2001, dtype=np.int32)
            y = torch.from_numpy(around.view(np.float32))
            codes, _ = quantize_rows(torch.stack([y, -y]), 1.0, T)
            expected = formula(y, 2**T - 1)
            assert torch.equal(codes.long(), torch.stack([expected, -expected]))


class TestExtremes:
    def test_just_below_a_half(self) -> None:
        assert quantize_rows(torch.tensor([0.49999997, -0.49999997, 0.5, -0.5]), 1.0, 3)[0].tolist() == [0, 0, 1, -1]

    def test_zeros_of_both_signs(self) -> None:
        codes, saturated = quantize_rows(torch.tensor([[0.0, -0.0]]), torch.tensor([1.0]), 3)
        assert (codes.tolist(), saturated) == ([[0, 0]], 0)
        assert encode(torch.zeros(4, 16), absmax_scale(torch.zeros(4, 16), 3), 3).count() == 0

    @pytest.mark.parametrize("scale", [1.0, 1e-38, 1e-45])
    def test_large_drives_saturate(self, scale: float) -> None:
        x = torch.tensor([1e30, -1e30, 3.4028235e38, -3.4028235e38, 0.0])  # quotients up to infinity
        for T in range(1, 8):
            limit = 2**T - 1
            codes, saturated = quantize_rows(x, scale, T)
            assert codes.tolist() == [limit, -limit, limit, -limit, 0]
            assert saturated == 4
            codes, saturated = quantize_rows(x, scale, T, "binary_unsigned", zero_point=1)
            assert codes.tolist() == [2 * limit, -1, 2 * limit, -1, 0]
            assert saturated == 4

    def test_denormals(self) -> None:
        tiny = torch.tensor([1e-45, -1e-45, 3e-45, 1e-44])
        assert quantize_rows(tiny, 1.0, 3)[0].tolist() == [0, 0, 0, 0]
        codes, saturated = quantize_rows(tiny, 1e-45, 2)  # the smallest denormal: quotients 1, -1, 2, 7
        assert (codes.tolist(), saturated) == ([1, -1, 2, 3], 1)

    def test_saturation_begins_half_a_step_beyond_the_limit(self) -> None:
        below = float(np.nextafter(np.float32(7.5), np.float32(0)))
        assert quantize_rows(torch.tensor([below, -below]), 1.0, 3)[1] == 0
        assert quantize_rows(torch.tensor([7.5, -7.5, 7.0]), 1.0, 3)[1] == 2

    @pytest.mark.parametrize("y", [7.5, -7.5, 8.0, -8.0])
    @pytest.mark.parametrize("T", [3, torch.tensor([3, 7])])
    def test_a_single_saturated_code_is_seen(self, y: float, T: int | torch.Tensor) -> None:
        codes, saturated = quantize_rows(torch.tensor([[y, 0.0], [0.0, 0.0]]), 1.0, T)
        assert codes.tolist() == [[7 if y > 0 else -7, 0], [0, 0]]
        assert saturated == 1


class TestQuotient:
    def test_it_is_divided_not_multiplied_by_a_reciprocal(self) -> None:
        generator = torch.Generator().manual_seed(0)
        scale = torch.rand(4000, 1, generator=generator) + 0.5
        x = (torch.arange(8) + 0.5) * scale  # nearly ties, where the last bit decides
        expected = torch.from_numpy(np.divide(x.numpy(), scale.numpy()))
        by_reciprocal = x * (1 / scale)
        assert (formula(expected, 15) != formula(by_reciprocal, 15)).any(), "the test would see no difference"
        for T in (4, torch.full((4000,), 4)):
            assert torch.equal(quantize_rows(x, scale, T)[0].long(), formula(expected, 15))
        one = float(scale[0])
        assert torch.equal(quantize_rows(x[0], one, 4)[0].long(), formula(expected[0], 15))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_x_goes_to_float32_first(self, dtype: torch.dtype) -> None:
        x = (torch.randn(20, 30, generator=torch.Generator().manual_seed(4)) * 3).to(dtype)
        scale = absmax_scale(x, 4)
        assert torch.equal(scale, absmax_scale(x.float(), 4))
        assert scale.dtype == torch.float32
        assert torch.equal(quantize_rows(x, scale, 4)[0], quantize_rows(x.float(), scale, 4)[0])
        below_a_tie = torch.tensor([1.5 - 1e-12], dtype=torch.float64)
        assert quantize_rows(below_a_tie, 1.0, 3)[0].tolist() == [2]

    def test_shapes_of_the_scale(self) -> None:
        x = torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(6))
        per_row = torch.rand(2, 3, generator=torch.Generator().manual_seed(7)) + 0.1
        rows = [[quantize_rows(x[i, j], float(per_row[i, j]), 4)[0] for j in range(3)] for i in range(2)]
        expected = torch.stack([torch.stack(row) for row in rows])
        assert torch.equal(quantize_rows(x, per_row, 4)[0], expected)
        assert torch.equal(quantize_rows(x, per_row.unsqueeze(-1), 4)[0], expected)
        one = [quantize_rows(x, s, 4)[0] for s in (0.25, torch.tensor(0.25), torch.tensor([0.25]))]
        assert torch.equal(one[0], one[1])
        assert torch.equal(one[0], one[2])
        for wrong in (torch.ones(3), torch.ones(2, 10), torch.ones(2, 3, 10), torch.ones(1, 3)):
            with pytest.raises(ValueError, match=naming("scale", list(wrong.shape), "x", [2, 3, 10])):
                quantize_rows(x, wrong, 4)

    @pytest.mark.parametrize("bad", [0.0, -1.0, NAN, INF, 1e-50])
    def test_scale_out_of_range(self, bad: float) -> None:
        with pytest.raises(ValueError, match=naming("scale", "float32")):
            encode(torch.zeros(2, 4), bad, 3)
        with pytest.raises(ValueError, match=naming("scale", "float32")):
            quantize_rows(torch.zeros(2, 4), torch.tensor([1.0, bad]), 3)


class TestRefusal:
    def test_counts_and_first_row(self) -> None:
        x = torch.zeros(3, 4, 5)
        x[1, 2, 3] = NAN
        x[1, 2, 4] = -INF
        x[2, 3, 0] = INF
        for call in (lambda: encode(x, 1.0, 3), lambda: quantize_rows(x, 1.0, torch.full((3, 4), 2))):
            with pytest.raises(NonFiniteInputError, match=naming("1 NaN", "2 infinite", "row 6 of 12")) as caught:
                call()
            error = caught.value
            assert (error.nan, error.inf, error.row, error.rows) == (1, 2, 6, 12)
            assert isinstance(error, ValueError)

    @pytest.mark.parametrize("bad", [NAN, INF, -INF])
    @pytest.mark.parametrize("T", [3, 7, torch.tensor([3, 4])])
    def test_any_single_one(self, bad: float, T: int | torch.Tensor) -> None:
        x = torch.ones(2, 4)
        x[1, 2] = bad
        with pytest.raises(NonFiniteInputError, match="row 1 of 2"):
            quantize_rows(x, 1.0, T)
        with pytest.raises(NonFiniteInputError, match="row 1 of 2"):
            absmax_scale(x, T)

    def test_float64_that_float32_cannot_hold(self) -> None:
        with pytest.raises(NonFiniteInputError, match="1 infinite"):
            encode(torch.tensor([1e300], dtype=torch.float64), 1.0, 3)

    def test_in_a_later_block(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("spike_compressor.coding.blocks._ELEMENTS_PER_THREAD", 1)
        x = torch.full((50, 3), 1e3)  # saturates before
        x[40, 1] = INF
        with pytest.raises(NonFiniteInputError, match="row 40 of 50"):
            quantize_rows(x, 1.0, 3)

    def test_names_the_place_and_survives_a_process_boundary(self) -> None:
        error = NonFiniteInputError(2, 0, 17, 64).at("layer model.layers.3.mlp.down_proj")
        assert str(error).startswith("layer model.layers.3.mlp.down_proj: 2 NaN in")
        twin = pickle.loads(pickle.dumps(error))
        assert str(twin) == str(error)
        assert (twin.nan, twin.row, twin.where) == (2, 17, error.where)

    def test_without_validation_finite_input_is_the_same(self) -> None:
        x = torch.randn(8, 9, generator=torch.Generator().manual_seed(8)) * 10
        plain, sat = quantize_rows(x, 0.7, 3)
        codes, saturated = quantize_rows(x, 0.7, 3, validate=False)
        assert torch.equal(codes, plain)
        assert saturated == sat > 0


class TestLayout:
    @pytest.mark.parametrize("elements", [1, 40, 300])
    @pytest.mark.parametrize("coding", ["tc_lif", "binary_unsigned"])
    def test_blocks_do_not_show(self, elements: int, coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
        generator = torch.Generator().manual_seed(9)
        x = torch.randn(41, 17, generator=generator) * torch.linspace(0.1, 30, 41).unsqueeze(-1)
        scale = torch.rand(41, generator=generator) + 0.5
        T = torch.arange(41) % 7 + 1
        zero = None if coding == "tc_lif" else torch.arange(41) % 4
        whole = [quantize_rows(x, scale, t, coding, zero_point=zero) for t in (3, T)]
        assert all(saturated > 20 for _, saturated in whole)
        monkeypatch.setattr("spike_compressor.coding.blocks._ELEMENTS_PER_THREAD", elements)
        for t, (codes, saturated) in zip((3, T), whole, strict=True):
            again, count = quantize_rows(x, scale, t, coding, zero_point=zero)
            assert torch.equal(again, codes)
            assert count == saturated

    def test_non_contiguous_and_requiring_grad(self) -> None:
        x = torch.randn(30, 20, generator=torch.Generator().manual_seed(10))
        expected = quantize_rows(x.T.contiguous(), 0.3, 4)[0]
        codes, _ = quantize_rows(x.T.requires_grad_(), 0.3, 4)
        assert torch.equal(codes, expected)
        assert not codes.requires_grad

    def test_x_is_left_alone(self) -> None:
        x = torch.full((2, 3), 100.0)
        quantize_rows(x, 1.0, 3)
        absmax_scale(x, 3)
        assert (x == 100.0).all()


class TestAsymmetric:
    @pytest.mark.parametrize("T", range(1, 8))
    def test_against_exact_fractions(self, T: int) -> None:
        last = 2 ** (T + 1) - 1
        drives = [y for y in scalar.awkward_drives(T) if abs(y) < 1e38]
        drives += torch.linspace(-last - 2, last + 2, 301).tolist()
        zero_points = sorted({0, 1, last // 2, last // 2 + 1, last})
        codes, saturated = quantize_rows(
            torch.tensor([drives] * len(zero_points)), 1.0, T, "binary_unsigned", zero_point=torch.tensor(zero_points)
        )
        assert codes.dtype == torch.int16
        total = 0
        for z, row in zip(zero_points, codes.tolist(), strict=True):
            expected = [scalar.code(y, -z, last - z) for y in drives]
            assert row == [q for q, _ in expected]
            count = sum(beyond for _, beyond in expected)
            total += count
            alone = quantize_rows(torch.tensor(drives), 1.0, T, "unary_unsigned", zero_point=z)
            assert alone[0].tolist() == row
            assert alone[1] == count
        assert saturated == total > 0

    def test_default_zero_point_has_the_symmetric_codes(self) -> None:
        x = torch.randn(40, 40, generator=torch.Generator().manual_seed(11)) * 9
        for T in (1, 3, 7):
            codes, saturated = quantize_rows(x, 0.5, T)
            for coding in ("unary_unsigned", "binary_unsigned", "csd", "unary"):
                other, count = quantize_rows(x, 0.5, T, coding)
                assert torch.equal(other, codes)
                assert other.dtype == torch.int8
                assert count == saturated
