"""The CUDA path on the CPU: Triton's interpreter runs its kernels, its compiler translates them for absent devices.

Where there is no Triton, or it is not told to interpret (`make test-cuda` does both), what needs it is skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.messages import naming
from spike_compressor.coding import NonFiniteInputError, absmax_scale, get_statistic, quantize_rows, row_scale
from spike_compressor.kernels import CudaLayer, NativeRows, cuda
from spike_compressor.kernels.layer import NotFiniteError
from spike_compressor.modality import TokenRows, rows_scope
from spike_compressor.runtime.integers import IntegerWeight
from spike_compressor.runtime.linear import SpikingLinear
from spike_compressor.runtime.neurons import Neurons
from spike_compressor.runtime.spec import LayerSpec

CPU = torch.device("cpu")
interpreted = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1" or cuda._kernels() is None, reason="Triton's interpreter; make test-cuda"
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hard(M: int, K: int, dtype: torch.dtype) -> torch.Tensor:
    """Zero rows, ties, the float below one half, the largest and the smallest numbers, overflow of the scale."""
    x = random(M, K) * 3
    x[0] = 0
    x[1] = (torch.arange(K) - K // 2) / 2
    x[2, :3] = torch.tensor([0.49999997, -0.49999997, 1.0])[:K]
    x[3] = 1e-44
    x[4] *= min(torch.finfo(dtype).max, torch.finfo(torch.float32).max) / 16
    return x.to(dtype)


def rows(
    T: Any,
    ratio: Any = 1.0,
    scale: Any = None,
    silenced: torch.Tensor | None = None,
    statistic: str = "absmax",
    rounding: int = 0,
) -> NativeRows:
    def tensor(value: Any, dtype: torch.dtype) -> torch.Tensor:
        return torch.as_tensor(value, dtype=dtype).reshape(-1)

    return NativeRows(
        tensor(T, torch.int32),
        tensor(ratio, torch.float32),
        None if scale is None else tensor(scale, torch.float32),
        silenced,
        get_statistic(statistic).native,
        rounding=rounding,
    )


def layer(N: int = 24, K: int = 40, groups: int = 1) -> CudaLayer:
    generator = torch.Generator().manual_seed(N)
    codes = torch.randint(-128, 128, (N, K), generator=generator).to(torch.int8)
    return CudaLayer(codes, torch.rand(groups, N, generator=generator))


@interpreted
class TestEncode:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
    @pytest.mark.parametrize("K", [1, 40, 67])
    @pytest.mark.parametrize("statistic", ["absmax", "rms", "mean_abs"])
    def test_dynamic_scales(self, dtype: torch.dtype, K: int, statistic: str) -> None:
        x = hard(9, K, dtype)
        each = torch.tensor([1, 2, 3, 4, 5, 6, 7, 1, 4])
        ratios = torch.linspace(0.4, 2.0, 9)
        for T, ratio in ((4, 1.0), (1, 0.7), (each, 1.0), (3, ratios), (each, ratios)):
            scale = row_scale(x, T, ratio, statistic)
            codes, clipped = quantize_rows(x, scale, T)
            found = layer(K=K).encode(x, rows(T, ratio, statistic=statistic))
            assert torch.equal(found.scale, scale)
            assert torch.equal(found.codes, codes)
            assert found.clipped == clipped

    @pytest.mark.parametrize("statistic", ["rms", "mean_abs"])
    def test_means_of_rows_of_any_size(self, statistic: str) -> None:
        """Each exponent that float32 has, rows of one number beside zeros, rows longer than a block."""
        x = random(64, 40) * torch.logspace(-44, 37, 64, dtype=torch.float64).unsqueeze(1).to(torch.float32)
        x[::7, 1:] = 0
        for values in (x, random(3, 9001)):
            found = layer(K=values.shape[1]).encode(values, rows(7, 0.3, statistic=statistic))
            assert torch.equal(found.scale, row_scale(values, 7, 0.3, statistic))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_static_scales(self, dtype: torch.dtype) -> None:
        x = hard(9, 40, dtype)
        T = torch.tensor([1, 2, 3, 4, 5, 6, 7, 1, 4])
        for scale in (0.5, 1e-40, torch.rand(9, generator=torch.Generator().manual_seed(1)) + 0.1):
            for rounding, coding in enumerate(("tc_lif", "tc_lif_rdoq")):
                codes, clipped = quantize_rows(x, scale, T, coding)
                found = layer().encode(x, rows(T, scale=scale, rounding=rounding))
                assert torch.equal(found.codes, codes)
                assert found.clipped == clipped > 0

    def test_silenced_neurons_are_clipped_first(self) -> None:
        x = hard(9, 40, torch.float32)
        silenced = torch.zeros(40, dtype=torch.bool)
        silenced[::3] = True
        codes, clipped = quantize_rows(x, 0.5, 3)
        found = layer().encode(x, rows(3, scale=0.5, silenced=silenced))
        assert torch.equal(found.codes, codes.masked_fill(silenced, 0))
        assert found.clipped == clipped

    def test_long_rows_and_strides(self) -> None:
        x = random(3, 2 * 9001)[:, ::2]
        assert torch.equal(layer(K=9001).encode(x, rows(4)).codes, quantize_rows(x, absmax_scale(x, 4), 4)[0])
        x = random(3, 60)[:, 10:50]
        assert torch.equal(layer().encode(x, rows(4)).codes, quantize_rows(x, absmax_scale(x, 4), 4)[0])
        x = random(2, 3, 40)
        assert torch.equal(layer().encode(x, rows(4)).codes, quantize_rows(x, absmax_scale(x, 4), 4)[0].view(6, 40))

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize(("scale", "statistic"), [(None, "absmax"), (0.5, "absmax"), (None, "rms")])
    def test_what_is_not_finite(self, bad: float, scale: float | None, statistic: str) -> None:
        x = random(3, 40)
        x[1, 39] = bad
        with pytest.raises(NotFiniteError):
            layer().encode(x, rows(4, scale=scale, statistic=statistic))
        with pytest.raises(NotFiniteError):
            layer().encode(torch.full((1, 40), 1e300, dtype=torch.float64), rows(4))

    def test_no_rows(self) -> None:
        found = layer().encode(torch.zeros(0, 40), rows(4))
        assert (found.codes.shape, found.clipped) == ((0, 40), 0)
        assert layer().linear(torch.zeros(2, 0, 40), rows(4), None).shape == (2, 0, 24)


SPECS = {
    "one T": LayerSpec({"text": 4, "vision": 4}),
    "mixed": LayerSpec({"text": 7, "vision": 2}, ratio={"text": 0.9, "vision": 1.3}),
    "static": LayerSpec({"text": 3, "vision": 5}, threshold="static", scale={"text": 0.11, "vision": 0.05}),
    "csd": LayerSpec({"text": 4, "vision": 3}, coding="csd"),
    "rdoq": LayerSpec({"text": 7, "vision": 3}, "tc_lif_rdoq", statistic="rms", ratio={"text": 0.4, "vision": 0.5}),
    "rms": LayerSpec({"text": 7, "vision": 4}, statistic="rms", ratio={"text": 0.3, "vision": 0.8}),
    "mean_abs": LayerSpec({"text": 6, "vision": 6}, statistic="mean_abs", ratio={"text": 0.4, "vision": 1.0}),
}


def spiking(spec: LayerSpec, groups: int, backend: str = "fused", N: int = 37, K: int = 90) -> SpikingLinear:
    """A layer whose neurons have the CUDA kernels, on the CPU."""
    generator = torch.Generator().manual_seed(3)
    codes = torch.randint(-128, 128, (N, K), generator=generator, dtype=torch.int8)
    scale = torch.rand(N, groups, generator=generator) - 0.3
    linear = torch.nn.Linear(K, N)
    linear.__class__ = SpikingLinear
    del linear._parameters["weight"]
    neurons = Neurons("some.layer", spec, IntegerWeight(codes, scale, 8), backend, None)
    linear.__dict__["neurons"] = neurons
    linear.bias.data = torch.randn(N, generator=generator)
    return linear.requires_grad_(False)


def on_torch_and_triton(module: SpikingLinear, x: torch.Tensor) -> list[torch.Tensor]:
    matmul, found = module.neurons._matmul, []
    weight = module.integer
    modality = torch.tensor([[0, 1, 1, 0, 1, 0, 0] * 5], dtype=torch.uint8)[:, : x.shape[1]]
    with torch.no_grad(), rows_scope(TokenRows(modality)):
        for native in (None, CudaLayer(weight.codes, weight.scales)):
            matmul.native = native
            found.append(module(x))
    return found


@interpreted
class TestLayers:
    @pytest.mark.parametrize("backend", ["fused", "unrolled"])
    @pytest.mark.parametrize("groups", [1, 5])
    @pytest.mark.parametrize("spec", SPECS)
    def test_outputs(self, spec: str, groups: int, backend: str) -> None:
        for M, dtype in ((1, torch.float32), (7, torch.bfloat16), (20, torch.float16)):
            expected, found = on_torch_and_triton(spiking(SPECS[spec], groups, backend), random(1, M, 90).to(dtype))
            assert found.dtype == dtype
            assert torch.equal(found, expected)

    @pytest.mark.parametrize(
        ("M", "N", "K", "groups"), [(33, 40, 96, 1), (70, 136, 64, 2), (17, 16, 8, 1), (40, 3, 48, 3)]
    )
    def test_shapes(self, M: int, N: int, K: int, groups: int) -> None:
        module = spiking(SPECS["one T"], groups, N=N, K=K)
        for _ in range(2):
            expected, found = on_torch_and_triton(module, random(2, M, K))
            assert torch.equal(found, expected)
            module.bias = None

    def test_what_observers_are_told(self) -> None:
        module = spiking(SPECS["mixed"], 5)
        silent = torch.zeros(90, dtype=torch.bool)
        silent[::7] = True
        module.silence(silent)
        events: list[Any] = []
        module.observers.append(lambda _, event: events.append(event))
        expected, found = on_torch_and_triton(module, random(1, 7, 90))
        assert torch.equal(found, expected)
        theirs, ours = events
        for key in ("codes", "acc", "scale", "output"):
            assert torch.equal(getattr(ours, key), getattr(theirs, key)), key
        assert ours.saturated == theirs.saturated > 0

    def test_what_is_not_finite_names_the_layer(self) -> None:
        x = random(1, 7, 90)
        x[0, 3, 88] = float("nan")
        module = spiking(SPECS["one T"], 1)
        module.neurons._matmul.native = CudaLayer(module.integer.codes, module.integer.scales)
        with pytest.raises(NonFiniteInputError, match=naming("some.layer", "row 3")):
            module(x)


RIGHT_AND_WRONG = [
    ("drive + _BELOW_HALF", "drive + 0.5", "codes"),
    ("limit * 4.0 - 1.0", "limit * 4.0", "codes of rows rounded by rate and distortion"),
    ("two & (quarters >> 4)", "two", "codes of rows rounded by rate and distortion"),
    ("tl.div_rn(scale, divisor)", "scale * (1.0 / divisor)", "scales"),
    ("units * units if", "units * (units - 1) if", "rows by their root mean square"),
    ("if STATISTIC == _RMS else units", "if STATISTIC == _RMS else units + 1", "rows by their mean magnitude"),
    ("mean = tl.sqrt(mean)", "mean = tl.sqrt(mean.to(tl.float32)).to(tl.float64)", "rows by their root mean square"),
    ("total + term if GROUPED", "term + total * 1.0000001 if GROUPED", "outputs of groups"),
    ("value * tl.load(weight_scales", "1.0 * tl.load(weight_scales", "outputs of many rows"),
]


@interpreted
class TestSelfTest:
    def test_passes(self) -> None:
        cuda.kernels_of.cache_clear()
        with torch.device("meta"):  # where tensors are made by default
            assert cuda.kernels_of(CPU) is cuda._kernels()

    @pytest.mark.parametrize(("right", "wrong", "named"), RIGHT_AND_WRONG)
    def test_notices(self, right: str, wrong: str, named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Kernels of which one line is wrong."""
        source = Path(cuda._kernels().__file__).read_text(encoding="utf-8")
        assert right in source
        path = tmp_path / "broken_kernels.py"
        path.write_text(source.replace(right, wrong), encoding="utf-8")
        spec = importlib.util.spec_from_file_location("broken_kernels", path)
        assert spec is not None
        assert spec.loader is not None
        broken = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(broken)
        monkeypatch.setattr(cuda, "_kernels", lambda: broken)
        failed = cuda.failing_case(CPU)
        assert failed is not None
        assert named in failed


