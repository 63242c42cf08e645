"""The runtime against an independent NumPy golden model: codes, accumulators and outputs, bit for bit."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.messages import naming
from helpers.simulated_core import BACKENDS, backends
from helpers.tiny_models import randomized_linear
from spike_compressor.errors import InputError
from spike_compressor.modality import TokenRows, adapter_for, rows_scope
from spike_compressor.runtime import IntegerWeight, LayerSpec, SpikingLinear, attach, integer_weight
from spike_compressor.runtime.matmul import IntegerMatmul

pytestmark = pytest.mark.usefixtures("simulated_core")

F32 = np.float32
CODINGS = ("tc_lif", "csd", "unary", "unary_unsigned", "binary_unsigned")


#: LLaVA's, of a config alone: the one layer below has no vision tower beside it.
ADAPTER = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type="llava", image_token_id=5)))


class Holder(torch.nn.Module):
    """A model of one layer whose rows are text and vision."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.layer = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def spiking(linear: torch.nn.Linear, backend: str = "fused", **spec: Any) -> SpikingLinear:
    holder = Holder(linear)
    settings = {"timesteps": {"vision": 3, "text": 4}, **spec}
    attach(holder, {"layer": LayerSpec(**settings)}, ADAPTER, backend)
    return holder.layer


def run(layer: SpikingLinear, x: torch.Tensor, modality: list[int]) -> Any:
    events = []
    layer.observers.append(lambda _, event: events.append(event))
    with rows_scope(TokenRows(torch.tensor([modality], dtype=torch.uint8))), torch.no_grad():
        out = layer(x)
    layer.observers.pop()
    return out, events[0]


# The golden model: nothing of it is taken from the package.


