"""Integer weights of a Linear that LLM Compressor has quantized, whatever state compressed-tensors left it in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from compressed_tensors.compressors.base import decompress_module
from compressed_tensors.config import CompressionFormat
from compressed_tensors.quantization import (
    ActivationOrdering,
    QuantizationStatus,
    QuantizationStrategy,
    QuantizationType,
    quantize,
)
from torch import Tensor, nn

from spike_compressor.errors import InputError


@dataclass(frozen=True)
class IntegerWeight:
    """Weight matrix W = codes * scale.

    Attributes:
        codes: int8 [N, K]; a zero point, if the quantizer had one, is already subtracted.
        scale: float32 [N, G]; column g scales the K/G consecutive inputs of group g.
        bits: of the quantizer.
    """

    codes: Tensor
    scale: Tensor
    bits: int

    @property
    def groups(self) -> int:
        """G, 1 for scales per tensor or channel."""
        return int(self.scale.shape[1])

    def floats(self) -> Tensor:
        """float32 [N, K], codes times scales."""
        return self.codes * self.scale.repeat_interleave(self.codes.shape[1] // self.groups, dim=1)

    def equals(self, weight: Tensor) -> bool:
        """Whether a tensor holds these weights, as codes or as floats [N, K] of any precision."""
        if weight.shape != self.codes.shape:
            return False
        own = self.floats().to(weight.dtype) if weight.is_floating_point() else self.codes
        return torch.equal(torch.empty_like(own).copy_(weight), own)

    def scaled_by(self, scale: Tensor) -> bool:
        """Whether scales, of any layout, are those of the codes."""
        return torch.equal(_rows(scale, self.codes.shape[0]).to(self.scale.device), self.scale)


_STRATEGIES = (QuantizationStrategy.TENSOR, QuantizationStrategy.CHANNEL, QuantizationStrategy.GROUP)


def why_not_integer(module: nn.Module) -> str | None:
    """Why the weights of `module` cannot be summed by spikes, or None if they can."""
    scheme = getattr(module, "quantization_scheme", None)
    if scheme is None or scheme.weights is None:
        return "its weights are not quantized"
    args = scheme.weights
    if args.type != QuantizationType.INT:
        return f"its weights are of type {args.type}, not int"
    if getattr(args, "actorder", None) == ActivationOrdering.GROUP or getattr(module, "weight_g_idx", None) is not None:
        return "its weight groups are reordered (actorder: group); use actorder: static"
    if args.num_bits > 8:
        return f"its weights have {args.num_bits} bits, at most 8 are supported"
    if args.strategy not in _STRATEGIES:
        return f"its weights are scaled by {args.strategy}; supported: tensor, channel, group"
    return None


def require_integer_weights(module: nn.Module, name: str) -> None:
    """Check that the weights of `module` are, or are about to be, integers that spikes can sum.

    Raises:
        InputError: naming the module, and what it lacks.
    """
    reason = why_not_integer(module)
    if reason is not None:
        raise InputError(
            f"{name} cannot spike: {reason}. Give it integer weights with a quantization modifier before "
            "TCLIFModifier (QuantizationModifier, GPTQModifier, ...), or list it in TCLIFModifier's `ignore`."
        )


def integer_weight(module: nn.Linear, name: str) -> IntegerWeight:
    """The integer codes and scales of a quantized Linear, exactly those that its checkpoint holds.

    Raises:
        InputError: naming the module, if it has no integer weights of a supported layout.
    """
    require_integer_weights(module, name)
    args: Any = module.quantization_scheme.weights  # type: ignore[union-attr]
    status = getattr(module, "quantization_status", None)
    if status == QuantizationStatus.COMPRESSED and not hasattr(module, "weight"):
        decompress_module(module)  # packed weights: back to float, then to codes like any other
        status = module.quantization_status
    scale: Tensor = module.weight_scale  # type: ignore[assignment]
    weight = module.weight.data
    codes = weight if status == QuantizationStatus.COMPRESSED else stored_codes(module, weight)
    codes = without_zero_point(module, codes, name)
    out_features = codes.shape[0]
    return IntegerWeight(codes=codes.detach().contiguous(), scale=_rows(scale, out_features), bits=int(args.num_bits))


def shown_dtype(module: nn.Linear, model: nn.Module) -> torch.dtype:
    """The floating dtype that code around a Linear may take its weight to have, whatever the weight is stored as."""
    weight = module._parameters.get("weight")
    for tensor in (weight, module.bias):
        if tensor is not None and tensor.is_floating_point():
            return tensor.dtype
    dtype = getattr(model, "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def put_floats(module: nn.Linear, integer: IntegerWeight, dtype: torch.dtype) -> None:
    """Give a Linear that has no weight its quantized weights, [N, K] floats."""
    module.weight = nn.Parameter(integer.floats().to(dtype), requires_grad=False)
    if getattr(module, "quantization_status", None) == QuantizationStatus.COMPRESSED:
        module.quantization_status = QuantizationStatus.DECOMPRESSED


def put_codes(module: nn.Linear, integer: IntegerWeight, name: str) -> None:
    """Give a Linear that has no weight its integers, [N, K] int8 as a checkpoint holds them.

    Raises:
        InputError: its scales are not those of the integers any more; names the module.
    """
    scheme: Any = module.quantization_scheme
    scale = getattr(module, "weight_scale", None)
    if scale is None or not integer.scaled_by(scale):
        raise InputError(
            f"the weight_scale of {name} was changed after the layer began to spike, and is not what it computes with; "
            "detach() the model before its parameters are changed."
        )
    codes, zero_point = integer.codes, getattr(module, "weight_zero_point", None)
    if zero_point is not None and not scheme.weights.symmetric:
        codes = (codes.to(torch.int16) + _columns(zero_point.to(torch.int16), codes.shape[1])).to(torch.int8)
    module.weight = nn.Parameter(codes, requires_grad=False)
    # the rest of what compressed-tensors does to a module that it compresses
    for kind in ("weights", "input_activations"):
        args = getattr(scheme, kind)
        leftover = f"{'weight' if kind == 'weights' else 'input'}_zero_point"
        if args is not None and args.symmetric and hasattr(module, leftover):
            delattr(module, leftover)
    module.quantization_scheme = scheme.model_copy(update={"format": CompressionFormat.int_quantized})
    module.quantization_status = QuantizationStatus.COMPRESSED


def _rows(scale: Tensor, count: int) -> Tensor:
    """Scales of any layout as float32 [count, G]."""
    rows = scale.detach().to(torch.float32).reshape(-1, scale.shape[-1] if scale.dim() == 2 else 1)
    return rows.expand(count, -1).contiguous()


def stored_codes(module: nn.Linear, weight: Tensor) -> Tensor:
    """Float weights [N, K] as the integers int8 [N, K] that a checkpoint of the quantized module holds for them."""
    args: Any = module.quantization_scheme.weights  # type: ignore[union-attr]
    zero_point: Any = getattr(module, "weight_zero_point", None)
    scale: Any = module.weight_scale
    return quantize(weight, scale, zero_point, args, dtype=torch.int8).contiguous()


def outside_range(module: nn.Linear, weight: Tensor) -> Tensor:
    """Where the quantizer of the module clips float weights [N, K]: bool [N, K]."""
    args: Any = module.quantization_scheme.weights  # type: ignore[union-attr]
    K = weight.shape[1]
    zero_point: Tensor | None = getattr(module, "weight_zero_point", None)
    level = weight.detach().to(torch.float32) / _columns(module.weight_scale, K).to(torch.float32)  # type: ignore[arg-type]
    if zero_point is not None and not args.symmetric:
        level = level + _columns(zero_point, K)
    half = 2 ** (args.num_bits - 1)
    return (level < -half - 0.5) | (level > half - 0.5)


def without_zero_point(module: nn.Linear, codes: Tensor, name: str = "") -> Tensor:
    """Stored integers int8 [N, K] minus the zero points of the module, if its quantizer has any.

    Raises:
        InputError: naming the module, if the differences do not fit int8.
    """
    args: Any = module.quantization_scheme.weights  # type: ignore[union-attr]
    zero_point: Tensor | None = getattr(module, "weight_zero_point", None)
    if zero_point is None or args.symmetric:
        return codes
    wide = codes.to(torch.int16) - _columns(zero_point.to(torch.int16), codes.shape[1])
    if int(wide.min()) < -128 or int(wide.max()) > 127:
        raise InputError(
            f"{name}: asymmetric weights minus their zero point do not fit 8 bits "
            f"({int(wide.min())}..{int(wide.max())}); use symmetric weights or fewer bits."
        )
    return wide.to(torch.int8)


def _columns(values: Tensor, K: int) -> Tensor:
    """What a scheme keeps per tensor, channel or group, as it broadcasts against weights [N, K]: [1 or N, 1 or K]."""
    table = values.detach().reshape(-1, values.shape[-1] if values.dim() == 2 else 1)
    return table if table.shape[1] == 1 else table.repeat_interleave(K // table.shape[1], dim=1)
