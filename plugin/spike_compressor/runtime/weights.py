"""Integer weights of a Linear that LLM Compressor has quantized, whatever state compressed-tensors left it in."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from compressed_tensors.compressors.base import decompress_module
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.config import CompressionFormat
from compressed_tensors.offload import disable_onloading
from compressed_tensors.offload.cache import DiskCache
from compressed_tensors.quantization import (
    ActivationOrdering,
    QuantizationStatus,
    QuantizationStrategy,
    QuantizationType,
    quantize,
)
from compressed_tensors.utils import get_direct_state_dict, replace_direct_state_dict
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.runtime.integers import IntegerWeight, scale_rows

#: Elements of a matrix that are taken to wider types at once.
_CHUNK = 1 << 22


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

    Codes that are stored are read as they are, packed or not. Weights that compressed-tensors has turned into floats
    again give the codes that they were made of. Those of a recipe under way are rounded as it would when it saves them.
    The module is left as it is.

    Raises:
        InputError: naming the module: it has no integer weights of a supported layout, its integers are out of their
            range, or its floats are none that integers of its scale give.
    """
    require_integer_weights(module, name)
    args: Any = module.quantization_scheme.weights  # type: ignore[union-attr]
    codes, zero_point = _codes(module, args, name)
    scale = _table(module, "weight_scale", name)
    if scale.dtype.is_floating_point and scale.numel() and bool(scale.isnan().all()):
        raise InputError(
            f"{name} cannot spike: the recipe's quantization modifier passed over it and found no scales for its "
            "weights; list it in `ignore` of both modifiers, or give it another quantization modifier"
        )
    if not scale.dtype.is_floating_point or not bool(scale.isfinite().all()):
        raise InputError(f"{name} cannot spike: its weight_scale ({scale.dtype}) is not made of finite numbers")
    low, high = -(2 ** (args.num_bits - 1)), 2 ** (args.num_bits - 1) - 1
    if codes.dim() != 2 or tuple(codes.shape) != (module.out_features, module.in_features):
        shape = [module.out_features, module.in_features]
        raise InputError(f"{name} cannot spike: its weights have shape {list(codes.shape)} instead of {shape}")
    if codes.numel() and (int(codes.min()) < low or int(codes.max()) > high):
        raise InputError(
            f"{name} cannot spike: its integers go from {int(codes.min())} to {int(codes.max())}, and {args.num_bits} "
            f"bits from {low} to {high}; its quantization config is another checkpoint's"
        )
    N, K = codes.shape
    columns = scale.shape[-1] if scale.dim() == 2 else 1
    if scale.numel() // columns not in (1, N) or K % columns:
        raise InputError(f"{name} cannot spike: scales {list(scale.shape)} do not fit weights {list(codes.shape)}")
    codes = codes.to(torch.int8)
    if zero_point is not None and not args.symmetric:
        codes = _without_zero_point(codes, zero_point, name)
    return IntegerWeight(codes=codes.detach().contiguous(), scale=scale_rows(scale, N), bits=int(args.num_bits))


def surely_integer(module: nn.Linear) -> bool:
    """Whether `integer_weight` is certain to succeed, told without rounding: floats that a recipe has just calibrated.

    False says nothing: other weights have to be looked at one by one.
    """
    weight, scale = module._parameters.get("weight"), getattr(module, "weight_scale", None)
    if why_not_integer(module) is not None or weight is None or not isinstance(scale, Tensor):
        return False
    status = getattr(module, "quantization_status", None)
    if status in (QuantizationStatus.COMPRESSED, QuantizationStatus.DECOMPRESSED) or hasattr(module, "weight_packed"):
        return False
    N, K = module.out_features, module.in_features
    columns = scale.shape[-1] if scale.dim() == 2 else 1
    return (
        bool(module.quantization_scheme.weights.symmetric)  # type: ignore[union-attr]
        and tuple(weight.shape) == (N, K)
        and weight.dtype.is_floating_point
        and scale.dtype.is_floating_point
        and scale.numel() > 0
        and scale.numel() // columns in (1, N)
        and K % columns == 0
        and bool(scale.isfinite().all())
        and bool(weight.isfinite().all())
    )


