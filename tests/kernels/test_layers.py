"""Spiking layers on every level that this machine has give the outputs, codes and accumulators of torch, to the bit."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
from helpers.messages import naming
from spike_compressor.coding import NonFiniteInputError, Statistic, register_statistic
from spike_compressor.coding.statistics import STATISTICS
from spike_compressor.kernels import available_levels, using_level
from spike_compressor.kernels import layer as native
from spike_compressor.modality import TokenRows, rows_scope
from spike_compressor.runtime.integers import IntegerWeight
from spike_compressor.runtime.linear import SpikingLinear
from spike_compressor.runtime.neurons import Neurons
from spike_compressor.runtime.spec import LayerSpec

NATIVE = [level for level in available_levels() if level != "torch"]
MIXED = torch.tensor([[0, 1, 1, 0, 1, 0, 0]], dtype=torch.uint8)

SPECS = {
    "one T": LayerSpec({"text": 4, "vision": 4}),
    "mixed": LayerSpec({"text": 4, "vision": 2}, ratio={"text": 0.9, "vision": 1.3}),
    "T = 7": LayerSpec({"text": 7, "vision": 1}),
    "static": LayerSpec({"text": 3, "vision": 5}, threshold="static", scale={"text": 0.11, "vision": 0.05}),
    "rms": LayerSpec({"text": 7, "vision": 4}, statistic="rms", ratio={"text": 0.3, "vision": 0.8}),
    "mean_abs": LayerSpec({"text": 6, "vision": 6}, statistic="mean_abs", ratio={"text": 0.4, "vision": 1.0}),
    "csd": LayerSpec({"text": 4, "vision": 3}, coding="csd"),
    "rdoq": LayerSpec({"text": 7, "vision": 3}, "tc_lif_rdoq", statistic="rms", ratio={"text": 0.4, "vision": 0.5}),
    "unsigned": LayerSpec({"text": 4, "vision": 3}, coding="binary_unsigned"),
    "asymmetric": LayerSpec({"text": 4, "vision": 3}, coding="binary_unsigned", symmetric=False),
}
WEIGHTS = {"W4": (-8, 7, 1), "W4 groups": (-8, 7, 5), "W8": (-128, 127, 1), "W8 groups": (-128, 127, 2)}


def made(spec: LayerSpec, weights: str = "W4", backend: str = "fused", N: int = 37, K: int = 90) -> SpikingLinear:
    low, high, groups = WEIGHTS[weights]
    generator = torch.Generator().manual_seed(3)
    codes = torch.randint(low, high + 1, (N, K), generator=generator, dtype=torch.int8)
    scale = torch.rand(N, groups, generator=generator) + 0.01
    layer = torch.nn.Linear(K, N)
    layer.__class__ = SpikingLinear
    del layer._parameters["weight"]
    layer.__dict__["neurons"] = Neurons("some.layer", spec, IntegerWeight(codes, scale, 8), backend, None)
    assert layer.bias is not None
    layer.bias.data = torch.randn(N, generator=generator)
    return layer.requires_grad_(False)


def inputs(rows: int = 7, K: int = 90, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    x = torch.randn(1, rows, K, generator=torch.Generator().manual_seed(4)) * 3
    x[0, -1] = 0  # a row of zeros
    x[0, 0, :4] = torch.tensor([0.5, -0.5, 1.5, 2.5])
    return x.to(dtype)


def on_torch_and(level: str, layer: SpikingLinear, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad(), rows_scope(TokenRows(MIXED[:, : x.shape[1]])):
        with using_level("torch"):
            expected = layer(x)
        with using_level(level):
            return expected, layer(x)


@pytest.mark.parametrize("level", NATIVE)
@pytest.mark.parametrize("backend", ["fused", "unrolled"])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("spec", SPECS)
def test_outputs(spec: str, weights: str, backend: str, level: str) -> None:
    expected, found = on_torch_and(level, made(SPECS[spec], weights, backend), inputs())
    assert torch.equal(found, expected)


@pytest.mark.parametrize("level", NATIVE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_and_strides(dtype: torch.dtype, level: str) -> None:
    layer = made(SPECS["mixed"])
    expected, found = on_torch_and(level, layer, inputs(dtype=dtype))
    assert found.dtype == dtype
    assert torch.equal(found, expected)
    strided = inputs(K=180, dtype=dtype)[..., ::2]
    expected, found = on_torch_and(level, layer, strided)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("level", NATIVE)
@pytest.mark.parametrize("backend", ["fused", "unrolled"])
@pytest.mark.parametrize("spec", ["mixed", "rms", "unsigned", "asymmetric"])
def test_what_observers_are_told(spec: str, backend: str, level: str) -> None:
    layer = made(SPECS[spec], "W4 groups", backend)
    silent = torch.zeros(90, dtype=torch.bool)
    silent[::7] = True
    layer.silence(silent)
    events: list[object] = []
    layer.observers.append(lambda _, event: events.append(event))
    expected, found = on_torch_and(level, layer, inputs())
    layer.observers.clear()
    assert torch.equal(found, expected)
    assert torch.equal(on_torch_and(level, layer, inputs())[1], expected)  # the way without observers
    ours, theirs = events[1], events[0]
    for key in ("codes", "acc", "scale", "output", "timesteps", "modality"):
        assert torch.equal(getattr(ours, key), getattr(theirs, key)), key
    assert ours.saturated == theirs.saturated  # type: ignore[attr-defined]
    assert not ours.codes[:, ::7].any()  # type: ignore[attr-defined]


@pytest.fixture
def foreign() -> Iterator[str]:
    """A statistic that no kernel knows: the third largest magnitude."""
    with STATISTICS.temporarily():

        @register_statistic("third_largest")
        class ThirdLargest(Statistic):
            measured = 0

            def of_rows(self, x: torch.Tensor) -> torch.Tensor:
                ThirdLargest.measured += 1
                largest = x.to(torch.float32).abs().topk(3, dim=-1).values
                return torch.maximum(largest[..., -1], largest[..., 0] / 8)

        yield "third_largest"
        assert ThirdLargest.measured


@pytest.mark.parametrize("level", NATIVE)
@pytest.mark.parametrize("backend", ["fused", "unrolled"])
def test_kernels_are_told_scales_that_they_cannot_measure(foreign: str, level: str, backend: str) -> None:
    mixed = LayerSpec({"text": 7, "vision": 4}, statistic=foreign, ratio={"text": 0.02, "vision": 0.3})
    alike = LayerSpec({"text": 5, "vision": 5}, statistic=foreign, ratio={"text": 0.05, "vision": 0.05})
    csd = LayerSpec({"text": 4, "vision": 4}, "csd", statistic=foreign, ratio={"text": 0.1, "vision": 0.2})
    for spec in (mixed, alike, csd):
        for weights, dtype in (("W4", torch.float32), ("W8 groups", torch.bfloat16)):
            layer = made(spec, weights, backend)
            silent = torch.zeros(90, dtype=torch.bool)
            silent[::7] = True
            for silenced in (None, silent):
                layer.silence(silenced)
                expected, found = on_torch_and(level, layer, inputs(dtype=dtype))
                assert torch.equal(found, expected)


def test_layers_that_are_told_scales_share_an_encoding(foreign: str, encodings: list[int]) -> None:
    spec = LayerSpec({"text": 7, "vision": 5}, statistic=foreign, ratio={"text": 0.02, "vision": 0.3})
    query, key, other = made(spec, K=960), made(spec, "W8", K=960, N=50), made(SPECS["rms"], K=960)
    x = torch.randn(1, 49, 960)
    with torch.no_grad(), rows_scope(TokenRows(MIXED.repeat(1, 7))), using_level(NATIVE[-1]):
        query(x)
        found = key(x)
        assert len(encodings) == 1
        other(x)
        assert len(encodings) == 2
        with using_level("torch"):
            assert torch.equal(found, key(x))


@pytest.mark.parametrize("level", NATIVE)
def test_a_scale_that_cannot_be_measured_names_the_layer(foreign: str, level: str) -> None:
    x = inputs()
    x[0, 3, 88] = float("nan")
    layer = made(LayerSpec({"text": 4, "vision": 4}, statistic=foreign))
    with pytest.raises(NonFiniteInputError, match=naming("some.layer", "row 3")), using_level(level), torch.no_grad():
        layer(x)


@pytest.mark.parametrize("level", NATIVE)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_names_the_layer(bad: float, level: str) -> None:
    for spec in ("one T", "static", "rms"):
        x = inputs()
        x[0, 3, 88] = bad
        with pytest.raises(NonFiniteInputError, match=naming("some.layer", "row 3")):
            on_torch_and(level, made(SPECS[spec]), x)
        with (
            using_level(level),
            rows_scope(TokenRows(MIXED)),
            pytest.raises(NonFiniteInputError, match=naming("some.layer", "row 3")),
        ):
            made(SPECS[spec])(x)


def test_copies_have_addresses_of_their_own() -> None:
    layer = made(SPECS["mixed"])
    expected, _ = on_torch_and(NATIVE[-1], layer, inputs())
    twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    layer.neurons.present.panels.data.zero_()  # type: ignore[union-attr]
    for twin in twins:
        assert torch.equal(on_torch_and(NATIVE[-1], twin, inputs())[1], expected)
    assert not torch.equal(on_torch_and(NATIVE[-1], layer, inputs())[1], expected)


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were encoded, call by call."""
    made: list[int] = []
    encode = native.NativeLayer._encode

    def counting(self: native.NativeLayer, x: torch.Tensor, rows: native.NativeRows) -> native.Encoded:
        made.append(x.shape[-2])
        return encode(self, x, rows)

    monkeypatch.setattr(native.NativeLayer, "_encode", counting)
    return made


