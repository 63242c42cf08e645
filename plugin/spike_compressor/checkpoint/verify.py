"""What was written is read back and compared with the model in memory, before the directory takes its place.

Which modules the config quantizes, and how, is compared for all of them, since that needs no weights. Tensors are read
back for a sample: of each kind of layer one, and the last of all; or for every layer.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.quantization import QuantizationConfig, QuantizationType
from compressed_tensors.quantization.lifecycle.apply import _scheme_from_targets
from compressed_tensors.quantization.utils import is_module_quantized
from compressed_tensors.transform.factory.base import TransformBase
from compressed_tensors.utils.match import match_named_modules, match_targets
from safetensors import safe_open
from torch import Tensor, nn

from spike_compressor.checkpoint.agreement import verify_agreement
from spike_compressor.checkpoint.read import read_config
from spike_compressor.checkpoint.rotations import stored_tensors
from spike_compressor.checkpoint.schema import THRESHOLDS_NAME, SpikeConfig
from spike_compressor.checkpoint.seal import verify_files, weight_files
from spike_compressor.errors import InputError
from spike_compressor.reading import read_object
from spike_compressor.runtime import SpikingLinear, SpikingState, integer_weight

Extent = Literal["sample", "all"]

#: At most so many layers, and so many other tensors, are a sample.
_LAYERS, _TENSORS = 8, 16
#: What a scheme says that decides which numbers come out.
_SCHEME_PARTS = ("weights", "input_activations", "output_activations")
_ARGUMENTS = ("num_bits", "type", "symmetric", "strategy", "group_size", "dynamic")


def require_extent(extent: Any) -> None:
    """
    Raises:
        InputError: no extent of the reading back.
    """
    if extent not in ("sample", "all"):
        raise InputError(f"save: verify={extent!r} is neither 'sample' nor 'all'")


def verify_written(
    model: nn.Module,
    state: SpikingState,
    directory: Path,
    config: SpikeConfig,
    extent: Extent = "sample",
    restacked: Container[str] = (),
) -> None:
    """Compare what was written with what is in memory.

    Args:
        model: that was saved; it spikes.
        state: what makes it spike.
        directory: what was written.
        config: what `spike_config.json` in it should say.
        extent: `sample`, or `all` layers and tensors.
        restacked: names of float modules that the files hold as parts of other tensors; they are left out.

    Raises:
        InputError: a difference; names the layer or tensor.
    """
    verify_files(directory, config, hashes=False)
    verify_agreement(directory, config)
    if read_config(directory) != config:
        raise _differs("spike_config.json", "its content")
    _verify_schemes(model, directory, restacked)
    written = _Written(model, weight_files(directory, config))
    layers = list(state.layers)
    for name in layers if extent == "all" else _sample(layers, _LAYERS):
        _verify_layer(name, state.layers[name], written)
    _verify_thresholds(state, directory)
    quantized = {name for name, module in model.named_modules() if _has_codes(module)} - state.layers.keys()
    for name in quantized if extent == "all" else _sample(sorted(quantized), _LAYERS):
        module = model.get_submodule(name)
        if isinstance(module, nn.Linear) and _is_small_integer(module):
            integer = integer_weight(module, name)
            codes, scale = written.codes(name, integer.bits)
            if not _equal(codes, integer.codes) or not _equal(scale.expand_as(integer.scale), integer.scale):
                raise _differs(name, "its integer weights")
    own = {
        name: tensor
        for name, tensor in _plain_tensors(model, {*quantized, *state.layers}).items()
        if name.rpartition(".")[0] not in restacked
    }
    for name in own if extent == "all" else _sample(list(own), _TENSORS):
        written.require(name, own[name], model)
    for name, module in model.named_modules():
        if isinstance(module, TransformBase):
            for key, parameter in module.named_parameters(recurse=False):
                written.require(f"{name}.{key}", parameter.data, model)


class _Written:
    """Tensors in files, by the names that they have in the model."""

    def __init__(self, model: nn.Module, files: list[Path]) -> None:
        self._stored = stored_tensors(model, files)

    def get(self, name: str) -> Tensor | None:
        if name not in self._stored:
            return None
        path, key = self._stored[name]
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(key)
            return tensor

    def codes(self, name: str, bits: int) -> tuple[Tensor, Tensor]:
        """int8 [N, K] without a zero point, and float32 scales [1 or N, G]."""
        weight, scale = self.get(f"{name}.weight"), self.get(f"{name}.weight_scale")
        packed, shape = self.get(f"{name}.weight_packed"), self.get(f"{name}.weight_shape")
        if packed is not None and shape is not None:
            weight = unpack_from_int32(packed, bits, torch.Size(shape.tolist()))
        if weight is None or scale is None or weight.dtype != torch.int8:
            raise _differs(name, "its integer weights, which are not there")
        zero_point = self.get(f"{name}.weight_zero_point")
        if zero_point is not None:
            columns = zero_point.reshape(-1, zero_point.shape[-1] if zero_point.dim() == 2 else 1).to(torch.int16)
            weight = weight.to(torch.int16) - columns.repeat_interleave(weight.shape[1] // columns.shape[1], dim=1)
            weight = weight.to(torch.int8)
        return weight, scale.to(torch.float32).reshape(-1, scale.shape[-1] if scale.dim() == 2 else 1)

    def require(self, name: str, tensor: Tensor, model: nn.Module) -> None:
        """Check a tensor that is stored as it is; tied ones are stored once, under the name of any of them."""
        stored = self.get(name)
        if stored is None:
            tied = (other for other, value in _named_tensors(model) if _shares(value, tensor) and other != name)
            stored = next((found for other in tied if (found := self.get(other)) is not None), None)
        if stored is None:
            raise _differs(name, "it, which is not there")
        if stored.shape != tensor.shape:
            return  # stacked or split on its way by transformers, which loading reverts
        if not _equal(stored, tensor):
            raise _differs(name, "it")


def _verify_layer(name: str, layer: SpikingLinear, written: _Written) -> None:
    integer = layer.neurons.integer
    codes, scale = written.codes(name, integer.bits)
    if not _equal(codes, integer.codes):
        raise _differs(name, "its integer weights")
    if not _equal(scale.expand_as(integer.scale), integer.scale):
        raise _differs(name, "its scales")
    bias = written.get(f"{name}.bias")
    if (bias is None) != (layer.bias is None) or (bias is not None and not _equal(bias, layer.bias.data)):
        raise _differs(name, "its bias")


def _verify_thresholds(state: SpikingState, directory: Path) -> None:
    static = {name: layer.spec.scale for name, layer in state.layers.items() if layer.spec.scale is not None}
    if not static:
        return
    with safe_open(directory / THRESHOLDS_NAME, framework="pt") as file:
        for name, scales in static.items():
            for modality, scale in scales.items():
                if float(file.get_tensor(f"{name}.{modality}")) != float(torch.tensor(scale, dtype=torch.float32)):
                    raise _differs(name, f"its threshold for {modality} rows")


def _verify_schemes(model: nn.Module, directory: Path, restacked: Container[str]) -> None:
    """Every module is quantized by the config in the file exactly as it is in memory."""
    content = read_object(directory / "config.json").get("quantization_config")
    if not isinstance(content, dict):
        raise _differs("config.json", "its quantization_config, which is not there")
    fields = QuantizationConfig.model_fields
    parsed = QuantizationConfig.model_validate({key: value for key, value in content.items() if key in fields})
    targets = {target: scheme for scheme in parsed.config_groups.values() for target in scheme.targets}
    found: dict[str, Any] = {}
    for name, module in match_named_modules(model, targets, parsed.ignore or []):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            found[name] = _scheme_from_targets(targets, match_targets(name, module, targets), name)
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Linear, nn.Embedding)) or name in restacked:
            continue
        scheme: Any = module.quantization_scheme if is_module_quantized(module) else None
        if _facts(scheme) != _facts(found.get(name)):
            raise _differs(name, "its quantization scheme in config.json")


def _facts(scheme: Any) -> dict[str, tuple[str, ...]]:
    parts = {} if scheme is None else {part: getattr(scheme, part) for part in _SCHEME_PARTS}
    # a field that a recipe left out holds an enumeration's member, one that was read from a file its value
    return {
        part: tuple(str(getattr(value, "value", value)) for value in (getattr(args, field) for field in _ARGUMENTS))
        for part, args in parts.items()
        if args is not None
    }


def _has_codes(module: nn.Module) -> bool:
    scheme: Any = getattr(module, "quantization_scheme", None)
    return scheme is not None and scheme.weights is not None


def _is_small_integer(module: nn.Module) -> bool:
    scheme: Any = module.quantization_scheme
    args = scheme.weights
    return bool(args.type == QuantizationType.INT and args.num_bits <= 8)


def _plain_tensors(model: nn.Module, quantized: set[str]) -> dict[str, Tensor]:
    """What is stored as it is: parameters and persistent buffers outside quantized modules and rotations."""
    rotations = {name for name, module in model.named_modules() if isinstance(module, TransformBase)}
    kept = set(model.state_dict())
    ignored = getattr(model, "_keys_to_ignore_on_save", None) or ()
    return {
        name: tensor
        for name, tensor in _named_tensors(model)
        if name in kept
        and name not in ignored
        and name.rpartition(".")[0] not in {*quantized, *rotations}
        # a zero point of zero is that of a symmetric scheme, which is not stored
        and not (name.endswith("_zero_point") and not tensor.to(torch.float32).any())
    }


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters(remove_duplicate=False):
        yield name, parameter.data
    yield from model.named_buffers(remove_duplicate=False)


def _sample(names: Iterable[str], count: int) -> list[str]:
    """The first of each kind, told by the last two parts of the name without numbers, and the last of all."""
    names = list(names)
    kinds: dict[str, str] = {}
    for name in names:
        parts = [part for part in name.split(".") if not part.isdigit()]
        kinds.setdefault(".".join(parts[-2:]), name)
    return list(dict.fromkeys([*list(kinds.values())[: count - 1], *names[-1:]]))


def _shares(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(one.data_ptr() == other.data_ptr() or torch.equal(one, other))


def _equal(stored: Tensor, tensor: Tensor) -> bool:
    return stored.dtype == tensor.dtype and torch.equal(stored, tensor.detach().to(stored.device))


def _differs(name: str, what: str) -> InputError:
    return InputError(
        f"{name}: what was written of {what} is not what the model holds, so nothing was saved. The model is as it "
        "was; if nothing changed it by hand, this is a fault to report."
    )
