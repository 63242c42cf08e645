"""Dynamic scales of rows, to the bit."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers.messages import naming
from spike_compressor.coding import NonFiniteInputError, absmax_scale, asymmetric_scale, quantize_rows, row_scale

LARGEST = float(np.finfo(np.float32).max)


def sample(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(50, 33, generator=generator) * torch.logspace(-6, 6, 50).unsqueeze(-1)


class TestAbsmax:
    @pytest.mark.parametrize("ratio", [1.0, 0.8, 1.3, 2.0, 1e-3])
    @pytest.mark.parametrize("T", range(1, 8))
    def test_order_of_operations(self, T: int, ratio: float) -> None:
        x = sample()
        absmax = np.abs(x.numpy()).max(axis=-1)
        expected = (np.float32(ratio) * absmax) / np.float32(2**T - 1)
        scale = absmax_scale(x, T, ratio)
        assert scale.dtype == torch.float32
        assert np.array_equal(scale.numpy(), expected)

    def test_rows_of_their_own(self) -> None:
        x = sample(1).reshape(5, 10, 33)
        T = torch.arange(50).reshape(5, 10) % 7 + 1
        ratio = torch.linspace(0.5, 2.0, 50).reshape(5, 10)
        scale = absmax_scale(x, T, ratio)
        assert scale.shape == (5, 10)
        for i in range(5):
            for j in range(10):
                assert scale[i, j] == absmax_scale(x[i, j], int(T[i, j]), float(ratio[i, j]))

    def test_the_sign_of_the_extreme_does_not_matter(self) -> None:
        x = torch.tensor([[-14.0, 7.0], [7.0, 14.0], [-14.0, -7.0]])
        assert absmax_scale(x, 3).tolist() == [2.0, 2.0, 2.0]

    @pytest.mark.parametrize("tiny", [0.0, -0.0, 1e-45])
    def test_nothing_to_divide_by(self, tiny: float) -> None:
        x = torch.tensor([[tiny, 0.0], [15.0, 0.0]])
        assert absmax_scale(x, 4).tolist() == [1.0, 1.0]
        assert quantize_rows(x, absmax_scale(x, 4), 4)[0].tolist() == [[0, 0], [15, 0]]

    def test_the_largest_float_does_not_overflow(self) -> None:
        assert absmax_scale(torch.tensor([[LARGEST]]), 1, 2.0).tolist() == [LARGEST]

    def test_a_full_ratio_never_saturates(self) -> None:
        for T in range(1, 8):
            x = sample(T)
            codes, saturated = quantize_rows(x, absmax_scale(x, T), T)
            assert saturated == 0
            assert (codes.abs().amax(-1) == 2**T - 1).all()

    @pytest.mark.parametrize("ratio", [0.0, -1.0, 2.0001, float("nan"), 1e-50, torch.tensor([1.0, 0.0])])
    def test_ratio_out_of_range(self, ratio: float | torch.Tensor) -> None:
        with pytest.raises(ValueError, match=naming("ratio", 0, 2)):
            absmax_scale(torch.ones(2, 3), 3, ratio)

    def test_ratio_of_another_shape(self) -> None:
        with pytest.raises(ValueError, match=naming("ratio", [3], [2])):
            absmax_scale(torch.ones(2, 3), 3, torch.ones(3))

    def test_no_rows_no_features(self) -> None:
        assert absmax_scale(torch.ones(0, 3), 3).shape == (0,)
        assert absmax_scale(torch.ones(2, 0), torch.tensor([3, 4])).tolist() == [1.0, 1.0]

    def test_blocks_do_not_show(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = absmax_scale(sample(), 3)
        monkeypatch.setattr("spike_compressor.coding.blocks._ELEMENTS_PER_THREAD", 70)
        assert torch.equal(absmax_scale(sample(), 3), whole)


class TestAsymmetric:
    @pytest.mark.parametrize("T", range(1, 8))
    def test_order_of_operations(self, T: int) -> None:
        x = sample(2) + torch.linspace(-2, 2, 50).unsqueeze(-1)
        last = np.float32(2 ** (T + 1) - 1)
        low, high = np.minimum(x.numpy().min(-1), 0), np.maximum(x.numpy().max(-1), 0)
        expected = (high - low) / last
        z = np.minimum(np.floor((-low / expected).astype(np.float64) + 0.5), last)
        scale, zero_point = asymmetric_scale(x, T)
        assert np.array_equal(scale.numpy(), expected)
        assert np.array_equal(zero_point.numpy(), z)
        assert zero_point.dtype == torch.int32

    def test_it_covers_the_row(self) -> None:
        T = torch.arange(50) % 7 + 1
        for x in (sample(3), sample(3).abs(), -sample(3).abs()):
            scale, z = asymmetric_scale(x, T)
            codes, _ = quantize_rows(x, scale, T, "binary_unsigned", zero_point=z)
            error = (codes * scale.unsqueeze(-1) - x).abs().amax(-1) / scale
            assert (error < 1.001).all()  # half a step, and as much where z was rounded and the code clamped

    def test_one_sided_and_zero_rows(self) -> None:
        scale, z = asymmetric_scale(torch.tensor([[15.0, 1.0], [-15.0, -3.0], [0.0, 0.0], [1e-45, 0.0]]), 3)
        assert scale.tolist() == [1.0, 1.0, 1.0, 1.0]
        assert z.tolist() == [0, 15, 0, 0]

    def test_a_denormal_scale_cannot_push_the_zero_point_out(self) -> None:
        smallest = 2.0**-149
        scale, z = asymmetric_scale(torch.tensor([[-22 * smallest, 0.0]]), 3)
        assert scale.tolist() == [smallest]  # 22/15 rounded
        assert z.tolist() == [15]

    def test_a_range_beyond_float32_saturates(self) -> None:
        x = torch.tensor([[LARGEST, -LARGEST]])
        scale, z = asymmetric_scale(x, 7)
        assert scale.tolist() == [float(np.float32(LARGEST) / np.float32(255))]
        assert quantize_rows(x, scale, 7, "binary_unsigned", zero_point=z)[1] == 1

    def test_refuses_nan_and_infinity(self) -> None:
        for bad in (float("nan"), float("inf"), -float("inf")):
            with pytest.raises(NonFiniteInputError, match="row 1 of 2"):
                asymmetric_scale(torch.tensor([[0.0, 1.0], [bad, 1.0]]), 3)


class TestMeans:
    """Statistics that are sums: integers, so that no order of summation shows."""

    @staticmethod
    def by_hand(row: torch.Tensor, statistic: str) -> np.float32:
        magnitudes = [abs(Fraction(float(x))) for x in row]
        if not max(magnitudes):
            return np.float32(0)
        _, exponent = math.frexp(float(max(magnitudes)))
        units = [math.floor(m * Fraction(2) ** (18 - exponent)) for m in magnitudes]
        mean = float(sum(u * u for u in units) if statistic == "rms" else sum(units)) / len(units)
        return np.float32(math.ldexp(math.sqrt(mean) if statistic == "rms" else mean, exponent - 18))

    @pytest.mark.parametrize("statistic", ["rms", "mean_abs"])
    def test_to_the_bit(self, statistic: str) -> None:
        x = sample(2) * torch.logspace(-38, 32, 50).unsqueeze(-1)
        x[3] = 0
        x[5, 7] = 1e30
        T = torch.arange(50) % 7 + 1
        ratio = torch.linspace(0.1, 2.0, 50)
        expected = [np.float32(r) * self.by_hand(row, statistic) for r, row in zip(ratio, x, strict=True)]
        expected[3] = np.float32(1)
        assert np.array_equal(row_scale(x, T, ratio, statistic).numpy(), np.array(expected))

    @pytest.mark.parametrize("statistic", ["rms", "mean_abs"])
    def test_order_does_not_show(self, statistic: str, monkeypatch: pytest.MonkeyPatch) -> None:
        x = sample(3)
        whole = row_scale(x, 7, 0.5, statistic)
        shuffled = x[:, torch.randperm(33, generator=torch.Generator().manual_seed(0))]
        assert torch.equal(row_scale(shuffled, 7, 0.5, statistic), whole)
        monkeypatch.setattr("spike_compressor.coding.blocks._ELEMENTS_PER_THREAD", 70)
        assert torch.equal(row_scale(x, 7, 0.5, statistic), whole)

    def test_near_the_real_mean(self) -> None:
        x = sample(4)
        assert torch.allclose(row_scale(x, 7, 1.0, "rms"), x.square().mean(dim=1).sqrt(), rtol=1e-4)
        assert torch.allclose(row_scale(x, 7, 1.0, "mean_abs"), x.abs().mean(dim=1), rtol=1e-4)

    def test_timesteps_are_range_alone(self) -> None:
        x = sample(5)
        assert torch.equal(row_scale(x, 2, 0.5, "rms"), row_scale(x, 7, 0.5, "rms"))

    def test_rows_so_wide_that_floats_would_round_their_sum(self) -> None:
        x = torch.full((1, (1 << 17) + 3), 1.0)
        x[0, 1:] = 1 - 2**-18
        assert row_scale(x, 7, 1.0, "rms").item() == self.by_hand(x[0], "rms")

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    @pytest.mark.parametrize("statistic", ["rms", "mean_abs"])
    def test_not_finite(self, statistic: str, bad: float) -> None:
        with pytest.raises(NonFiniteInputError):
            row_scale(torch.tensor([[1.0, 2.0], [bad, 3.0]]), 7, 0.5, statistic)

    @pytest.mark.parametrize("statistic", ["rms", "mean_abs"])
    def test_no_rows_no_features(self, statistic: str) -> None:
        assert row_scale(torch.ones(0, 3), 3, statistic=statistic).shape == (0,)
        assert row_scale(torch.ones(2, 0), 3, statistic=statistic).tolist() == [1.0, 1.0]

    def test_unknown(self) -> None:
        with pytest.raises(ValueError, match=naming("threshold statistic", "rmss", "rms")):
            row_scale(torch.ones(2, 3), 3, statistic="rmss")