@interpreted
@pytest.mark.parametrize("capability", [80, 90, 100])
def test_translated_for_a_device(capability: int) -> None:
    """IEEE quotients, no multiplication fused with an addition, no denormal flushed; 8-bit products on tensor cores."""
    script = Path(__file__).parents[1] / "helpers" / "translate_triton.py"
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, script, str(capability)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {
        "encode",
        "encode by rms",
        "encode by rate and distortion",
        "outputs_of_sums",
        "outputs_of_codes",
    }
    for instructions in found.values():
        assert not [name for name in instructions if name.startswith("fma") or ".ftz" in name or ".approx" in name]
        assert not [name for name in instructions if name.startswith(("div.full", "sqrt")) and ".rn." not in name]
        assert not [name for name in instructions if name.startswith("div.") and ".rn.f" not in name]
    assert any(name.startswith("div.rn.f32") for name in found["encode"])
    assert {"div.rn.f64", "sqrt.rn.f64"} <= set(found["encode by rms"])
    assert any(name.startswith(("mma.", "tcgen05.mma")) and ".s8" in name for name in found["outputs_of_codes"])


@pytest.mark.parametrize(("M", "K", "N"), [(1, 8, 8), (16, 9, 8), (17, 8, 15), (3, 5, 7), (40, 64, 24)])
def test_padding_for_cublas(M: int, K: int, N: int) -> None:
    generator = torch.Generator().manual_seed(M)
    left = torch.randint(-127, 128, (M, K), generator=generator).to(torch.int8)
    right = torch.randint(-128, 128, (N, K), generator=generator).to(torch.int8).t()
    sums = cuda._padded_int_mm(left, right)
    assert sums.shape == (M, N)
    assert torch.equal(sums, left.int() @ right.int())


def test_there_are_no_kernels_on_a_cpu_but_in_the_interpreter() -> None:
    if os.environ.get("TRITON_INTERPRET") != "1":
        assert cuda.kernels_of(CPU) is None
        assert not layer().usable(random(3, 40))
