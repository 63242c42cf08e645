"""Opening a spike-ready checkpoint as a model that computes with spikes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import nn

from spike_compressor.checkpoint.agreement import verify_agreement
from spike_compressor.checkpoint.arguments import load_arguments
from spike_compressor.checkpoint.opening import model_class, open_config
from spike_compressor.checkpoint.placement import kept_in_place
from spike_compressor.checkpoint.read import read_config
from spike_compressor.checkpoint.rotations import apply_online_rotations, stored_tensors
from spike_compressor.checkpoint.saving import make_saveable
from spike_compressor.checkpoint.schema import (
    CONFIG_NAME,
    RECIPE_NAME,
    Layout,
    SpikeConfig,
)
from spike_compressor.checkpoint.seal import verify_files, weight_files
from spike_compressor.checkpoint.specs import layer_specs
from spike_compressor.errors import InputError
from spike_compressor.modality import adapter_for
from spike_compressor.reading import BROKEN, one_line
from spike_compressor.runtime import AttentionSpec, attach, get_backend, require_spiking


def load(
    path: str | os.PathLike[str], backend: str = "fused", *, trust_remote_code: bool = False, **kwargs: Any
) -> Any:
    """Open a spike-ready checkpoint as a transformers model whose Linears compute with spikes.

    Args:
        path: the directory.
        backend: `fused` (all timesteps at once, as integers), `unrolled` (one timestep at a time) or `rtl` (on the
            simulated core); the results are the same to the bit.
        trust_remote_code: run code that the checkpoint brings.
        kwargs: go to `from_pretrained`: `dtype` (the checkpoint's unless it is given; `torch_dtype` means the same),
            `attn_implementation`, `device_map`, ... What would open another model than the saved one is refused.

    Returns:
        The model, in eval mode, online rotations applied.

    Raises:
        InputError: not a spike-ready checkpoint, or one that is damaged; says which file or field. Or it brings code of
            its own, and `trust_remote_code` is not set. Or an argument that cannot be honoured, or is not known; or a
            `device_map`, given or made by `auto`, that offloads parts of the model.
    """
    directory = Path(path)
    get_backend(backend)
    arguments = load_arguments(kwargs)
    config = read_config(directory)
    verify_files(directory, config)
    specs = layer_specs(directory, config)
    verify_agreement(directory, config)
    model_config = open_config(directory, trust_remote_code)
    kind = model_class(model_config, trust_remote_code)
    arguments = {**arguments, "trust_remote_code": trust_remote_code}
    model, unread = _from_pretrained(kind, directory, arguments, config.experts)
    files = weight_files(directory, config)
    unread -= apply_online_rotations(model, model_config, files, config.online_rotations.transforms)
    _require_all_known(model, directory, config, unread)
    _require_shapes(model, directory)
    rounded = _exact_scales(model, files)
    adapter = adapter_for(model, config.adapter_record())
    state = attach(model, specs, adapter, backend, _attention_specs(directory, config))
    for name, dtype in rounded.items():
        if name not in specs:  # decompressed by now
            module = model.get_submodule(name)
            module.weight.data = module.weight.data.to(dtype)
    state.facts.update(
        calibration=config.calibration,
        uncalibrated=config.uncalibrated,
        budget=config.budget.model_dump(exclude_none=True),
        not_spiking=config.not_spiking,
    )
    for section in ("evolution", "activity"):
        content = getattr(config, section)
        if content is not None:
            state.facts[section] = content.model_dump()
    recipe = directory / RECIPE_NAME
    if recipe.is_file():
        state.facts["recipe"] = recipe.read_text(encoding="utf-8")
    require_spiking(model, config.plan)
    make_saveable(model)
    return model.eval()


def _from_pretrained(
    kind: Any, directory: Path, kwargs: dict[str, Any], experts: Layout | None
) -> tuple[Any, set[str]]:
    """transformers' own loading, with what it only logs made an error: tensors that are not there or do not fit.

    Returns:
        The model, and the names of tensors that it did not read.
    """
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # its report names online rotations as unexpected; we read them below
    try:
        with (
            contextlib.nullcontext() if experts is None else _experts().opened(experts),
            kept_in_place(directory, kwargs.get("device_map")),
        ):
            model, report = kind.from_pretrained(directory, output_loading_info=True, **kwargs)
    except NotImplementedError as error:  # it draws what is missing at random, which there is no way to do for int8
        raise InputError(f"{directory}: integer weights of a layer are missing in its weights ({error})") from error
    except (InputError, MemoryError, torch.OutOfMemoryError):
        raise
    except (OSError, RuntimeError, SafetensorError, *BROKEN) as error:
        raise InputError(f"{directory}: transformers cannot open it: {one_line(error)}") from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    for problem in ("missing_keys", "mismatched_keys"):
        if report.get(problem):
            raise InputError(f"{directory}: {problem.replace('_', ' ')} in its weights: {sorted(report[problem])[:3]}")
    if experts is not None:
        _experts().as_in_memory(model, experts)
    return model, set(map(str, report.get("unexpected_keys") or ()))


def _exact_scales(model: nn.Module, files: list[Path]) -> dict[str, torch.dtype]:
    """Give quantized modules the scales that were saved: a dtype, the checkpoint's or another, changes no weights.

    Returns:
        The modules whose scales transformers had cast, and the dtype that they had been given.
    """
    stored, cast = stored_tensors(model, files), {}
    for name, module in model.named_modules():
        scale = module._parameters.get("weight_scale")
        if scale is None or scale.device.type == "meta" or f"{name}.weight_scale" not in stored:
            continue
        path, key = stored[f"{name}.weight_scale"]
        with safe_open(path, framework="pt") as file:
            saved: torch.Tensor = file.get_tensor(key)
        if saved.dtype != scale.dtype and saved.shape == scale.shape:
            cast[name] = scale.dtype
            scale.data = saved.to(scale.device)
    return cast


def _require_all_known(model: nn.Module, directory: Path, config: SpikeConfig, unread: set[str]) -> None:
    """What the files hold and the plan does not speak of would be dropped, or computed as floats, without a word."""
    for name in sorted(unread):
        raise InputError(
            f"{directory}: its files hold {name}, which is no part of the model that config.json describes"
        )
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear) or name in config.plan or name in config.not_spiking:
            continue
        if getattr(module, "quantization_scheme", None) is not None:
            raise InputError(f"{directory}: config.json quantizes {name}, and {CONFIG_NAME} does not know of it")


def _require_shapes(model: nn.Module, directory: Path) -> None:
    """transformers compares no shapes of what it opens compressed."""
    for name, module in model.named_modules():
        weight = module._parameters.get("weight") if isinstance(module, nn.Linear) else None
        if weight is not None and tuple(weight.shape) != (module.out_features, module.in_features):
            raise InputError(
                f"{directory}: its files hold weights {list(weight.shape)} of {name}, which has {module.out_features} "
                f"outputs and {module.in_features} inputs by config.json"
            )


def _experts() -> Any:
    """What splits experts into Linears; it imports LLM Compressor, for which models without experts need not wait."""
    from spike_compressor.checkpoint import experts

    return experts


def _attention_specs(directory: Path, config: SpikeConfig) -> dict[str, AttentionSpec]:
    specs = {}
    for name, entry in (config.attention or {}).items():
        try:
            specs[name] = entry.spec()
        except ValueError as error:
            raise InputError(f"{directory / CONFIG_NAME}: attention of {name}: {error}") from None
    return specs
