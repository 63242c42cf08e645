"""Single spiking Linears: built as a checkpoint's are, held against plain arithmetic, and timed against rivals."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from timing.clock import Samples, fastest, interleave, ratio, rounded
from timing.limits import Limits
from timing.rivals import QUANTO, families, rows_for

#: K, N: projections of SmolLM2-135M and of Qwen2-VL-7B.
SHAPES = ((576, 1536), (3584, 3584), (3584, 18944))
MAIN = (3584, 3584)
ROWS = (1, 16, 256, 1024)
TIMESTEPS = 4
#: Rows that are compared with plain arithmetic, which takes far longer.
CHECKED = 48
#: Copies of a layer so that their weights together are more than any cache holds.
COLD = 160 << 20


@dataclass(frozen=True)
class Weights:
    """How weights are quantized.

    Attributes:
        name: in keys of the result.
        bits: of an integer.
        group: inputs that share a scale; 0 for a scale per channel.
    """

    name: str
    bits: int
    group: int = 0

    def size(self, N: int, K: int) -> int:
        """Bytes of integers, packed, and float32 scales."""
        return N * K * self.bits // 8 + 4 * N * (K // self.group if self.group else 1)


WEIGHTS = (Weights("w4_channel", 4), Weights("w4_g64", 4, 64), Weights("w8_channel", 8))
UNROLLED = WEIGHTS[:2]


def spiking_linear(weight: Tensor, weights: Weights, backend: str = "fused", timesteps: int = TIMESTEPS) -> Any:
    """A spiking Linear [N, K] whose weights are rounded to nearest, as QuantizationModifier does it."""
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationScheme,
        QuantizationStatus,
        initialize_module_for_quantization,
    )
    from compressed_tensors.quantization.utils import calculate_qparams
    from spike_compressor.modality import adapter_for
    from spike_compressor.runtime import LayerSpec, attach

    settings: dict[str, Any] = {"num_bits": weights.bits, "type": "int", "symmetric": True}
    settings |= {"strategy": "group", "group_size": weights.group} if weights.group else {"strategy": "channel"}
    args = QuantizationArgs(**settings)
    N, K = weight.shape
    holder = nn.Module()
    holder.layer = nn.Linear(K, N, bias=False, device="meta")
    holder.layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    initialize_module_for_quantization(holder.layer, QuantizationScheme(targets=["Linear"], weights=args))
    groups = weight.unflatten(1, (-1, weights.group or K))
    scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    scales: Any = holder.layer.weight_scale
    scales.data.copy_(scale.reshape(scales.shape))
    holder.layer.quantization_status = QuantizationStatus.FROZEN
    adapter = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type="llama")))
    attach(holder, {"layer": LayerSpec({"text": timesteps})}, adapter, backend)
    return holder.layer


def plain(layer: Any, x: Tensor, timesteps: int = TIMESTEPS) -> Tensor:
    """What docs/numerics.md says that a layer computes, float32 [M, N] of rows [M, K]: exact sums in float64, then
    `(float32(acc) * act_scale) * weight_scale`, groups added in their order. Nothing of the kernels is used."""
    levels = 2**timesteps - 1
    scale = x.abs().amax(1, keepdim=True) / levels
    y = x / scale
    codes = (y.double().abs() + 0.5).floor().clamp(max=levels).copysign(y.double())
    integer = layer.integer
    weight = integer.codes.to(torch.float64)
    if integer.groups == 1:
        return ((codes @ weight.t()).float() * scale) * integer.scale.squeeze(1)
    out = torch.zeros(x.shape[0], weight.shape[0])
    for part, table, column in zip(
        codes.chunk(integer.groups, 1), weight.chunk(integer.groups, 1), integer.scale.unbind(1), strict=True
    ):
        out += ((part @ table.t()).float() * scale) * column
    return out


def require_exact(layer: Any, x: Tensor, name: str) -> None:
    """Hold a layer against plain arithmetic, and its first rows by themselves, as small M takes other ways.

    Raises:
        SystemExit: they differ in a bit; nothing is to be said of the speed of wrong results.
    """
    wanted, found = plain(layer, x[:CHECKED]), layer(x)[:CHECKED]
    if not torch.equal(wanted, found):
        raise SystemExit(
            f"{name}: {int((wanted != found).sum())} of {wanted.numel()} outputs differ from plain arithmetic"
        )


@dataclass(frozen=True)
class Case:
    """One product that is timed.

    Attributes:
        shape: K, N.
        rows: M.
        threads: of torch, and so of the kernels.
        cold: many layers in turn, whose weights no cache holds, as while a large model generates.
    """

    shape: tuple[int, int]
    rows: int
    threads: int = 1
    cold: bool = False

    def rivals(self, quanto: bool) -> tuple[str, ...]:
        """Families worth their time: who is very slow at a small product need not show it at a large one."""
        macs = self.rows * self.shape[0] * self.shape[1]
        found: tuple[str, ...] = ("fp32", "fp32_packed", "int8")
        if macs <= 5e9:
            found += ("torch_int4",)
        if macs <= 5e8 or torch.ops.mkldnn._is_mkldnn_bf16_supported():
            found += ("bf16",)
        if quanto and self.threads == 1 and self.shape == MAIN and self.rows in (1, 256):
            found += QUANTO
        return found

    def key(self, weights: str) -> str:
        K, N = self.shape
        more = ("_cold" if self.cold else "") + (f"_threads{self.threads}" if self.threads > 1 else "")
        return f"linear_{weights}_m{self.rows}_{K}x{N}" + more


class Bench:
    """Layers of one shape, kept while cases of the shape go by.

    Args:
        shape: K, N.
        seed: of the weights.
    """

    def __init__(self, shape: tuple[int, int], seed: int = 0) -> None:
        K, N = shape
        generator = torch.Generator().manual_seed(seed)
        self.shape, self.weight = shape, torch.randn(N, K, generator=generator) * K**-0.5
        self.ours = {weights.name: spiking_linear(self.weight, weights) for weights in WEIGHTS}
        self.ours |= {
            f"{weights.name}_unrolled": spiking_linear(self.weight, weights, "unrolled") for weights in UNROLLED
        }
        self.generator = generator

    def inputs(self, rows: int) -> Tensor:
        """Rows with an outlier now and then, as activations have them."""
        x = torch.randn(rows, self.shape[0], generator=self.generator)
        return x * torch.rand(1, self.shape[0], generator=self.generator).pow(-0.3)

    def rows_of(self, case: Case, limits: Limits, seconds: float, wanted: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """Rows of the result of one case: a row for each kind of weights, all timed in the same rounds."""
        torch.set_num_threads(case.threads)
        x = self.inputs(case.rows)
        for name, layer in self.ours.items():
            require_exact(layer, x, case.key(name))
        rivals = families(self.weight, case.rows, wanted)
        calls: dict[str, Callable[[], object]] = {f"ours/{name}": _of(layer, x) for name, layer in self.ours.items()}
        for family, variants in rivals.items():
            given = rows_for(family, x)
            calls |= {f"{family}/{name}": _of(call, given) for name, call in variants.items()}
        with torch.inference_mode():
            samples = interleave(calls, seconds, case.threads)
        torch.set_num_threads(1)
        for name in self.ours:
            yield self.row(case, name, samples, rivals, limits)

    def row(
        self, case: Case, name: str, samples: Samples, rivals: Mapping[str, Collection[str]], limits: Limits
    ) -> dict[str, Any]:
        """What was found of one of our layers."""
        (K, N), ours = self.shape, samples[f"ours/{name}"]
        kind = next(weights for weights in WEIGHTS if name.startswith(weights.name))
        steps = TIMESTEPS if name.endswith("_unrolled") else 1
        least, bound = limits.bound(steps * case.rows * K * N, kind.size(N, K), 4 * case.rows * (K + N), case.cold)
        found: dict[str, Any] = {
            "part": "linear",
            "key": case.key(name),
            "weights": name,
            "shape": list(self.shape),
            "rows": case.rows,
            "threads": case.threads,
            "ms": rounded(1e3 * statistics.median(ours)),
            "of_limit": rounded(least / min(ours), 3),
            "bound": bound,
            "rounds": len(ours),
            "rivals": {},
        }
        for family, variants in rivals.items():
            if not variants:
                continue
            best = fastest(samples, [f"{family}/{name}" for name in variants])
            compared = ratio(samples[best], ours)
            found["rivals"][family] = {
                "variant": best.partition("/")[2],
                "ms": rounded(1e3 * statistics.median(samples[best])),
                **{key: rounded(value, 3) for key, value in compared._asdict().items()},
            }
        return found


def _of(call: Callable[[Tensor], Any], x: Tensor) -> Callable[[], object]:
    return lambda: call(x)


def cold_rows(bench: Bench, limits: Limits, seconds: float) -> Iterator[dict[str, Any]]:
    """M = 1 over so many layers in turn that no cache holds their weights: what generating with a large model does."""
    K, N = bench.shape
    x = bench.inputs(1)
    calls = {"fp32/nn.Linear": _in_turn([nn.Linear(K, N, bias=False) for _ in range(_copies(4 * N * K))], x)}
    for weights in WEIGHTS:
        layers = [spiking_linear(bench.weight, weights) for _ in range(_copies(weights.size(N, K)))]
        require_exact(layers[-1], x, f"{weights.name}, many layers")
        calls[f"ours/{weights.name}"] = _in_turn(layers, x)
    with torch.inference_mode():
        samples = interleave(calls, seconds, least=COLD // (4 * N * K) + 3, sample=0.0)
    case = Case(bench.shape, 1, cold=True)
    for weights in WEIGHTS:
        yield bench.row(case, weights.name, samples, {"fp32": ["nn.Linear"]}, limits)


def _copies(size: int) -> int:
    """Layers of so many bytes that are more than a cache holds, when float layers and others run in turn."""
    return max(2, min(64, COLD // size))


def _in_turn(layers: list[Any], x: Tensor) -> Callable[[], object]:
    """Every call is the next layer's."""
    turn = itertools.cycle(layers)
    return lambda: next(turn)(x)


