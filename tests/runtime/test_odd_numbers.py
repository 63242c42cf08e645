"""Zeros, NaN, outliers, subnormal numbers, K = 1, no row, the edge of int32: the same everywhere, or one error.

The golden model says what comes out; the RTL computes the same rows, as a backend and from a bundle
(tb/test_run_trace.py).
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import spike_compressor
import torch
from helpers.messages import naming
from helpers.odd_rows import golden_layer, odd_rows
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.coding import NonFiniteInputError
from spike_compressor.errors import InputError
from spike_compressor.kernels import available_levels, using_level
from spike_compressor.modality import TokenRows, adapter_for, rows_scope
from spike_compressor.runtime import IntegerWeight, LayerSpec, SpikingLinear, attach
from spike_compressor.runtime.matmul import IntegerMatmul
from spike_compressor.runtime.reference import integer_activations
from spike_compressor.trace import codes_from_membranes, membranes
from torch import Tensor, nn

ADAPTER = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type="llama")))
LEVELS = available_levels()
#: Backends and levels of the kernels. That levels agree on random and on odd numbers is tested where they are, too.
WAYS = [*(("fused", level) for level in LEVELS), ("unrolled", LEVELS[0]), ("unrolled", LEVELS[-1])]

SPECS = {
    "T = 1": LayerSpec({"text": 1}),
    "T = 7": LayerSpec({"text": 7}),
    "ratio 2": LayerSpec({"text": 4}, ratio={"text": 2.0}),
    "ratio 1/2": LayerSpec({"text": 4}, ratio={"text": 0.5}),
    "static": LayerSpec({"text": 4}, threshold="static", scale={"text": 0.05}),
    "static, tiny": LayerSpec({"text": 4}, threshold="static", scale={"text": 1e-44}),
    "rms": LayerSpec({"text": 7}, statistic="rms", ratio={"text": 0.3}),
    "mean_abs": LayerSpec({"text": 7}, statistic="mean_abs", ratio={"text": 2.0}),
    "csd": LayerSpec({"text": 7}, coding="csd"),
    "rdoq": LayerSpec({"text": 7}, coding="tc_lif_rdoq"),
    "unary": LayerSpec({"text": 4}, coding="unary"),
    "unsigned": LayerSpec({"text": 6}, coding="binary_unsigned"),
    "asymmetric": LayerSpec({"text": 4}, coding="binary_unsigned", symmetric=False),
    "groups of four": LayerSpec({"text": 6}, coding="group4", statistic="rms", ratio={"text": 0.4}),
}


class Model(nn.Module):
    """One spiking layer with given integers."""

    def __init__(self, spec: LayerSpec, arrays: dict[str, Any], backend: str = "fused") -> None:
        super().__init__()
        from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, QuantizationStatus

        N, K = arrays["weight"].shape
        self.layer = nn.Linear(K, N)
        self.config = SimpleNamespace(model_type="llama", _name_or_path="")
        scale = torch.from_numpy(arrays["weight_scale"].reshape(N, -1))
        weights: dict[str, Any] = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
        if scale.shape[1] > 1:
            weights |= {"strategy": "group", "group_size": K // scale.shape[1]}
        self.layer.quantization_scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
        self.layer.quantization_status = QuantizationStatus.COMPRESSED
        self.layer.weight = nn.Parameter(torch.from_numpy(arrays["weight"]), requires_grad=False)
        self.layer.weight_scale = nn.Parameter(scale, requires_grad=False)
        self.layer.bias = nn.Parameter(torch.from_numpy(arrays["bias"]))
        attach(self, {"layer": spec}, ADAPTER, backend)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def run(model: Model, x: Tensor, level: str | None = None) -> tuple[Tensor, Any]:
    """Outputs, and what an observer is told; with and without one the outputs are the same."""
    events: list[Any] = []
    layer: SpikingLinear = model.layer
    rows = TokenRows(torch.zeros(1, len(x), dtype=torch.uint8))
    with torch.no_grad(), rows_scope(rows), using_level(level or "torch"):
        out = model(x)
        layer.observers.append(lambda _, event: events.append(event))
        watched = model(x)
        layer.observers.clear()
    assert bits(out) == bits(watched)
    return out, events[0]


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


@pytest.mark.parametrize(("K", "groups"), [(45, 1), (45, 3), (45, 45), (1, 1)])
@pytest.mark.parametrize(("T", "coding"), [(1, "tc_lif"), (7, "tc_lif"), (7, "csd"), (1, "tc_lif_rdoq")])
def test_every_way_gives_the_golden_models_numbers(T: int, coding: str, K: int, groups: int) -> None:
    want = golden_layer(T, K, coding, groups)
    x = torch.from_numpy(want["x"])
    for backend, level in WAYS:
        model = Model(LayerSpec({"text": T}, coding), want, backend)
        out, event = run(model, x, level)
        for key, found in (("codes", event.codes), ("acc", event.acc), ("act_scale", event.scale), ("output", out)):
            np.testing.assert_array_equal(found.numpy(), want[key], f"{key} of {backend}, {level}")
        with using_level(level), integer_activations(model):
            assert bits(model(x)) == bits(out), (backend, level)


@pytest.mark.usefixtures("simulated_core")
@pytest.mark.parametrize(("K", "groups"), [(45, 1), (45, 3), (1, 1)])
@pytest.mark.parametrize(("T", "coding"), [(1, "tc_lif"), (7, "tc_lif"), (7, "csd")])
def test_the_simulated_core_gives_them_too(T: int, coding: str, K: int, groups: int) -> None:
    want = golden_layer(T, K, coding, groups)
    out, event = run(Model(LayerSpec({"text": T}, coding), want, "rtl"), torch.from_numpy(want["x"]))
    for key, found in (("codes", event.codes), ("acc", event.acc), ("act_scale", event.scale), ("output", out)):
        np.testing.assert_array_equal(found.numpy(), want[key], key)


@pytest.mark.parametrize("K", [45, 1])
@pytest.mark.parametrize("spec", SPECS)
def test_every_way_agrees_on_other_thresholds_and_codings(spec: str, K: int) -> None:
    arrays = golden_layer(7, K)
    x = torch.from_numpy(arrays["x"])
    expected, first = run(Model(SPECS[spec], arrays), x)
    for backend, level in WAYS:
        out, event = run(Model(SPECS[spec], arrays, backend), x, level)
        assert bits(out) == bits(expected), (backend, level)
        assert torch.equal(event.codes, first.codes)
        assert torch.equal(event.acc, first.acc)
        assert event.saturated == first.saturated
    with integer_activations(model := Model(SPECS[spec], arrays)):
        assert bits(model(x)) == bits(expected)


def test_compiled_code_gives_the_same_bits() -> None:
    torch._dynamo.reset()
    for K in (45, 1):
        arrays = golden_layer(7, K)
        model = Model(SPECS["T = 7"], arrays)
        compiled = torch.compile(model.layer, backend="aot_eager", fullgraph=True)
        for rows in (slice(None), slice(0)):
            x = torch.from_numpy(arrays["x"])[rows]
            with torch.no_grad():
                assert bits(compiled(x)) == bits(model(x))
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_what_they_are_in_float32(dtype: torch.dtype) -> None:
    arrays = golden_layer(7)
    x = torch.from_numpy(arrays["x"]).to(dtype)
    x = x[x.isfinite().all(dim=1)]  # what float16 does not hold
    assert len(x) > 5
    if dtype == torch.float64:
        x[0, 0] = 1e-300  # no float32 but 0
    for backend, level in WAYS:
        model = Model(SPECS["T = 7"], arrays, backend)
        out, _ = run(model, x, level)
        assert out.dtype == dtype
        assert bits(out) == bits(run(model, x.to(torch.float32))[0].to(dtype)), (backend, level)


@pytest.mark.parametrize(("bad", "dtype"), [(float("nan"), None), (float("-inf"), None), (1e300, torch.float64)])
def test_no_number_is_refused_by_layer_and_row_everywhere(bad: float, dtype: torch.dtype | None) -> None:
    arrays = golden_layer(7)
    x = torch.from_numpy(arrays["x"]).to(dtype or torch.float32)
    x[4, 3] = bad
    model = Model(SPECS["T = 7"], arrays)
    refused = pytest.raises(NonFiniteInputError, match=naming("layer layer", "row 4"))
    for backend, level in WAYS:
        with refused:
            run(Model(SPECS["T = 7"], arrays, backend), x, level)
    with refused, integer_activations(model):
        model(x)
    with refused:
        torch.compile(model.layer, backend="aot_eager")(x)
    with pytest.raises(ValueError, match=naming("finite", "row 4")), np.errstate(over="ignore"):
        membranes(x.numpy().astype(np.float32), arrays["act_scale"], arrays["timesteps"], 8)


@pytest.mark.parametrize("spec", SPECS)
def test_no_row(spec: str) -> None:
    arrays = golden_layer(7)
    for backend, level in ((backend, level) for backend in ("fused", "unrolled") for level in (LEVELS[0], LEVELS[-1])):
        out, event = run(Model(SPECS[spec], arrays, backend), torch.zeros(0, 45), level)
        assert (out.shape, event.acc.shape, event.codes.shape) == ((0, 7), (0, 7), (0, 45))
    none = np.zeros((0, 45), np.float32)
    scale, T = np.zeros(0, np.float32), np.zeros(0, np.uint8)
    assert codes_from_membranes(membranes(none, scale, T, 8), T, 8).shape == (0, 45)


def test_outputs_beyond_float32_are_infinite_and_the_next_layer_says_so() -> None:
    arrays = golden_layer(7)
    row = list(odd_rows(45)).index("the largest")
    assert np.isinf(arrays["output"][row]).any()
    out, _ = run(Model(SPECS["T = 7"], arrays), torch.from_numpy(arrays["x"]))
    following = Model(SPECS["T = 7"], golden_layer(7, K=7))
    with pytest.raises(NonFiniteInputError, match=naming("layer layer", "infinite", f"row {row}")):
        run(following, out)


@pytest.mark.parametrize("coding", ["tc_lif", "csd"])
def test_sums_up_to_the_edge_of_int32_are_exact_and_one_input_more_is_refused(coding: str) -> None:
    """Partial sums of csd pass beyond the edge and come back."""
    K = (2**31 - 1) // (127 * 128)
    arrays: dict[str, Any] = {
        "weight": np.full((2, K), -128, np.int8),
        "weight_scale": np.ones((2, 1), np.float32),
        "bias": np.zeros(2, np.float32),
    }
    x = torch.ones(3, K)
    x[1] = -1
    for backend, level in WAYS:
        _, event = run(Model(LayerSpec({"text": 7}, coding), arrays, backend), x, level)
        assert event.acc.tolist() == [[-127 * 128 * K] * 2, [127 * 128 * K] * 2, [-127 * 128 * K] * 2], (backend, level)
    arrays["weight"] = np.full((2, K + 1), -128, np.int8)
    with pytest.raises(InputError, match=naming("layer", "int32", 127 * 128 * (K + 1))):
        Model(LayerSpec({"text": 7}, coding), arrays)


def test_torchs_8_bit_product_is_not_asked_for_one_input() -> None:
    """Its kernel for processors with 8-bit products leaves such sums unwritten, as torch 2.13 has it."""
    weight = IntegerWeight(torch.randint(-128, 128, (7, 3), dtype=torch.int8), torch.ones(7, 3), 8)
    codes = torch.randint(-127, 128, (5, 3), dtype=torch.int8)
    want = codes.long()[:, None] * weight.codes.long()
    for _ in range(5):
        assert torch.equal(IntegerMatmul(weight, 127, "layer", kernel="int8")(codes).long(), want)


def test_padding_alone_computes_counts_nothing_and_leaves_no_trace(workshop: Workshop, tmp_path: Path) -> None:
    model, _ = workshop.made("llama", recipe(RTN, "attention: {timesteps: 4}"))
    ids = torch.zeros(2, 5, dtype=torch.long)
    batch = {"input_ids": ids, "attention_mask": ids}
    with torch.no_grad(), spike_compressor.record_spikes(model) as record:
        assert model(**batch).logits.isfinite().all()
    assert record.tokens == {"text": 0}
    assert (record.sops_per_token("text"), record.mean_timesteps(), record.layers) == (0, 0, {})
    for tokens in (None, 3):
        with pytest.raises(InputError, match=naming("no spiking layer ran", "padding")):
            spike_compressor.export_trace(model, batch, tmp_path / "trace", tokens=tokens)
    name = next(iter(spike_compressor.runtime.spiking_layers(model)))
    with pytest.raises(InputError, match=naming(name, "padding")):
        spike_compressor.export_trace(model, batch, tmp_path / "trace", layers=[name])
    assert not list(tmp_path.iterdir())
