"""Dynamic scales of rows, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.messages import naming
from spike_compressor.coding import NonFiniteInputError, absmax_scale, asymmetric_scale, quantize_rows

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