def shown_dtype(module: nn.Linear, model: nn.Module) -> torch.dtype:
    """The floating dtype that code around a Linear may take its weight to have, whatever the weight is stored as."""
    with disable_onloading():  # nobody needs the numbers
        for tensor in (module._parameters.get("weight"), module.bias):
            if tensor is not None and tensor.is_floating_point():
                return tensor.dtype
    dtype = getattr(model, "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def drop_weight(module: nn.Linear) -> Tensor | None:
    """Take the weight off a Linear whose integers have been made of it.

    Returns:
        The weight; None if there was none, or if it lay on the disk, from which it is removed.
    """
    held = module._parameters
    if isinstance(held, DiskCache):  # `pop` would read it once more
        if "weight" in held:
            del held["weight"]
        return None
    with disable_onloading():
        return held.pop("weight", None)


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


def stored_codes(module: nn.Linear, weight: Tensor) -> Tensor:
    """Float weights [N, K] as the integers int8 [N, K] that a checkpoint of the quantized module holds for them."""
    args: Any = module.quantization_scheme.weights  # type: ignore[union-attr]
    zero_point: Any = getattr(module, "weight_zero_point", None)
    scale: Any = module.weight_scale
    N, K = weight.shape
    height = max(1, _CHUNK // max(1, K))  # what is computed on the way takes many times the memory of codes
    codes = torch.empty((N, K), dtype=torch.int8, device=weight.device)
    for first in range(0, N, height):
        some = slice(first, first + height)
        of_rows = (table if table is None or table.shape[0] != N else table[some] for table in (scale, zero_point))
        codes[some] = quantize(weight[some], *of_rows, args, dtype=torch.int8)
    return codes


def _codes(module: nn.Linear, args: Any, name: str) -> tuple[Tensor, Tensor | None]:
    """Codes of an integer dtype, with the zero point still in them, and the zero point, if there is one."""
    zero_point: Tensor | None = getattr(module, "weight_zero_point", None)
    if hasattr(module, "weight_packed"):
        packed: Tensor = module.weight_packed  # type: ignore[assignment]
        size = torch.Size(_table(module, "weight_shape", name).tolist())
        if zero_point is not None:
            zero_point = _unpacked_zero_point(zero_point.data, args, _table(module, "weight_scale", name), size)
        return unpack_from_int32(packed.data, args.num_bits, size), zero_point
    weight = _table(module, "weight", name).data
    status = getattr(module, "quantization_status", None)
    if not weight.dtype.is_floating_point:
        if status != QuantizationStatus.COMPRESSED:
            raise InputError(
                f"{name} cannot spike: its weights are integers ({weight.dtype}) of an earlier quantization, and the "
                "recipe quantizes them again as if they were the weights. Start from the float model."
            )
        return weight, zero_point
    if status == QuantizationStatus.COMPRESSED:
        raise InputError(
            f"{name} cannot spike: its quantization config says integers, and its weights are {weight.dtype}. They "
            "were changed after it was opened, or the checkpoint stores them so; open it anew, or quantize it anew."
        )
    if not bool(weight.isfinite().all()):
        raise InputError(f"{name} cannot spike: its weights have NaN or infinity in them")
    scale = _table(module, "weight_scale", name)
    if status == QuantizationStatus.DECOMPRESSED:
        return _codes_of_floats(weight, scale, zero_point, name), zero_point
    return stored_codes(module, weight), zero_point


def _codes_of_floats(weight: Tensor, scale: Tensor, zero_point: Tensor | None, name: str) -> Tensor:
    """The codes, int16 [N, K], whose products with the scales, in the scales' dtype, are these floats to the bit."""
    N, K = weight.shape
    codes = torch.empty((N, K), dtype=torch.int16, device=weight.device)
    scales, zeros = (_by_weight(table, N, K) for table in (scale, zero_point))
    for rows in torch.arange(N, device=weight.device).split(max(1, _CHUNK // K)):
        part = scales(rows)
        # in float64: a bfloat16 quotient of an 8-bit code can be rounded to the code beside it
        quotient = (weight[rows].to(torch.float64) / part.to(torch.float64)).nan_to_num(0.0, 0.0, 0.0)
        shifted = quotient.round().clamp(-256, 256)
        # as compressed-tensors multiplies, or as this package does when neurons are taken off
        if not any(
            torch.equal((shifted.to(kind) * part.to(kind)).to(weight.dtype), weight[rows])
            for kind in (part.dtype, torch.float32)
        ):
            raise InputError(
                f"{name} cannot spike: its weights are no integers times its scales any more. They were changed, or "
                "cast to another dtype, after they were quantized; open the model anew, or quantize it anew."
            )
        codes[rows] = (shifted + zeros(rows)).to(torch.int16)
    return codes


def _by_weight(table: Tensor | None, N: int, K: int) -> Any:
    """Rows of a table `[1]`, `[N, 1]` or `[N, G]`, spread over the K inputs."""
    if table is None:
        return lambda rows: 0
    flat = table.reshape(-1, table.shape[-1] if table.dim() == 2 else 1).expand(N, -1)
    return lambda rows: flat[rows].repeat_interleave(K // flat.shape[1], dim=1)


def _table(module: nn.Module, key: str, name: str) -> Tensor:
    tensor = getattr(module, key, None)
    if not isinstance(tensor, Tensor):
        raise InputError(f"{name} cannot spike: it is quantized and has no {key}; open the model anew")
    return tensor


def drop_packed(module: nn.Linear) -> None:
    """Take packed weights off a Linear whose integers have been read; its zero points are unpacked."""
    if not hasattr(module, "weight_packed"):
        if hasattr(module, "weight_shape"):  # compressed-tensors leaves it when it unpacks
            del module.weight_shape
        return
    scheme: Any = module.quantization_scheme
    state = get_direct_state_dict(module)
    size = torch.Size(state["weight_shape"].tolist())
    zero_point = state.get("weight_zero_point")
    if zero_point is not None:
        state["weight_zero_point"] = _unpacked_zero_point(zero_point, scheme.weights, state["weight_scale"], size)
    kept = {key: tensor for key, tensor in state.items() if key not in ("weight_packed", "weight_shape")}
    replace_direct_state_dict(module, kept)


def _unpacked_zero_point(zero_point: Tensor, args: Any, scale: Tensor, size: torch.Size) -> Tensor:
    if args.symmetric or args.strategy == QuantizationStrategy.TENSOR:
        return zero_point
    shape = torch.Size((size[0], scale.shape[-1]))
    return unpack_from_int32(zero_point, args.num_bits, shape, packed_dim=0).contiguous()


def decompress(model: nn.Module, keep: Container[str] = ()) -> None:
    """Turn compressed weights into floats now, all but those that spike, and let nobody do it again.

    compressed-tensors leaves a model compressed when it opens or saves one, and hooks its next forward pass to
    decompress all of it. A second hook would multiply weights by their scales once more, and spiking layers need no
    floats.

    Args:
        model: opened or saved with compressed weights; any other is left as it is.
        keep: names of the modules whose weights stay as they are.
    """
    for module in model.modules():
        hook = module.__dict__.pop("ct_decompress_hook", None)
        if hook is not None:
            hook.remove()
    for name, module in model.named_modules():
        if name not in keep and getattr(module, "quantization_status", None) == QuantizationStatus.COMPRESSED:
            decompress_module(module)


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


def code_range(module: nn.Linear) -> tuple[Tensor, Tensor]:
    """The least and the greatest integer that the quantizer of a module has, zero points subtracted: int16.

    Shaped [1 or N, 1 or K], as they broadcast against its codes.
    """
    args: Any = module.quantization_scheme.weights  # type: ignore[union-attr]
    half = 2 ** (args.num_bits - 1)
    zero_point: Tensor | None = getattr(module, "weight_zero_point", None)
    scale: Any = module.weight_scale
    zero = torch.zeros((1, 1), dtype=torch.int16, device=scale.device)
    if zero_point is not None and not args.symmetric:
        zero = _columns(zero_point.to(torch.int16), module.in_features)
    return -half - zero, half - 1 - zero


def without_zero_point(module: nn.Linear, codes: Tensor, name: str = "") -> Tensor:
    """Stored integers int8 [N, K] minus the zero points of the module, if its quantizer has any.

    Raises:
        InputError: naming the module, if the differences do not fit int8.
    """
    args: Any = module.quantization_scheme.weights  # type: ignore[union-attr]
    zero_point: Tensor | None = getattr(module, "weight_zero_point", None)
    if zero_point is None or args.symmetric:
        return codes
    return _without_zero_point(codes, zero_point, name)


def _without_zero_point(codes: Tensor, zero_point: Tensor, name: str) -> Tensor:
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
