"""The library's C functions at every level that this machine has, against torch, to the bit.

The oracles are what the package defines codes and outputs by: `coding.row_scale`, `coding.quantize_rows`, products
in 64-bit integers, and scales applied in the order of docs/numerics.md.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from helpers.kernel_library import BAD_ARGUMENT, DTYPES, NOT_FINITE, Failed, Library, Rows, Weights
from hypothesis import given
from hypothesis import strategies as st
from spike_compressor.coding import quantize_rows, row_scale
from torch import Tensor

PACKAGE = Path(__file__).parents[2] / "plugin" / "spike_compressor" / "kernels"
PATHS = [path for pattern in ("*.so", "*.dylib") for path in PACKAGE.glob(f"lib{pattern}")]
if not PATHS:
    pytest.skip("the kernels were not built: make kernels", allow_module_level=True)
LIBRARY = Library(PATHS[0])
LEVELS = pytest.mark.parametrize("level", LIBRARY.levels().values(), ids=LIBRARY.levels().keys())


#: By number, as the library knows them.
STATISTICS = ("absmax", "rms", "mean_abs")
#: Codings that round as the library's roundings do, in their order.
ROUNDED = ("tc_lif", "tc_lif_rdoq")


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Whether two float32 tensors are equal, signs of zeros included."""
    return torch.equal(left.view(torch.int32), right.view(torch.int32))


def sums_of(codes: Tensor, weights: Tensor, groups: int) -> Tensor:
    """Accumulators int32 [G, M, N] of codes [M, K] and weights [N, K]."""
    left, right = (table.to(torch.int64).unflatten(1, (groups, -1)) for table in (codes, weights))
    return torch.einsum("mgk,ngk->gmn", left, right).to(torch.int32)


def outputs_of(sums: Tensor, scales: Tensor, layer: Weights) -> Tensor:
    """Outputs float32 [M, N] of accumulators [G, M, N]."""
    if len(sums) == 1:
        out = (sums[0].to(torch.float32) * scales[:, None]) * layer.scales[:, 0]
    else:
        out = torch.zeros(sums.shape[1:])
        for group, column in zip(sums, layer.scales.unbind(1), strict=True):
            out = out + (group.to(torch.float32) * scales[:, None]) * column
    return out if layer.bias is None else out + layer.bias


def range_of(bits: int) -> tuple[int, int]:
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def layer_of(
    N: int, group: int, groups: int, bits: int, max_code: int, *, bias: bool = True, codes: Tensor | None = None
) -> Weights:
    """A layer of random weights, in panels of 4 bits where they fit."""
    low, high = range_of(bits)
    codes = torch.randint(low, high + 1, (N, group * groups), dtype=torch.int8) if codes is None else codes
    scales = torch.rand(N, groups) - 0.25  # negative ones too: a zero may have a sign
    return LIBRARY.layer(codes, scales, torch.randn(N) if bias else None, 4 if bits <= 4 else 8, max_code)


@dataclass(frozen=True)
class Case:
    """A drawn layer and rows for it."""

    seed: int
    M: int
    N: int
    group: int
    groups: int
    bits: int
    T: int
    mixed: bool
    dtype: torch.dtype
    static: bool
    silenced: bool
    bias: bool
    statistic: int
    rounding: int

    def make(self) -> tuple[Weights, Rows]:
        torch.manual_seed(self.seed)
        layer = layer_of(
            self.N, self.group, self.groups, self.bits, 127 if self.mixed else 2**self.T - 1, bias=self.bias
        )
        K = self.group * self.groups
        x = torch.randn(self.M, K) * torch.exp(2 * torch.randn(self.M, 1))
        x[1:2] = 0
        T = torch.randint(1, 8, (self.M,)) if self.mixed and self.M else self.T
        ratio = torch.rand(self.M) + 0.3 if self.mixed and self.M else 0.8
        scale = torch.rand(self.M) + 0.01 if self.static and self.M else None
        silenced = torch.rand(K) < 0.3 if self.silenced else None
        return layer, Rows(x.to(self.dtype), T, ratio, scale, silenced, self.statistic, self.rounding)