def level_rows(bench: Bench, rows: int, seconds: float) -> Iterator[dict[str, Any]]:
    """One kind of weights by every level that the machine has, and by torch, in the same rounds."""
    from spike_compressor.kernels import available_levels, using_level

    x, name = bench.inputs(rows), WEIGHTS[0].name
    layer = bench.ours[name]

    def call(level: str) -> Callable[[], object]:
        def run() -> object:
            with using_level(level):
                return layer(x)

        return run

    calls: dict[str, Callable[[], object]] = {level: call(level) for level in available_levels()}
    for level in calls:
        with using_level(level):
            require_exact(layer, x, f"{name} on {level}")
    float_layer = families(bench.weight, rows, ("fp32",))["fp32"]["nn.Linear"]
    with torch.inference_mode():
        samples = interleave({**calls, "fp32": lambda: float_layer(x)}, seconds)
    K, N = bench.shape
    for level in calls:
        compared = ratio(samples["fp32"], samples[level])
        yield {
            "part": "level",
            "key": f"linear_{name}_m{rows}_{K}x{N}_{level}_vs_fp32",
            "level": level,
            "weights": name,
            "shape": [K, N],
            "rows": rows,
            "ms": rounded(1e3 * statistics.median(samples[level])),
            **{key: rounded(value, 3) for key, value in compared._asdict().items()},
        }
