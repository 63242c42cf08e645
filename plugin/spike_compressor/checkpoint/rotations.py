"""Online rotations: part of the model, but dropped by plain transformers; `load` puts them back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.transform import TransformConfig, TransformScheme, apply_transform_config
from compressed_tensors.transform.factory.base import TransformBase
from safetensors import safe_open
from torch import nn

from spike_compressor.errors import InputError


def online_rotations(transforms: TransformConfig | None) -> dict[str, list[str]]:
    """The rotations that run at inference, and the places where each acts."""
    groups = {} if transforms is None else transforms.config_groups
    places = {
        name: sorted({str(args.location) for args in scheme.apply if args.is_online()})
        for name, scheme in groups.items()
    }
    return {name: where for name, where in places.items() if where}


def transforms_of(model_config: Any) -> TransformConfig:
    """The rotations that a model's config names, fused ones among them; often none."""
    quantization = getattr(model_config, "quantization_config", None) or {}
    if not isinstance(quantization, dict):
        quantization = quantization.to_dict()
    saved = quantization.get("transform_config") or {}
    return TransformConfig.model_validate(saved) if saved.get("config_groups") else TransformConfig(config_groups={})


def apply_online_rotations(
    model: nn.Module, model_config: Any, files: Sequence[Path], expected: dict[str, list[str]]
) -> set[str]:
    """Attach the rotations that run at inference and give them the saved matrices.

    The ones that were fused into weights are in the weights already and must not be applied again.

    Args:
        model: as transformers opened it, without them.
        model_config: its config, which defines them.
        files: that hold the model's weights, the matrices among them.
        expected: the rotations that `spike_config.json` announces, which are those of the config (`agreement`).

    Returns:
        Names of the tensors that were read, as the model and as the files call them.

    Raises:
        InputError: a matrix is missing.
    """
    full = transforms_of(model_config)
    if not expected:
        return set()
    online: dict[str, TransformScheme] = {}
    for name, scheme in full.config_groups.items():
        args = [args for args in scheme.apply if args.is_online()]
        if args:
            online[name] = scheme.model_copy(update={"apply": args})
    apply_transform_config(model, TransformConfig(config_groups=online))
    read = _load_matrices(model, files)
    model.transform_config = full  # what saving it again must write
    return read


def _load_matrices(model: nn.Module, files: Sequence[Path]) -> set[str]:
    """Fill every rotation's tensors; those of one size share storage, and only the first was saved."""
    stored = stored_tensors(model, files)
    read: set[str] = set()
    wanted: list[tuple[str, nn.Parameter]] = []
    for name, module in model.named_modules():
        if isinstance(module, TransformBase):
            wanted += [(f"{name}.{key}", parameter) for key, parameter in module.named_parameters(recurse=False)]
    filled: set[int] = set()
    for name, parameter in wanted:
        if name in stored:
            path, key = stored[name]
            with safe_open(path, framework="pt") as file, torch.no_grad():
                parameter.copy_(file.get_tensor(key))
            filled.add(id(parameter))
            read |= {name, key}
    lacking = [name for name, parameter in wanted if id(parameter) not in filled]
    if lacking:
        raise InputError(f"{files[0].parent}: the matrix of the online rotation {lacking[0]} is missing")
    return read


def stored_tensors(model: Any, files: Sequence[Path]) -> dict[str, tuple[Path, str]]:
    """File and key of every stored tensor, by the name that it has in the model and by the key.

    Transformers spells many names differently in checkpoints than in models; it keeps the renamings on the model.
    """
    renamings = getattr(model, "_weight_conversions", None) or ()
    stored: dict[str, tuple[Path, str]] = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  (a safetensors handle is no mapping)
                name = key
                for renaming in renamings:
                    name, _ = renaming.rename_source_key(name)
                stored[name] = stored[key] = (path, key)
    return stored
