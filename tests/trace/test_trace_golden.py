"""The NumPy golden model keeps its promises: exact codecs, exact sums, the stated float order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spike_compressor.trace import accumulate, codes_from_membranes, decode, dequantize, fire, membranes, steps_of
from spike_compressor.trace.golden import round_to


@pytest.mark.parametrize("coding", ["tc_lif", "csd"])
@pytest.mark.parametrize("T", range(1, 8))
@pytest.mark.parametrize("F", [1, 3, 16])
def test_every_code_survives(coding, T, F):
    """Each code of each T is fired and decoded to itself, at both ends of its membrane interval."""
    q = np.arange(-(2**T) + 1, 2**T)
    low = np.sign(q) * ((np.abs(q) << F) - (1 << (F - 1)))  # first membrane of the code
    high = np.where(q == 0, (1 << (F - 1)) - 1, np.sign(q) * ((np.abs(q) << F) + (1 << (F - 1)) - 1))
    for membrane in (low, q << F, high):
        membrane = membrane[None].astype(np.int32)
        timesteps = np.array([T], np.uint8)
        np.testing.assert_array_equal(codes_from_membranes(membrane, timesteps, F)[0], q)
        spikes = fire(membrane, timesteps, F, coding)
        assert spikes.shape == (steps_of(T, coding), 1, len(q))
        np.testing.assert_array_equal(decode(spikes, timesteps, coding)[0], q)


def test_saturation_is_symmetric():
    """Beyond the range both signs end at 2^T - 1, in both codings."""
    membrane = np.array([[2**20, -(2**20), 2**31 - 1, -(2**31) + 1]], np.int32)
    for T in range(1, 8):
        top = 2**T - 1
        timesteps = np.array([T], np.uint8)
        want = [top, -top, top, -top]
        assert codes_from_membranes(membrane, timesteps, 8)[0].tolist() == want
        for coding in ("tc_lif", "csd"):
            assert decode(fire(membrane, timesteps, 8, coding), timesteps, coding)[0].tolist() == want


def test_csd_is_canonical():
    """No two neighbouring steps both fire, which makes the spikes as few as can be."""
    for T in range(1, 8):
        q = np.arange(-(2**T) + 1, 2**T)
        spikes = fire((q << 4)[None].astype(np.int32), np.array([T], np.uint8), 4, "csd")[:, 0]
        assert not (np.abs(spikes[1:]) & np.abs(spikes[:-1])).any()
        plain = fire((q << 4)[None].astype(np.int32), np.array([T], np.uint8), 4, "tc_lif")
        assert np.count_nonzero(spikes) <= np.count_nonzero(plain)


def test_rows_have_their_own_timesteps():
    """In one call each row ends after its own steps, and the rest is zero."""
    timesteps = np.arange(1, 8, dtype=np.uint8)
    membrane = np.repeat(((1 << timesteps.astype(np.int64) + 8) - 1)[:, None], 3, axis=1).astype(np.int32)
    for coding in ("tc_lif", "csd"):
        spikes = fire(membrane, timesteps, 8, coding)
        for m, T in enumerate(timesteps):
            assert not spikes[steps_of(int(T), coding) :, m].any()
        np.testing.assert_array_equal(decode(spikes, timesteps, coding)[:, 0], 2 ** timesteps.astype(int) - 1)


@given(st.floats(-300, 300, width=32), st.integers(1, 7), st.integers(1, 24), st.floats(2**-10, 8, width=32))
def test_fraction_bits_do_not_change_codes(x, T, F, scale):
    """Cutting the membrane to F bits gives the code of the float quotient, exactly."""
    xs, scales, timesteps = (np.array([[x]], np.float32), np.array([scale], np.float32), np.array([T], np.uint8))
    y = float(np.abs(xs / scales)[0, 0])
    want = min(int(np.floor(y + 0.5)) if y < 2**20 else 2**20, 2**T - 1)  # y + 0.5 is exact in double
    got = int(codes_from_membranes(membranes(xs, scales, timesteps, F), timesteps, F)[0, 0])
    assert got == int(np.sign(x)) * want


def test_membranes_are_clamped():
    """At 2^(T+F) - 1, where the code is saturated already."""
    got = membranes(np.array([[1e30, -9.0]], np.float32), np.array([1], np.float32), np.array([3], np.uint8), 8)
    assert got.tolist() == [[2**11 - 1, -(2**11) + 1]]


@pytest.mark.parametrize("groups", [1, 3, 12])
def test_accumulate(groups):
    """Sums of each group, as a plain loop has them."""
    rng = np.random.default_rng(3)
    codes, weight = rng.integers(-127, 128, (4, 12)), rng.integers(-128, 128, (5, 12))
    size = 12 // groups
    want = np.zeros((4, 5, groups), int)
    for m, n, k in np.ndindex(4, 5, 12):
        want[m, n, k // size] += codes[m, k] * weight[n, k]
    np.testing.assert_array_equal(accumulate(codes, weight, groups), want)


def test_dequantize_keeps_the_order():
    """(acc * act) * weight, groups from the left, bias last, each rounded to float32."""
    acc = np.array([[[2**24 + 1, -7, 5]]], np.int32)
    act, scale = np.array([0.1], np.float32), np.array([[0.3, 0.7, 1e-4]], np.float32)
    bias = np.array([1e-3], np.float32)
    f = np.float32
    want = f(f(2**24 + 1) * act[0]) * scale[0, 0]
    want = f(want + f(f(f(-7) * act[0]) * scale[0, 1]))
    want = f(want + f(f(f(5) * act[0]) * scale[0, 2]))
    assert dequantize(acc, act, scale, bias)[0, 0] == f(want + bias[0])


def test_round_to_bfloat16_and_float16():
    """Nearest, ties to even; the specials stay."""
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0xBF80FFFF, 0x7F7FFFFF, 0x00000000], np.uint32)
    want = np.array([0x3F800000, 0x3F820000, 0x3F810000, 0xBF810000, 0x7F800000, 0x00000000], np.uint32)
    np.testing.assert_array_equal(round_to(bits.view(np.float32), "bfloat16").view(np.uint32), want)
    values = np.array([1.0005, 70000.0, -0.1], np.float32)
    want = np.array([np.float16(1.0005), np.inf, np.float16(-0.1)], np.float32)
    np.testing.assert_array_equal(round_to(values, "float16"), want)
    np.testing.assert_array_equal(round_to(values, "float32"), values)