def golden_scale(x: np.ndarray, T: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    absmax = np.abs(x).max(axis=1)
    scale = (ratio.astype(F32) * absmax) / (2**T - 1).astype(F32)
    return np.where(scale == 0, F32(1), scale).astype(F32)


def golden_mean(x: np.ndarray, squared: bool) -> np.ndarray:
    """Root mean square or mean magnitude of rows float32, in Python's integers."""
    means = []
    for row in np.abs(x).astype(np.float64):
        exponent = math.frexp(row.max())[1]
        units = [math.floor(math.ldexp(value, 18 - exponent)) for value in row]
        mean = sum(unit * unit if squared else unit for unit in units) / len(units)
        means.append(math.ldexp(math.sqrt(mean) if squared else mean, exponent - 18))
    return np.array(means).astype(F32)


def golden_neuron(x: np.ndarray, scale: np.ndarray, T: np.ndarray) -> np.ndarray:
    """Fire and reset, one neuron row at a time; membranes in float64, which holds |y| + 1/2 of float32 exactly."""
    codes = np.zeros(x.shape, np.int64)
    for m in range(len(x)):
        y = x[m] / scale[m]
        assert y.dtype == F32
        membrane = np.abs(y).astype(np.float64) + 0.5
        for t in range(T[m]):
            theta = 2 ** (T[m] - 1 - t)
            fire = membrane >= theta
            membrane = membrane - theta * fire
            codes[m] += theta * np.sign(y).astype(np.int64) * fire
    return codes


def golden_asymmetric(x: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, scale, zero point of rows that have a zero point."""
    codes = np.zeros(x.shape, np.int64)
    scales, zeros = [], []
    for m in range(len(x)):
        last = F32(2 ** (T[m] + 1) - 1)
        low, high = min(x[m].min(), F32(0)), max(x[m].max(), F32(0))
        scale = F32(F32(high - low) / last) or F32(1)
        zero = min(int(np.floor(np.float64(F32(-low / scale)) + 0.5)), int(last))
        y = (x[m] / scale).astype(np.float64)
        levels = (np.sign(y) * np.floor(np.abs(y) + 0.5)).astype(np.int64) + zero
        codes[m] = np.clip(levels, 0, int(last)) - zero
        scales.append(scale)
        zeros.append(zero)
    return codes, np.array(scales, F32), np.array(zeros)


def golden_acc(codes: np.ndarray, weight: np.ndarray, groups: int) -> np.ndarray:
    M, N = len(codes), len(weight)
    products = np.einsum("mgk,ngk->mng", codes.reshape(M, groups, -1), weight.reshape(N, groups, -1).astype(np.int64))
    return products if groups > 1 else products[:, :, 0]


def golden_output(acc: np.ndarray, act: np.ndarray, scale: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    if acc.ndim == 2:
        out = (acc.astype(F32) * act[:, None]) * scale[:, 0]
    else:
        out = np.zeros(acc.shape[:2], F32)
        for g in range(acc.shape[2]):
            term = (acc[:, :, g].astype(F32) * act[:, None]) * scale[:, g]
            out = term if g == 0 else out + term
    return out if bias is None else out + bias


def weights_of(linear: torch.nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    """Integer codes and scales [N, G], worked out from the float weights by hand."""
    args = linear.quantization_scheme.weights
    scale = linear.weight_scale.detach().numpy()
    scale = scale.reshape(len(scale) if scale.ndim == 2 else 1, -1)
    scale = np.broadcast_to(scale, (linear.out_features, scale.shape[1]))
    wide = np.repeat(scale, linear.in_features // scale.shape[1], axis=1)
    zero = 0
    if not args.symmetric:
        zero = linear.weight_zero_point.detach().numpy().astype(np.float64)
        zero = np.broadcast_to(zero.reshape(-1, zero.shape[-1] if zero.ndim == 2 else 1), scale.shape)
        zero = np.repeat(zero, linear.in_features // scale.shape[1], axis=1)
    limit = 2 ** (args.num_bits - 1)
    codes = np.clip(np.round(linear.weight.detach().numpy() / wide + zero), -limit, limit - 1) - zero
    return codes.astype(np.int64), scale.astype(F32)


def inputs(M: int, K: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(M, K, generator=generator) * torch.logspace(-3, 3, max(M, 1))[:M, None]
    if M > 2:
        x[1] = 0  # a row of zeros has scale 1
        x[2, : K // 2] = x[2].abs().max() / 7 * torch.randint(-14, 15, (K // 2,), generator=generator) / 2  # ties
    return x.to(dtype)


MIXED = [0, 1, 1, 0, 1, 0, 0]
WEIGHTS = {
    "channel": {"strategy": "channel"},
    "tensor": {"strategy": "tensor"},
    "group": {"strategy": "group", "group_size": 15},
    "asymmetric": {"strategy": "channel", "symmetric": False},
    "asymmetric group": {"strategy": "group", "group_size": 9, "symmetric": False},
    "8 bits": {"strategy": "channel", "num_bits": 8},
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("coding", CODINGS)
def test_codes_accumulators_and_output_are_the_golden_models(coding: str, weights: str) -> None:
    x = inputs(7, 45)
    T = np.where(np.array(MIXED) == 1, 3, 4)
    ratio = np.where(np.array(MIXED) == 1, 0.8, 1.3).astype(F32)
    for bias in (True, False):
        linear = randomized_linear(19, 45, bias=bias, **WEIGHTS[weights])
        codes, scales = weights_of(linear)
        act = golden_scale(x.numpy(), T, ratio)
        q = golden_neuron(x.numpy(), act, T)
        acc = golden_acc(q, codes, scales.shape[1])
        out = golden_output(acc, act, scales, linear.bias.detach().numpy() if bias else None)
        for backend in backends(coding):
            layer = spiking(
                randomized_linear(19, 45, bias=bias, **WEIGHTS[weights]),
                backend,
                coding=coding,
                ratio={"vision": 0.8, "text": 1.3},
            )
            got, event = run(layer, x, MIXED)
            assert event.acc.dtype == torch.int32
            np.testing.assert_array_equal(event.codes.numpy(), q)
            np.testing.assert_array_equal(event.acc.numpy(), acc)
            np.testing.assert_array_equal(event.scale.numpy(), act)
            np.testing.assert_array_equal(got.numpy(), out)
            np.testing.assert_array_equal(event.timesteps.numpy(), T)
            assert event.modality.tolist() == MIXED


@pytest.mark.parametrize("statistic", ["rms", "mean_abs"])
def test_rows_by_their_means_are_the_golden_models(statistic: str) -> None:
    x = inputs(7, 45)
    T = np.where(np.array(MIXED) == 1, 4, 7)
    ratio = np.where(np.array(MIXED) == 1, 0.8, 0.05).astype(F32)
    mean = golden_mean(x.numpy(), statistic == "rms")
    act = np.where(mean == 0, F32(1), ratio * mean).astype(F32)
    codes, scales = weights_of(randomized_linear(19, 45, bias=False, **WEIGHTS["group"]))
    q = golden_neuron(x.numpy(), act, T)
    for backend in BACKENDS:
        linear = randomized_linear(19, 45, bias=False, **WEIGHTS["group"])
        timesteps, ratios = {"vision": 4, "text": 7}, {"vision": 0.8, "text": 0.05}
        layer = spiking(linear, backend, timesteps=timesteps, ratio=ratios, statistic=statistic)
        got, event = run(layer, x, MIXED)
        acc = golden_acc(q, codes, scales.shape[1])
        np.testing.assert_array_equal(event.scale.numpy(), act)
        np.testing.assert_array_equal(event.codes.numpy(), q)
        np.testing.assert_array_equal(event.acc.numpy(), acc)
        np.testing.assert_array_equal(got.numpy(), golden_output(acc, act, scales, None))


@pytest.mark.parametrize("coding", ["binary_unsigned", "unary_unsigned"])
@pytest.mark.parametrize("static", [False, True])
def test_asymmetric_rows_with_zero_points(coding: str, static: bool) -> None:
    x = inputs(7, 33) + torch.linspace(-3, 3, 7)[:, None]
    T = np.where(np.array(MIXED) == 1, 3, 4)
    linear = randomized_linear(8, 33)
    codes, scales = weights_of(linear)
    spec: dict[str, Any] = {"coding": coding, "symmetric": False}
    if static:
        step, zero = {"vision": 0.37, "text": 0.11}, {"vision": 3, "text": 20}
        spec |= {"threshold": "static", "scale": step, "zero_point": zero}
        act = np.where(np.array(MIXED) == 1, F32(0.37), F32(0.11)).astype(F32)
        z = np.where(np.array(MIXED) == 1, 3, 20)
        y = (x.numpy() / act[:, None]).astype(np.float64)
        levels = np.sign(y) * np.floor(np.abs(y) + 0.5) + z[:, None]
        q = (np.clip(levels, 0, (2 ** (T + 1) - 1)[:, None]) - z[:, None]).astype(np.int64)
    else:
        q, act, z = golden_asymmetric(x.numpy(), T)
    acc = golden_acc(q, codes, 1)
    out = golden_output(acc, act, scales, linear.bias.detach().numpy())
    for backend in ("fused", "unrolled"):
        got, event = run(spiking(randomized_linear(8, 33), backend, **spec), x, MIXED)
        np.testing.assert_array_equal(event.codes.numpy(), q)
        np.testing.assert_array_equal(event.zero_point.numpy(), z)
        np.testing.assert_array_equal(event.acc.numpy(), acc)
        np.testing.assert_array_equal(got.numpy(), out)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_inputs_of_half_precision_go_through_float32(dtype: torch.dtype) -> None:
    x = inputs(7, 45)
    x = (x / x.abs().max() * 1000).to(dtype)
    linear = randomized_linear(19, 45)
    codes, scales = weights_of(linear)
    T = np.where(np.array(MIXED) == 1, 3, 4)
    wide = x.float().numpy()
    act = golden_scale(wide, T, np.ones(7, F32))
    out = golden_output(golden_acc(golden_neuron(wide, act, T), codes, 1), act, scales, linear.bias.detach().numpy())
    for backend in BACKENDS:
        got, _ = run(spiking(randomized_linear(19, 45), backend), x, MIXED)
        assert got.dtype == dtype
        assert torch.equal(got, torch.from_numpy(out).to(dtype))


@pytest.mark.parametrize("T", range(1, 8))
def test_every_t_with_static_thresholds(T: int) -> None:
    x = inputs(7, 24, seed=T)
    linear = randomized_linear(5, 24)
    codes, scales = weights_of(linear)
    act = np.where(np.array(MIXED) == 1, F32(0.25), F32(0.013)).astype(F32)
    q = golden_neuron(x.numpy(), act, np.full(7, T))
    for backend in BACKENDS:
        layer = spiking(
            randomized_linear(5, 24),
            backend,
            timesteps={"vision": T, "text": T},
            threshold="static",
            scale={"vision": 0.25, "text": float(F32(0.013))},
        )
        got, event = run(layer, x, MIXED)
        np.testing.assert_array_equal(event.codes.numpy(), q)
        expected = golden_output(golden_acc(q, codes, 1), act, scales, linear.bias.detach().numpy())
        np.testing.assert_array_equal(got.numpy(), expected)
        assert event.saturated == int((np.abs(x.numpy() / act[:, None]) >= 2**T - 0.5).sum())


@pytest.mark.parametrize("backend", ["fused", "unrolled"])
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row(rows: int, coding: str, backend: str) -> None:
    layer = spiking(randomized_linear(6, 10), backend, coding=coding)
    out, event = run(layer, inputs(rows, 10), [1] * rows)
    assert out.shape == (rows, 6)
    assert event.acc.shape == (rows, 6)


def test_the_shape_of_the_input_is_kept() -> None:
    layer = spiking(randomized_linear(6, 10))
    x = inputs(6, 10)
    flat, _ = run(layer, x, [0, 1, 0, 1, 1, 1])
    with rows_scope(TokenRows(torch.tensor([[0, 1, 0], [1, 1, 1]], dtype=torch.uint8))):
        assert torch.equal(layer(x.view(2, 3, 10)).detach(), flat.view(2, 3, 6))


def test_silencing_a_neuron_takes_exactly_its_contribution_away() -> None:
    x = inputs(7, 45)
    for coding in CODINGS:
        for backend in backends(coding):
            layer = spiking(randomized_linear(19, 45, bias=False), backend, coding=coding)
            _, before = run(layer, x, MIXED)
            k = int(before.codes.ne(0).sum(0).argmax())
            layer.silence(torch.arange(45) == k)
            _, after = run(layer, x, MIXED)
            column = before.codes[:, k : k + 1].to(torch.int32) * layer.integer.codes[:, k].to(torch.int32)
            assert column.ne(0).any()
            assert torch.equal(before.acc - after.acc, column)
            assert not after.codes[:, k].any()
            layer.silence(None)
            assert torch.equal(run(layer, x, MIXED)[1].acc, before.acc)
    with pytest.raises(InputError, match=naming("layer", "neurons", "bool", [45])):
        layer.silence(torch.zeros(44, dtype=torch.bool))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("spec", [{}, {"threshold": "static", "scale": {"vision": 0.1, "text": 0.1}}])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_number_that_is_none_is_refused_by_the_layers_name(bad: float, spec: dict[str, Any], backend: str) -> None:
    x = inputs(7, 45)
    x[4, 3] = bad
    layer = spiking(randomized_linear(19, 45), backend, **spec)
    with pytest.raises(
        ValueError, match=naming("layer layer", "1 NaN" if math.isnan(bad) else "1 infinite", "row 4 of 7")
    ):
        run(layer, x, MIXED)


# Integer matrix products


def matmul_case(K: int, N: int, groups: int, limit: int, seed: int = 0) -> tuple[IntegerWeight, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-128, 128, (N, K), generator=generator, dtype=torch.int8)
    x = torch.randint(-limit, limit + 1, (5, K), generator=generator, dtype=torch.int8)
    return IntegerWeight(codes, torch.ones(N, groups), 8), x


@pytest.mark.parametrize(("K", "N", "groups"), [(45, 19, 1), (1, 1, 1), (60, 7, 5), (128, 33, 2)])
def test_both_kernels_give_the_same_integers(K: int, N: int, groups: int) -> None:
    weight, x = matmul_case(K, N, groups, 127)
    wide = torch.einsum("mgk,ngk->mng", x.long().view(5, groups, -1), weight.codes.long().view(N, groups, -1)).squeeze(
        2
    )
    for kernel in ("int8", "float"):
        result = IntegerMatmul(weight, 127, "layer", kernel=kernel)(x)
        assert result.dtype == torch.int32
        assert torch.equal(result.long(), wide.view(result.shape))
    # asymmetric codes come as int16
    assert torch.equal(IntegerMatmul(weight, 127, "layer", kernel="int8")(x.to(torch.int16)).long(), wide)


def test_prompts_leave_no_float_weights_behind() -> None:
    """Kept floats would take four times the memory of the codes; token after token they are worth it."""
    weight = IntegerWeight(torch.randint(-8, 8, (24, 96)).to(torch.int8), torch.ones(24, 3), 4)
    matmul = IntegerMatmul(weight, 15, "layer", kernel="float")
    codes = torch.randint(-15, 16, (80, 96)).to(torch.int8)
    whole = matmul(codes)
    assert matmul._floats is None
    assert torch.equal(matmul(codes[:1]), whole[:1])
    assert matmul._floats is not None
    assert torch.equal(matmul(codes), whole)


def test_products_beyond_float32_are_exact() -> None:
    K = 4096
    weight = IntegerWeight(torch.full((3, K), 127, dtype=torch.int8), torch.ones(3, 1), 8)
    x = torch.full((2, K), 127, dtype=torch.int8)
    x[1, -1] = 126  # an odd sum above 2^24 has no float32
    matmul = IntegerMatmul(weight, 127, "layer", kernel="float")
    assert matmul.bound == 127 * 127 * K > 2**24
    assert matmul(x).tolist() == [[127 * 127 * K] * 3, [127 * (127 * K - 1)] * 3]


def test_minus_128_counts_as_128_in_the_bound() -> None:
    weight = IntegerWeight(torch.full((1, 1000), -128, dtype=torch.int8), torch.ones(1, 1), 8)
    assert IntegerMatmul(weight, 127, "layer").bound == 128 * 127 * 1000


def test_an_accumulator_that_could_overflow_is_refused() -> None:
    K = 140_000
    weight = IntegerWeight(torch.full((1, K), 127, dtype=torch.int8), torch.ones(1, 1), 8)
    with pytest.raises(InputError, match=naming("big.layer", "int32", 127 * 127 * K)):
        IntegerMatmul(weight, 127, "big.layer")
    IntegerMatmul(weight, 7, "big.layer")


def test_codes_too_large_for_the_int8_kernel_are_refused() -> None:
    weight, _ = matmul_case(8, 8, 1, 1)
    with pytest.raises(InputError, match=naming("layer", 255, "int8")):
        IntegerMatmul(weight, 255, "layer", kernel="int8")
    with pytest.raises(InputError, match=naming("'int4'", "int8", "float")):
        IntegerMatmul(weight, 7, "layer", kernel="int4")


@pytest.mark.parametrize("weights", WEIGHTS)
def test_integer_weights_are_those_of_the_checkpoint(weights: str) -> None:
    linear = randomized_linear(19, 45, **WEIGHTS[weights])
    codes, scales = weights_of(linear)
    integer = integer_weight(linear, "layer")
    assert integer.codes.dtype == torch.int8
    np.testing.assert_array_equal(integer.codes.numpy(), codes)
    np.testing.assert_array_equal(integer.scale.numpy(), scales)
    assert integer.bits == linear.quantization_scheme.weights.num_bits
