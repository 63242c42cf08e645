"""How a checkpoint holds the experts of a mixture, which LLM Compressor splits into one Linear each.

In memory, experts that can spike are Linears (`LinearExperts2D`). Transformers knows them stacked, all experts of a
layer in one parameter, and cannot quantize that. A checkpoint holds them

* `separate` where any of them has integer weights: a tensor for each expert, in the spelling that the architecture's
  original checkpoints have. Packed, they are what plain transformers merges into its stacked floats; where it has no
  rule for that, they are int8 like all other layers.
* `stacked` where none has: as plain transformers keeps them.

Nothing is registered with transformers: models opened by others in the same process are not touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
from compressed_tensors.config import CompressionFormat
from compressed_tensors.quantization import QuantizationStatus, QuantizationType
from llmcompressor.modeling.moe.linearize import get_linearized_moes
from torch import nn
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
from transformers.quantizers.quantizer_compressed_tensors import CompressedTensorsHfQuantizer

from spike_compressor.checkpoint.expert_names import REGISTRY, conversions, merged_by_transformers, unmerged
from spike_compressor.checkpoint.schema import Layout
from spike_compressor.checkpoint.stacking import split, stacked

_METHOD = "compressed-tensors"


def layout(model: nn.Module) -> Layout | None:
    """How a checkpoint of `model` holds its experts; None for a model that LLM Compressor did not split any of."""
    experts = [linear for _, module in get_linearized_moes(model) for linear in _linears(module)]
    if not experts:
        return None
    return "separate" if any(_weights(linear) is not None for linear in experts) else "stacked"


def restacked(model: nn.Module) -> set[str]:
    """Names of the Linears that a checkpoint of `model` does not hold by themselves, but stacked."""
    if layout(model) != "stacked":
        return set()
    experts = {id(linear) for linear in _all_linears(model)}
    return {name for name, module in model.named_modules() if id(module) in experts}


@contextlib.contextmanager
def as_stored(model: Any) -> Iterator[None]:
    """Within the block the model's experts, and the spelling of their names, are what its checkpoint is to hold."""
    kind = layout(model)
    if kind is None:
        yield
        return
    before = getattr(model, "_weight_conversions", None)
    model._weight_conversions = conversions(model, kind)
    if kind == "separate":  # and so it stays: the rules that made stacked parameters have none to match any more
        with _packed(model) if _opens_packed(model) else contextlib.nullcontext():
            yield
        return
    try:
        with stacked(model):
            yield
    finally:
        model._weight_conversions = before


@contextlib.contextmanager
def opened(kind: Layout) -> Iterator[None]:
    """Within the block `from_pretrained` opens a mixture whose checkpoint holds its experts so."""
    if kind == "stacked":  # as plain transformers does
        yield
        return
    with REGISTRY:
        usual = AUTO_QUANTIZER_MAPPING[_METHOD]
        AUTO_QUANTIZER_MAPPING[_METHOD] = _SeparateExperts
        try:
            yield
        finally:
            AUTO_QUANTIZER_MAPPING[_METHOD] = usual


def as_in_memory(model: Any, kind: Layout) -> None:
    """Make the experts of a model that was just opened what they were when it was saved: Linears, with int8 weights."""
    if kind == "stacked":
        split(model)
        return
    for linear in _all_linears(model):
        if "weight_packed" in linear._parameters:
            _unpack(linear)


class _SeparateExperts(CompressedTensorsHfQuantizer):
    """compressed-tensors' side of `from_pretrained`, for experts that are Linears when weights are read."""

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> None:
        split(model)  # still on the meta device
        super()._process_model_before_weight_loading(model, **kwargs)

    def update_weight_conversions(self, weight_conversions: list[Any]) -> list[Any]:
        return [*unmerged(weight_conversions), *self.get_weight_conversions()]


def _linears(experts: nn.Module) -> list[nn.Linear]:
    return [module for module in experts.modules() if isinstance(module, nn.Linear)]


def _all_linears(model: nn.Module) -> list[nn.Linear]:
    return [linear for _, module in get_linearized_moes(model) for linear in _linears(module)]


def _weights(linear: nn.Linear) -> Any:
    scheme: Any = getattr(linear, "quantization_scheme", None)
    return None if scheme is None else scheme.weights


def _opens_packed(model: Any) -> bool:
    """Whether plain transformers makes the right floats of packed experts: it takes all for alike and symmetric."""
    experts = get_linearized_moes(model)
    linears = _all_linears(model)
    weights = [_weights(linear) for linear in linears]
    first = weights[0]
    if any(other != first for other in weights) or any(linear.bias is not None for linear in linears):
        return False
    if not first.symmetric or first.type != QuantizationType.INT or first.num_bits > 8:
        return False
    ups = {name: "gate_up_proj" if module.has_gate else "up_proj" for name, module in experts}
    return merged_by_transformers(model, [f"{name}.{key}" for name, up in ups.items() for key in (up, "down_proj")])


@contextlib.contextmanager
def _packed(model: Any) -> Iterator[None]:
    schemes: dict[int, Any] = {}
    kept: list[tuple[nn.Linear, Any, Any]] = []
    try:
        for linear in _all_linears(model):
            scheme: Any = linear.quantization_scheme
            if id(scheme) not in schemes:
                schemes[id(scheme)] = scheme.model_copy(update={"format": CompressionFormat.pack_quantized})
            linear.quantization_scheme = schemes[id(scheme)]
            compressed = getattr(linear, "quantization_status", None) == QuantizationStatus.COMPRESSED
            kept.append((linear, scheme, linear.weight if compressed else None))
            if compressed:
                _pack(linear)
        yield
    finally:
        for linear, scheme, weight in kept:
            linear.quantization_scheme = scheme
            if "weight_packed" in linear._parameters:  # not so where saving failed early
                _unpack(linear, weight)


def _pack(linear: nn.Linear) -> None:
    bits = _weights(linear).num_bits
    weight: Any = linear._parameters.pop("weight")
    linear.register_parameter("weight_packed", _frozen(pack_to_int32(weight.data, bits)))
    linear.register_parameter("weight_shape", _frozen(torch.tensor(weight.shape)))


def _unpack(linear: nn.Linear, weight: nn.Parameter | None = None) -> None:
    """The int8 weight of a packed Linear, `weight` itself where it was kept."""
    scheme: Any = linear.quantization_scheme
    packed: Any = linear._parameters.pop("weight_packed")
    shape: Any = linear._parameters.pop("weight_shape")
    if weight is None:
        size = torch.Size(shape.tolist())
        weight = _frozen(unpack_from_int32(packed.data, scheme.weights.num_bits, size))
    linear.register_parameter("weight", weight)
    linear.quantization_scheme = scheme.model_copy(update={"format": CompressionFormat.int_quantized})


def _frozen(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
