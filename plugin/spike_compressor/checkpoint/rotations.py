"""Online rotations: part of the model, but dropped by plain transformers; `load` puts them back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from compressed_tensors.transform import TransformConfig, TransformScheme, apply_transform_config
from compressed_tensors.transform.factory.base import TransformBase
from safetensors import safe_open
from torch import nn

from spike_compressor.errors import InputError


def apply_online_rotations(
    model: nn.Module, model_config: Any, directory: Path, expected: dict[str, list[str]]
) -> None:
    """Attach the rotations that run at inference and give them the saved matrices.

    The ones that were fused into weights are in the weights already and must not be applied again.

    Raises:
        InputError: the checkpoint announces rotations that it does not define, or lacks their matrices.
    """
    if not expected:
        return
    quantization = getattr(model_config, "quantization_config", None) or {}
    saved = quantization.get("transform_config") or {}
    full = TransformConfig.model_validate(saved) if saved.get("config_groups") else TransformConfig(config_groups={})
    missing = [name for name in expected if name not in full.config_groups]
    if missing:
        raise InputError(f"{directory / 'config.json'} does not define the online rotation {missing[0]!r}")
    online: dict[str, TransformScheme] = {}
    for name, scheme in full.config_groups.items():
        args = [args for args in scheme.apply if args.is_online()]
        if args:
            online[name] = scheme.model_copy(update={"apply": args})
    apply_transform_config(model, TransformConfig(config_groups=online))
    _load_matrices(model, directory)
    model.transform_config = full  # what saving it again must write


def _load_matrices(model: nn.Module, directory: Path) -> None:
    """Fill every rotation's tensors; those of one size share storage, and only the first was saved."""
    stored = _stored_tensors(model, directory)
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
    lacking = [name for name, parameter in wanted if id(parameter) not in filled]
    if lacking:
        raise InputError(f"{directory}: the matrix of the online rotation {lacking[0]} is missing")


def _stored_tensors(model: Any, directory: Path) -> dict[str, tuple[Path, str]]:
    """File and key of every stored tensor, by the name that it has in the model.

    Transformers spells many names differently in checkpoints than in models; it keeps the renamings on the model.
    """
    renamings = getattr(model, "_weight_conversions", None) or ()
    stored: dict[str, tuple[Path, str]] = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  (a safetensors handle is no mapping)
                name = key
                for renaming in renamings:
                    name, _ = renaming.rename_source_key(name)
                stored[name] = stored[key] = (path, key)
    return stored