def test_layers_with_the_same_input_share_an_encoding(encodings: list[int]) -> None:
    spec = SPECS["mixed"]
    query, key, other = made(spec, K=960), made(spec, "W8", K=960, N=50), made(SPECS["T = 7"], K=960)
    x = torch.randn(1, 49, 960)
    rows = TokenRows(MIXED.repeat(1, 7))
    with torch.no_grad(), rows_scope(rows), using_level(NATIVE[-1]):
        query(x)
        assert encodings == [49]
        found = key(x)
        assert encodings == [49]  # the same codes
        with using_level("torch"):
            assert torch.equal(found, key(x))
        other(x)
        assert len(encodings) == 2  # another T
        query(x)
        assert len(encodings) == 3
        x.mul_(2)  # written into
        found = query(x)
        assert len(encodings) == 4
        with using_level("torch"):
            assert torch.equal(found, query(x))
        query(x.clone())
        assert len(encodings) == 5
    assert native._LAST.encoded is None  # the codes went with their rows


def test_rows_of_other_modalities_do_not_share(encodings: list[int]) -> None:
    layer, x = made(SPECS["mixed"], K=960), torch.randn(1, 49, 960)
    with torch.no_grad(), using_level(NATIVE[-1]):
        outputs = []
        for mask in (torch.zeros(1, 49, dtype=torch.uint8), torch.ones(1, 49, dtype=torch.uint8)):
            with rows_scope(TokenRows(mask)):
                outputs.append(layer(x))
    assert len(encodings) == 2
    assert not torch.equal(*outputs)


def test_a_bias_that_changes_is_seen() -> None:
    layer = made(SPECS["one T"])
    before = on_torch_and(NATIVE[-1], layer, inputs())[1]
    assert layer.bias is not None
    with torch.no_grad():
        layer.bias.add_(1)
    expected, found = on_torch_and(NATIVE[-1], layer, inputs())
    assert torch.equal(found, expected)
    assert not torch.equal(found, before)
    layer.bias = torch.nn.Parameter(layer.bias.data * 2, requires_grad=False)
    expected, found = on_torch_and(NATIVE[-1], layer, inputs())
    assert torch.equal(found, expected)
