"""Membranes in fixed point: exact, and the same codes as in floating point for every F >= 1."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import scalar_reference as scalar
from helpers.messages import naming
from spike_compressor.coding import (
    MAX_FRAC_BITS,
    NonFiniteInputError,
    codes_from_membrane,
    encode,
    fixed_membrane,
)

FRAC_BITS = (1, 2, 4, 8, 12, MAX_FRAC_BITS)


def drives(T: int) -> list[float]:
    values = [y for y in scalar.awkward_drives(T) if math.isfinite(y)]
    return values + (torch.randn(400, generator=torch.Generator().manual_seed(T)) * 2**T).tolist()


@pytest.mark.parametrize("F", FRAC_BITS)
@pytest.mark.parametrize("T", range(1, 8))
class TestAgainstFloat:
    def test_membrane_is_the_truncated_drive(self, T: int, F: int) -> None:
        y = drives(T)
        limit = 2 ** (T + F) - 1
        membrane = fixed_membrane(torch.tensor(y), 1.0, T, F)
        assert membrane.dtype == torch.int32
        for value, m in zip(y, membrane.tolist(), strict=True):
            magnitude = min(math.floor(Fraction(abs(value)) * 2**F), limit)
            assert m == (magnitude if value > 0 else -magnitude)

    def test_codes_are_those_of_the_float_neuron(self, T: int, F: int) -> None:
        x = torch.tensor(drives(T))
        for scale in (1.0, 0.3, 1e-40):
            codes = codes_from_membrane(fixed_membrane(x, scale, T, F), T, F)
            assert codes.dtype == torch.int16
            assert torch.equal(codes, encode(x, scale, T).codes())

    def test_integer_neuron_step_by_step(self, T: int, F: int) -> None:
        membrane = fixed_membrane(torch.tensor(drives(T)), 1.0, T, F)
        codes = codes_from_membrane(membrane, T, F)
        assert codes.tolist() == [scalar.hardware_code(m, T, F) for m in membrane.tolist()]

    def test_saturation_can_be_seen_in_the_membrane(self, T: int, F: int) -> None:
        x = torch.tensor(drives(T))
        rounded = (fixed_membrane(x, 1.0, T, F).long().abs() + 2 ** (F - 1)) >> F
        assert int((rounded > 2**T - 1).sum()) == encode(x, 1.0, T).saturated > 0


def test_rows_of_their_own_timesteps() -> None:
    T = torch.arange(14).reshape(2, 7) % 7 + 1
    x = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(1)) * 60
    scale = torch.rand(2, 7, generator=torch.Generator().manual_seed(2)) + 0.2
    for F in FRAC_BITS:
        membrane = fixed_membrane(x, scale, T, F)
        codes = codes_from_membrane(membrane, T, F)
        assert torch.equal(codes, encode(x, scale, T).codes())
        for i in range(2):
            for j in range(7):
                alone = fixed_membrane(x[i, j], float(scale[i, j]), int(T[i, j]), F)
                assert torch.equal(membrane[i, j], alone)


def test_any_int32_is_a_membrane() -> None:
    extremes = torch.tensor([2**31 - 1, -(2**31), 0, 1, -1], dtype=torch.int32)
    for T in (1, 7):
        for F in (1, MAX_FRAC_BITS):
            codes = codes_from_membrane(extremes, T, F).tolist()
            assert codes == [scalar.hardware_code(int(m), T, F) for m in extremes]


def test_an_infinite_quotient_saturates_but_infinite_input_is_refused() -> None:
    membrane = fixed_membrane(torch.tensor([1e30, -1e30]), 1e-30, 3, 4)
    assert membrane.tolist() == [127, -127]
    for bad in (float("nan"), float("inf")):
        with pytest.raises(NonFiniteInputError):
            fixed_membrane(torch.tensor([1.0, bad]), 1.0, 3, 4)


@pytest.mark.parametrize("F", [0, -1, MAX_FRAC_BITS + 1, 1.0, True])
def test_frac_bits_out_of_range(F: object) -> None:
    with pytest.raises(ValueError, match=naming("frac_bits", "int", 1, MAX_FRAC_BITS, F)):
        fixed_membrane(torch.ones(2), 1.0, 3, F)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=naming("frac_bits", "int", 1, MAX_FRAC_BITS, F)):
        codes_from_membrane(torch.ones(2, dtype=torch.int32), 3, F)  # type: ignore[arg-type]


def test_a_real_membrane_is_refused() -> None:
    with pytest.raises(TypeError, match=naming("membrane", "torch.float32")):
        codes_from_membrane(torch.ones(2), 3, 4)


def test_numpy_integers_are_integers() -> None:
    F = int(np.int64(4))
    assert fixed_membrane(torch.tensor([1.3]), 1.0, int(np.int64(3)), F).tolist() == [20]
