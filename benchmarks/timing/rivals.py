"""What a spiking Linear is timed against: other ways of one matrix product on this machine, each at its best.

A family is what a ratio is named after; its variants are the engines that can compute it, and the fastest one of a case
counts. Weights are packed beforehand wherever an engine can take them so.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Call = Callable[[Tensor], Any]
#: Groups that torch's kernel for 4-bit weights takes.
INT4_GROUP = 64
QUANTO = ("quanto_int4", "quanto_int8")


def families(weight: Tensor, rows: int, wanted: Iterable[str]) -> dict[str, dict[str, Call]]:
    """The variants of families for one weight, by name; a variant takes rows [rows, K] as `rows_for` gives them.

    Args:
        weight: float32 [N, K].
        rows: M, for which weights are packed.
        wanted: names of families; one that this machine cannot compute is left out.
    """
    makers: dict[str, Callable[[], Iterable[tuple[str, Call]]]] = {
        "fp32": lambda: [("nn.Linear", _linear(weight))],
        "fp32_packed": lambda: _packed(weight, rows),
        "bf16": lambda: _bfloat16(weight, rows),
        "int8": lambda: _dynamic_int8(weight),
        "torch_int4": lambda: _int4(weight),
        **{name: functools.partial(_quanto, weight, name) for name in QUANTO},
    }
    found = {name: dict(makers[name]()) for name in wanted}
    return {name: variants for name, variants in found.items() if variants}


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def _onednn(weight: Tensor, rows: int) -> Call:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")


def _packed(weight: Tensor, rows: int) -> Iterator[tuple[str, Call]]:
    with contextlib.suppress(RuntimeError, AttributeError):  # of builds without MKL or oneDNN
        yield "oneDNN", _onednn(weight, rows)
    with contextlib.suppress(RuntimeError, AttributeError):
        packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
        yield "MKL", lambda x: torch.ops.mkl._mkl_linear(x, packed, weight, None, rows)


def _bfloat16(weight: Tensor, rows: int) -> Iterator[tuple[str, Call]]:
    """Rows come as bfloat16, as in a model of that dtype."""
    half = weight.to(torch.bfloat16)
    yield "nn.Linear", _linear(half)
    with contextlib.suppress(RuntimeError, AttributeError):
        yield "oneDNN", _onednn(half, rows)


def _dynamic_int8(weight: Tensor) -> Iterator[tuple[str, Call]]:
    """torch's dynamic quantization, weights per channel; `reduce_range` as its own dynamic Linear has it."""
    scale = (weight.abs().amax(1) / 127).clamp(min=1e-9).to(torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zero = torch.zeros(len(scale), dtype=torch.long)
        quantized = torch.quantize_per_channel(weight, scale, zero, 0, torch.qint8)
    before = torch.backends.quantized.engine
    try:
        supported = set(torch.backends.quantized.supported_engines)
        for engine in sorted({"fbgemm", "onednn", "x86"} & supported or {"qnnpack"} & supported):
            torch.backends.quantized.engine = engine
            packed = torch.ops.quantized.linear_prepack(quantized, None)
            yield engine, functools.partial(_dynamic, packed)
    finally:
        torch.backends.quantized.engine = before


def _dynamic(packed: Any, x: Tensor) -> Any:
    return torch.ops.quantized.linear_dynamic(x, packed, True)


def _int4(weight: Tensor) -> Iterator[tuple[str, Call]]:
    """torch's own kernel for 4-bit weights in groups, rows in bfloat16: weight-only, its fast form on CPUs."""
    N, K = weight.shape
    with contextlib.suppress(RuntimeError, AttributeError):
        codes = torch.randint(0, 16, (N, K), dtype=torch.int32)
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
        scales = torch.full((K // INT4_GROUP, N, 2), 0.01, dtype=torch.bfloat16)
        yield "bfloat16", lambda x: torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, INT4_GROUP, scales)


def has_quanto() -> bool:
    """Whether optimum-quanto is installed."""
    return importlib.util.find_spec("optimum") is not None and importlib.util.find_spec("optimum.quanto") is not None


def _quanto(weight: Tensor, name: str) -> Iterator[tuple[str, Call]]:
    """optimum-quanto's Linear with weights of 4 or 8 bits, activations float32: weight-only."""
    if not has_quanto():
        return
    # its 4-bit weights are unpacked by an extension that it builds at first use, with the `ninja` of this environment
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    from optimum.quanto import freeze, qint4, qint8, quantize  # takes ten seconds to import

    model = nn.Sequential(_linear(weight))
    quantize(model, weights=qint4 if name == "quanto_int4" else qint8)
    freeze(model)
    yield "nn.Linear", _without_inference_mode(model)


def _without_inference_mode(call: Call) -> Call:
    """Its tensors cannot be used within `torch.inference_mode`."""

    def run(x: Tensor) -> Any:
        with torch.inference_mode(False), torch.no_grad():
            return call(x)

    return run


def rows_for(family: str, x: Tensor) -> Tensor:
    """Rows as a family takes them: bfloat16 where the model around would be in bfloat16."""
    return x.to(torch.bfloat16) if family in ("bf16", "torch_int4") else x


class PythonSteps:
    """An encoder as research code has it: rows to integers, then a loop over timesteps, one bit of each a step.

    Signed bitwise coding: the sign times the bits of the magnitude, the most significant first. Spikes are float32, as
    in such code, and the train is filled step by step.
    """

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps

    def __call__(self, x: Tensor) -> Tensor:
        """Spikes float32 [T, M, K] of rows float32 [M, K]."""
        levels = 2**self.timesteps - 1
        scale = x.abs().amax(dim=-1, keepdim=True) / levels
        remaining = self.charge((x / scale), levels)
        spikes = torch.zeros((self.timesteps, *x.shape), dtype=torch.float32)
        for step in range(self.timesteps):
            spikes[step] = self.fire(remaining, step)
        return spikes

    @staticmethod
    def charge(y: Tensor, levels: int) -> Tensor:
        """Integers, halves away from zero."""
        return (y.sign() * (y.abs() + 0.49999997).floor()).clamp(-levels, levels).to(torch.long)

    def fire(self, remaining: Tensor, step: int) -> Tensor:
        """The spikes of one step."""
        bit = 1 << (self.timesteps - 1 - step)
        return remaining.sign().to(torch.float32) * ((remaining.abs() & bit) != 0).to(torch.float32)