CASES = st.builds(
    Case,
    seed=st.integers(0, 1000),
    M=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 97, 100]),
    N=st.sampled_from([1, 2, 15, 16, 17, 40, 100]),
    group=st.sampled_from([1, 2, 3, 4, 5, 16, 32, 33, 64, 128, 130]) | st.integers(1, 300) | st.just(1100),
    groups=st.sampled_from([1, 1, 2, 3, 20]),
    bits=st.integers(2, 8),
    T=st.integers(1, 7),
    mixed=st.booleans(),
    dtype=st.sampled_from(list(DTYPES)),
    static=st.booleans(),
    silenced=st.booleans(),
    bias=st.booleans(),
    statistic=st.sampled_from(range(len(STATISTICS))),
    rounding=st.sampled_from(range(len(ROUNDED))),
)


@LEVELS
@given(case=CASES)
def test_rows_to_outputs(level: int, case: Case) -> None:
    layer, rows = case.make()
    again = LIBRARY.unpack(layer.panels, case.N, case.group * case.groups, case.groups, layer.c.bits)
    assert torch.equal(again, layer.codes)
    if rows.scale is None:
        scales = row_scale(rows.x, rows.timesteps, rows.ratio, STATISTICS[rows.statistic])
    else:
        scales = torch.as_tensor(rows.scale)
    codes, clipped = quantize_rows(rows.x, scales, rows.timesteps, ROUNDED[rows.rounding])
    if rows.silenced is not None:
        codes = codes.masked_fill(rows.silenced, 0)
    sums = sums_of(codes, layer.codes, case.groups)
    outputs = outputs_of(sums, scales, layer)

    own_codes, own_scales, own_clipped = LIBRARY.encode(level, layer, rows)
    assert torch.equal(own_codes, codes)
    assert same_bits(own_scales, scales)
    assert own_clipped == clipped
    assert torch.equal(LIBRARY.accumulate(level, layer, codes), sums)
    assert same_bits(LIBRARY.outputs(level, layer, codes, scales), outputs)
    own_outputs, own_clipped = LIBRARY.linear(level, layer, rows)
    assert same_bits(own_outputs, outputs)
    assert own_clipped == clipped


@LEVELS
@given(case=CASES, steps=st.integers(1, 8), each=st.booleans())
def test_steps(level: int, case: Case, steps: int, each: bool) -> None:
    layer, _ = case.make()
    planes = torch.randint(-1, 2, (steps, case.M, case.group * case.groups), dtype=torch.int8)
    weights = torch.randint(-(2**20), 2**20, (steps, case.M) if each and case.M else (steps,), dtype=torch.int32)
    # in 64 bits, and then as int32 wraps
    sums = sum(
        sums_of(plane, layer.codes, case.groups).to(torch.int64) * (weight[:, None] if weight.dim() else weight)
        for plane, weight in zip(planes, weights, strict=True)
    )
    assert isinstance(sums, Tensor)
    sums, scales = sums.to(torch.int32), torch.rand(case.M) + 0.01
    assert torch.equal(LIBRARY.accumulate_steps(level, layer, planes, weights), sums)
    own = LIBRARY.outputs_steps(level, layer, planes, scales, weights)
    assert same_bits(own, outputs_of(sums, scales, layer))


