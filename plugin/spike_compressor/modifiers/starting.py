"""Models that are quantized already when a recipe starts: taken exactly as they are, or refused before calibration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from compressed_tensors.offload import update_offload_parameter
from compressed_tensors.quantization import QuantizationStatus
from compressed_tensors.transform.factory.base import TransformBase
from compressed_tensors.utils import match_named_modules
from llmcompressor.modifiers.quantization import QuantizationMixin
from torch import nn
from transformers import PretrainedConfig

from spike_compressor.checkpoint.rotations import online_rotations, transforms_of
from spike_compressor.errors import InputError
from spike_compressor.modifiers.msts import MSTSModifier
from spike_compressor.modifiers.recipe import ObeysSpikePlan
from spike_compressor.runtime import integer_weight
from spike_compressor.runtime.weights import decompress

_DONE = (QuantizationStatus.COMPRESSED, QuantizationStatus.DECOMPRESSED)


def take_over(model: nn.Module, modules: Mapping[str, nn.Linear], modifiers: Iterable[Any]) -> None:
    """Make a model that came quantized ready for a recipe: its integers are known, its weights floats for calibration.

    A model that came in floats is left as it is, but for scales that its quantization modifiers are still to find: they
    become NaN, since compressed-tensors leaves in them what the memory held, which a modifier that passes over a layer
    would pass off as its scales.

    Args:
        model: that the recipe runs on.
        modules: its Linears that are to spike, by name.
        modifiers: of the recipe.

    Raises:
        InputError: it was opened without its online rotations; integers that the recipe would quantize again, or a
            modifier would change; weights that are no integers any more; queries whose scales would never be found.
            Names the layer or the rotation.
    """
    require_rotations(model)
    _require_found_queries(model)
    done = {name: module for name, module in modules.items() if getattr(module, "quantization_status", None) in _DONE}
    changing = [m for m in modifiers if not isinstance(m, (QuantizationMixin, MSTSModifier, ObeysSpikePlan))]
    if done and changing:
        name = next(iter(done))
        raise InputError(
            f"{type(changing[0]).__name__} changes weights, and those of {name} (and {len(done) - 1} more layers) are "
            "integers already: leave it out, or start from the float model"
        )
    for name, module in modules.items():
        weight = getattr(module, "weight", None)
        if name in done or (weight is not None and not weight.dtype.is_floating_point):
            integer_weight(module, name)
    for module in modules.values():
        scale = getattr(module, "weight_scale", None)
        if getattr(module, "quantization_status", None) == QuantizationStatus.INITIALIZED and scale is not None:
            update_offload_parameter(module, "weight_scale", torch.full_like(scale, torch.nan))
    decompress(model)


def require_not_twice(model: nn.Module, modifiers: Iterable[Any]) -> None:
    """Check that no modifier of a recipe quantizes what is compressed already; before the recipe runs.

    Raises:
        InputError: names the modifier and the first layer.
    """
    for modifier in modifiers:
        if not isinstance(modifier, QuantizationMixin):
            continue
        for name, module in match_named_modules(model, modifier.resolved_targets, modifier.ignore):
            if getattr(module, "quantization_status", None) == QuantizationStatus.COMPRESSED:
                raise InputError(
                    f"{type(modifier).__name__} would quantize {name}, whose weights are integers already: leave the "
                    "modifier out of the recipe to keep them, or start from the float model"
                )


def require_rotations(model: nn.Module) -> None:
    """Check that a model has the online rotations that its checkpoint needs, which plain transformers drops.

    Raises:
        InputError: it lacks them; its weights alone compute noise.
    """
    config: Any = getattr(model, "config", None)
    if config is None or any(isinstance(module, TransformBase) for module in model.modules()):
        return
    lost = list(online_rotations(transforms_of(config))) or list(online_rotations(transforms_of(_on_disk(config))))
    if lost:
        raise InputError(
            f"the checkpoint in {config.name_or_path} has online rotations ({', '.join(lost)}), and plain transformers "
            "opened it without them; start from the float model that it was made from"
        )


def _require_found_queries(model: nn.Module) -> None:
    """Refuse static scales of queries: LLM Compressor gathers no statistics of them, and what the memory held stays."""
    for name, module in model.named_modules():
        if (
            isinstance(getattr(module, "q_scale", None), torch.Tensor)
            and getattr(module, "quantization_status", None) == QuantizationStatus.INITIALIZED
        ):
            raise InputError(
                f"LLM Compressor finds no static scales of the queries of {name}, and would save what the memory held; "
                "make its input_activations dynamic, or give a kv_cache_scheme in place of them"
            )


def _on_disk(config: Any) -> Any:
    """The config that the model was opened with: one that has been decompressed no longer says how it was quantized."""
    try:
        content, _ = PretrainedConfig.get_config_dict(config.name_or_path, local_files_only=True)
    except (OSError, ValueError):
        return None
    found = PretrainedConfig()
    found.quantization_config = content.get("quantization_config")
    return found
