"""Reading an ordinary integer activation scheme as a spike code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationStrategy, QuantizationType
from torch import nn

from spike_compressor.coding import MAX_TIMESTEPS, get_coding
from spike_compressor.errors import InputError
from spike_compressor.runtime import LayerSpec


def activation_scheme(name: str, module: nn.Module) -> Any:
    """The `QuantizationArgs` of a layer's input.

    Raises:
        InputError: no activation scheme, or one that spikes cannot encode; says which and what to do.
    """
    scheme = getattr(module, "quantization_scheme", None)
    args: Any = None if scheme is None else scheme.input_activations
    if args is None:
        raise InputError(
            f"TCLIFModifier has no timesteps for {name}: set `timesteps`, add an MSTSModifier before it, or give the "
            "layer `input_activations` in its quantization scheme to reinterpret."
        )
    if args.type != QuantizationType.INT or not 2 <= args.num_bits <= MAX_TIMESTEPS + 1:
        raise InputError(
            f"{name}: {args.num_bits} bit {args.type} activations have no spike code; use int, 2 to 8 bits"
        )
    dynamic_by_token = args.dynamic is True and args.strategy == QuantizationStrategy.TOKEN
    static_by_tensor = args.dynamic is False and args.strategy == QuantizationStrategy.TENSOR
    if not (dynamic_by_token or static_by_tensor):
        kind = "dynamic" if args.dynamic else "static"
        raise InputError(
            f"{name}: {kind} activations by {args.strategy} have no spike code; use dynamic by token or static by "
            "tensor."
        )
    return args


def inherited_coding(scheme: Any, coding: str) -> str:
    """The coding of a scheme that is reinterpreted: zero points need unsigned spikes."""
    return "binary_unsigned" if not scheme.symmetric and get_coding(coding).signed else coding


def refuse_fields(name: str, scheme: Any, threshold: str | None, chosen: Iterable[str]) -> None:
    """Refuse fields of `TCLIFModifier` that do not apply to the thresholds of a scheme that is reinterpreted.

    Args:
        name: of the layer.
        scheme: of its inputs.
        threshold: the field `threshold`, None where it is left out.
        chosen: which of `threshold_ratio` and `threshold_statistic` have another value than their default.

    Raises:
        InputError: names the layer and the field.
    """
    static = scheme.dynamic is False
    for field in chosen:
        if static and threshold is None:
            raise InputError(
                f"{name} inherits a static threshold, to which TCLIFModifier.{field} does not apply; remove it, or "
                "set `threshold: dynamic`"
            )
        if not scheme.symmetric:
            what = f"{name}: TCLIFModifier.{field} does not apply to an asymmetric scheme"
            raise InputError(f"{what}; remove it, or make its input_activations symmetric")
    if threshold == "static" and not static and not scheme.symmetric:
        raise InputError(
            f"{name}: static thresholds of an asymmetric scheme are inherited, not calibrated; make its "
            "input_activations static, or leave TCLIFModifier.threshold out"
        )


def reinterpret(name: str, module: nn.Linear, coding: str, modalities: Sequence[str]) -> LayerSpec:
    """The spike code of the activation scheme that a recipe gave a layer.

    b symmetric bits are T = b - 1 timesteps of `coding`; asymmetric ones need unsigned spikes and their zero point:
    where `coding` is signed, `binary_unsigned` takes its place. Dynamic per-token scales stay dynamic. A static
    per-tensor scale keeps its calibrated range: with compressed-tensors' s = absmax / ((2^b - 1) / 2), the range absmax
    is divided by 2^T - 1 again, because the end code -2^T does not exist here.

    Raises:
        InputError: as `activation_scheme`.
    """
    args = activation_scheme(name, module)
    timesteps = dict.fromkeys(modalities, args.num_bits - 1)
    coding = inherited_coding(args, coding)
    if args.dynamic:
        return LayerSpec(timesteps, coding, symmetric=args.symmetric)
    return _static(module, args, timesteps, coding)


def _static(module: nn.Linear, args: Any, timesteps: dict[str, int], coding: str) -> LayerSpec:
    scale = float(module.input_scale)  # type: ignore[arg-type]
    if args.symmetric:
        absmax = scale * (2**args.num_bits - 1) / 2
        scale = float(torch.tensor(absmax / (2 ** (args.num_bits - 1) - 1), dtype=torch.float32))
        return LayerSpec(timesteps, coding, "static", scale=dict.fromkeys(timesteps, scale))
    level = int(module.input_zero_point) + 2 ** (args.num_bits - 1)  # type: ignore[arg-type]
    return LayerSpec(
        timesteps,
        coding,
        "static",
        scale=dict.fromkeys(timesteps, scale),
        symmetric=False,
        zero_point=dict.fromkeys(timesteps, level),
    )


def set_activation_bits(module: nn.Module, bits: int, symmetric: bool = True) -> None:
    """What plain transformers is to do at the input: dynamic integers of the text rows' bit width, by token.

    Args:
        module: a quantized layer; its activation scheme is replaced.
        bits: of the integers.
        symmetric: without a zero point.
    """
    activations = QuantizationArgs(
        num_bits=bits,
        type=QuantizationType.INT,
        symmetric=symmetric,
        strategy=QuantizationStrategy.TOKEN,
        dynamic=True,
    )
    scheme: Any = module.quantization_scheme
    # the format follows from the scheme when it is saved; one that was inferred for weights alone no longer fits
    module.quantization_scheme = scheme.model_copy(update={"input_activations": activations, "format": None})
    for leftover in ("input_scale", "input_zero_point"):  # of a static scheme that the plan overrules
        if hasattr(module, leftover):
            delattr(module, leftover)