def test_layout_of_panels() -> None:
    codes = torch.arange(-8, 8, dtype=torch.int8).repeat(18 * 6 // 4)[: 18 * 6].view(18, 6)
    quads = LIBRARY.pack(codes, 1, 4).view(2, 2, 32)  # panels, quads, bytes
    for n, k in ((0, 0), (7, 3), (8, 0), (15, 5), (17, 5)):
        byte = int(quads[n // 16, k // 4, (n % 8) * 4 + k % 4])
        assert (byte >> 4 if n % 16 > 7 else byte & 15) == int(codes[n, k]) + 8, (n, k)
    assert int(quads[1, 1, 3 * 4 + 3]) == 0x88  # padding is a weight of 0
    wide = LIBRARY.pack(codes, 1, 8).view(2, 2, 64)
    assert int(wide[0, 1, 9 * 4 + 1]) == int(codes[9, 5]) + 128


# Worst cases


@LEVELS
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("T", range(1, 8))
@pytest.mark.parametrize("group", [None, 32, 64])
def test_largest_sums(level: int, bits: int, T: int, group: int | None) -> None:
    K, M, (low, high) = 1088, 13, range_of(bits)
    rows = {
        "low": torch.full((K,), low),
        "high": torch.full((K,), high),
        "both": torch.tensor([low, high]).repeat(K // 2),
    }
    weights = torch.stack([*rows.values(), -rows["both"].clamp(min=-high)]).to(torch.int8).repeat(5, 1)
    layer = layer_of(len(weights), group or K, K // (group or K), bits, 2**T - 1, codes=weights)
    codes = torch.full((M, K), 2**T - 1, dtype=torch.int8)
    codes[1::3] *= -1
    codes[2::3, ::2] *= -1
    assert torch.equal(LIBRARY.accumulate(level, layer, codes), sums_of(codes, weights, layer.c.groups))
    few = LIBRARY.accumulate(level, layer, codes[:2])  # as many rows as read panels without unpacking them
    assert torch.equal(few, sums_of(codes[:2], weights, layer.c.groups))


@LEVELS
@pytest.mark.parametrize("T", range(1, 8))
def test_ties_limits_and_what_lies_beside_them(level: int, T: int) -> None:
    largest = 2**T - 1
    halves = torch.arange(-2 * largest - 6, 2 * largest + 7) / 2
    x = torch.cat([halves, torch.nextafter(halves, halves + 1), torch.nextafter(halves, halves - 1)])
    x = torch.cat([x, torch.tensor([0.49999997, -0.49999997, 0.0, -0.0, 1e-45, 1e38, -1e38])]).repeat(3, 1)
    scale = torch.tensor([1.0, 1e-30, 3e38])  # quotients that are infinite, and so small that they are 0
    layer = layer_of(16, x.shape[1], 1, 4, 127)
    codes, clipped = quantize_rows(x, scale, T)
    own, scales, own_clipped = LIBRARY.encode(level, layer, Rows(x, T, 1.0, scale))
    assert torch.equal(own, codes)
    assert own_clipped == clipped
    assert torch.equal(scales, scale)


@LEVELS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("statistic", range(len(STATISTICS)), ids=STATISTICS)
def test_dynamic_scales_of_extreme_rows(level: int, statistic: int, dtype: torch.dtype) -> None:
    info = torch.finfo(dtype if dtype != torch.float64 else torch.float32)
    x = torch.zeros(7, 40, dtype=dtype)
    x[1, 7], x[2, 39], x[3, 0], x[4] = info.max, -info.max, info.smallest_normal * info.eps, info.tiny
    x[5], x[6, ::3] = info.max, 3 * info.smallest_normal * info.eps  # the largest sum; units of subnormal numbers
    rows = Rows(x, torch.tensor([1, 2, 7, 7, 3, 5, 4]), torch.tensor([1.0, 2.0, 2.0, 0.5, 0.1, 2.0, 0.7]))
    rows = replace(rows, statistic=statistic)
    expected = row_scale(x, rows.timesteps, rows.ratio, STATISTICS[statistic])
    codes, scales, clipped = LIBRARY.encode(level, layer_of(1, 40, 1, 4, 127), rows)
    assert same_bits(scales, expected)
    assert float(scales[0]) == 1
    reference, expected_clipped = quantize_rows(x, expected, rows.timesteps)
    assert torch.equal(codes, reference)
    assert clipped == expected_clipped


@LEVELS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("at", [0, 17, 69])
def test_what_is_not_finite_is_refused(level: int, dtype: torch.dtype, static: bool, bad: float, at: int) -> None:
    layer, x = layer_of(16, 70, 1, 4, 15), torch.ones(3, 70, dtype=dtype)
    x[2, at] = bad
    rows = Rows(x, 4, 1.0, 0.5 if static else None)
    for call in (LIBRARY.encode, LIBRARY.linear):
        with pytest.raises(Failed) as caught:
            call(level, layer, rows)
        assert caught.value.status == NOT_FINITE


@LEVELS
def test_a_float64_beyond_float32_is_not_finite(level: int) -> None:
    x = torch.zeros(1, 8, dtype=torch.float64)
    x[0, 3] = 1e39
    with pytest.raises(Failed) as caught:
        LIBRARY.encode(level, layer_of(1, 8, 1, 4, 15), Rows(x, 4))
    assert caught.value.status == NOT_FINITE


@LEVELS
def test_every_half_and_bfloat16(level: int) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
        x = x[x.isfinite()].view(1, -1)
        for scale in (1.0, 1e-6):
            codes, clipped = quantize_rows(x, scale, 7)
            own, _, own_clipped = LIBRARY.encode(level, layer_of(1, x.shape[1], 1, 4, 127), Rows(x, 7, 1.0, scale))
            assert torch.equal(own, codes)
            assert own_clipped == clipped


@LEVELS
def test_rows_apart_in_memory(level: int) -> None:
    wide = torch.randn(9, 100)
    layer = layer_of(17, 36, 1, 8, 15)
    apart, together = wide[::2, 30:66], wide[::2, 30:66].contiguous()
    assert same_bits(
        LIBRARY.linear(level, layer, Rows(apart, 4))[0], LIBRARY.linear(level, layer, Rows(together, 4))[0]
    )
    again = wide[:1, :36].expand(5, 36)  # a stride of 0: one row, five times
    assert same_bits(
        LIBRARY.linear(level, layer, Rows(again, 4))[0][4:], LIBRARY.linear(level, layer, Rows(again[:1], 4))[0]
    )


# Threads, and what a caller may get wrong


@LEVELS
def test_threads_give_the_same_bits(level: int) -> None:
    body = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    shared = []

    @ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, body, ctypes.c_void_p)
    def parallel_for(begin: int, end: int, grain: int, call, context) -> int:  # type: ignore[no-untyped-def]
        import threading

        threads = [threading.Thread(target=call, args=(begin, end, context)) for _ in range(3)]
        shared.append((end - begin, grain))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return 0

    torch.manual_seed(0)
    layer = layer_of(1500, 512, 1, 4, 15)
    rows = Rows(torch.randn(200, 512), 4)
    expected, clipped = LIBRARY.linear(level, layer, rows)
    LIBRARY.c.spike_set_parallel_for(ctypes.cast(parallel_for, ctypes.c_void_p))
    try:
        outputs, again = LIBRARY.linear(level, layer, rows)
        assert shared
        shared.clear()
        LIBRARY.linear(level, layer_of(1536, 576, 1, 4, 15), Rows(torch.randn(1, 576), 4))
        assert not shared  # too small to be worth a thread
    finally:
        LIBRARY.c.spike_set_parallel_for(None)
    assert same_bits(outputs, expected)
    assert again == clipped


@LEVELS
def test_the_self_test_passes(level: int) -> None:
    assert LIBRARY.c.spike_self_test(level) == 0


def test_bad_arguments_are_refused() -> None:
    layer, rows = layer_of(16, 32, 1, 4, 15), Rows(torch.randn(2, 32), 4)
    count = LIBRARY.c.spike_level_count()
    wrong = {
        "a level that is not there": (count, layer, rows),
        "a negative level": (-1, layer, rows),
        "codes beyond the layer's": (0, layer, Rows(rows.x, 5)),
        "no timesteps": (0, layer, Rows(rows.x, 0)),
        "too many timesteps": (0, layer_of(16, 32, 1, 4, 127), Rows(rows.x, 8)),
        "a statistic that is not there": (0, layer, replace(rows, statistic=len(STATISTICS))),
        "a rounding that is not there": (0, layer, replace(rows, rounding=len(ROUNDED))),
    }
    for what, (level, own, given_rows) in wrong.items():
        with pytest.raises(Failed) as caught:
            LIBRARY.linear(level, own, given_rows)
        assert caught.value.status == BAD_ARGUMENT, what
    assert LIBRARY.c.spike_level_name(count) is None
    assert LIBRARY.c.spike_self_test(count) == -1
