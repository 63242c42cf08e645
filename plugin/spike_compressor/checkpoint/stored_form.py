"""The form in which a model is written: spiking layers hold the integers that they multiply with.

What goes into the files is what the neurons use, not a second rounding of float weights. Whatever happens while they
are written, the model then has the tensors, schemes and statuses again that it had.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from compressed_tensors.config import CompressionFormat
from compressed_tensors.offload import OffloadCache, from_accelerate
from compressed_tensors.quantization import QuantizationStatus, QuantizationType
from compressed_tensors.utils import get_direct_state_dict, replace_direct_state_dict
from torch import nn

from spike_compressor.runtime import SpikingLinear, SpikingState
from spike_compressor.runtime.weights import decompress


@contextlib.contextmanager
def stored_form(model: nn.Module, state: SpikingState) -> Iterator[None]:
    """Within the block upstream may compress the model; afterwards it has again what it had, whatever happened.

    Args:
        model: that spikes; within the block it is to be suspended, with its integers.
        state: what makes it spike.
    """
    held = [_Held(module) for module in model.modules() if getattr(module, "quantization_scheme", None) is not None]
    try:
        _as_bytes(model, state)
        _without_zeros(model)
        yield
    finally:
        decompress(model, keep=state.layers)
        for module in held:
            module.put_back()


@contextlib.contextmanager
def turned_back(model: nn.Module) -> Iterator[None]:
    """Undo what upstream does to an offloaded model for writing, where an error keeps it from doing so itself."""
    try:
        yield
    except BaseException:
        if hasattr(model, "hf_device_map"):
            from_accelerate(model)
        raise


class _Held:
    """What a quantized module holds itself, to be put back: tensors by reference, scheme and status."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        scheme: Any = module.quantization_scheme
        self._scheme = scheme
        self._format = self._scheme.format
        self._status = getattr(module, "quantization_status", None)
        self._offloaded = isinstance(module._parameters, OffloadCache)
        # parameters themselves where they can be had: an optimizer may know them
        self._tensors = get_direct_state_dict(module) if self._offloaded else {}
        self._tables: list[tuple[dict[str, Any], dict[str, Any]]] = [
            (table, dict(table)) for table in (module._parameters, module._buffers)
        ]

    def put_back(self) -> None:
        module = self._module
        if self._offloaded and isinstance(module, SpikingLinear):
            self._put_back_offloaded(module._parameters)
        elif self._offloaded:
            replace_direct_state_dict(module, self._tensors)
        else:
            for table, tensors in self._tables:
                table.clear()
                table.update(tensors)
        self._scheme.format = self._format
        module.quantization_scheme = self._scheme
        if self._status is not None:
            module.quantization_status = self._status

    def _put_back_offloaded(self, table: dict[str, Any]) -> None:
        """Of a spiking layer, which takes no tensors by name; weights that train are back in their place already."""
        for key in list(table):
            if key not in self._tensors or (key != "weight" and self._tensors[key] is not None):
                del table[key]
        for key, tensor in self._tensors.items():
            if key != "weight" and tensor is not None:
                table[key] = nn.Parameter(tensor, requires_grad=False)  # to wherever the cache keeps its tensors


def _as_bytes(model: nn.Module, state: SpikingState) -> None:
    """Let quantized modules that do not spike keep their integers in an int8 each, like those that do.

    Transformers cannot open packed weights in every architecture (SigLIP: it initializes `weight`, which is not there).
    """
    for name, module in model.named_modules():
        scheme: Any = getattr(module, "quantization_scheme", None)
        if name in state.layers or not isinstance(module, (nn.Linear, nn.Embedding)):
            continue
        if scheme is None or scheme.weights is None:
            continue
        if "weight_packed" not in module._parameters:
            module._parameters.pop("weight_shape", None)  # compressed-tensors leaves it when it unpacks
        compressed = getattr(module, "quantization_status", None) == QuantizationStatus.COMPRESSED
        if scheme.weights.type == QuantizationType.INT and scheme.weights.num_bits <= 8 and not compressed:
            module.quantization_scheme = scheme.model_copy(update={"format": CompressionFormat.int_quantized})


def _without_zeros(model: nn.Module) -> None:
    """Take the zero points of symmetric attention schemes away: reading makes none, and has no place for them."""
    for module in model.modules():
        scheme: Any = getattr(module, "quantization_scheme", None)
        args = None if scheme is None else scheme.input_activations
        if args is not None and args.symmetric:
            for key in ("q_zero_point", "k_zero_point", "v_zero_point"):
                module._parameters.pop(key, None)
