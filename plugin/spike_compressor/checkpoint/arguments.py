"""Which arguments of transformers `save` and `load` pass on, and which they refuse.

A sealed checkpoint holds one content. What would put another one in its place, or leave a part out, is refused before
anything is read or written, and so is whatever would have no effect.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from spike_compressor.errors import InputError

_UPLOAD = "save to a directory and upload that (huggingface_hub.upload_folder)"
_LOCAL = "the checkpoint is a local directory"
_OTHER = "the checkpoint has its own"


@dataclass(frozen=True)
class _Only:
    """An argument that is taken with values that change nothing, and otherwise refused for a reason."""

    values: tuple[Any, ...]
    reason: str


#: Passed on to `save_pretrained`.
_SAVE_HONOURED = ("max_shard_size",)
_SAVE_ONLY: dict[str, _Only] = {
    "save_compressed": _Only((True, None), "spike-ready checkpoints hold integer weights"),
    "quantization_format": _Only((None, "int-quantized"), "spike-ready checkpoints are int-quantized"),
    "safe_serialization": _Only((True, None), "weights are written as safetensors"),
    "save_function": _Only((None,), "weights are written as safetensors, by transformers"),
    "variant": _Only((None,), "transformers would not find the weights without it"),
    "save_peft_format": _Only((True, None), "adapters are not saved"),
    "save_original_format": _Only((True, None), "tensors have the names that transformers reads everywhere"),
    "distributed_checkpoint": _Only((False, None), "the first process writes the checkpoint"),
    "push_to_hub": _Only((False, None), f"it would upload before the spike files are written; {_UPLOAD}"),
    **dict.fromkeys(
        ("token", "use_auth_token", "repo_id", "commit_message", "commit_description", "create_pr", "private", "tags"),
        _Only((None,), f"it is for uploading; {_UPLOAD}"),
    ),
}

#: Passed on to `from_pretrained`.
_LOAD_HONOURED = (
    "dtype",
    "torch_dtype",
    "attn_implementation",
    "experts_implementation",
    "device_map",
    "max_memory",
    "offload_folder",
    "offload_buffers",
    "disable_mmap",
    "generation_config",
    "output_attentions",
    "output_hidden_states",
    "use_cache",
)
_LOAD_ONLY: dict[str, _Only] = {
    "quantization_config": _Only((None,), f"{_OTHER}, and its integers are read with that"),
    "config": _Only((None,), f"{_OTHER}; change `model.config` after loading"),
    "state_dict": _Only((None,), f"{_OTHER} weights"),
    "subfolder": _Only(("", None), "give the path of the subfolder itself"),
    "variant": _Only((None,), f"{_OTHER} weights, under one name"),
    "use_safetensors": _Only((True, None), "its weights are safetensors"),
    "weights_only": _Only((True, None), "its weights are safetensors"),
    "ignore_mismatched_sizes": _Only((False, None), "tensors that do not fit would be replaced by random ones"),
    "output_loading_info": _Only((False, None), "what it reports is an error here"),
    "key_mapping": _Only((None,), f"{_OTHER} names of tensors"),
    "low_cpu_mem_usage": _Only((True, False, None), ""),  # transformers takes it and does nothing with it
    "local_files_only": _Only((True, False, None), ""),
    "revision": _Only((None, "main"), _LOCAL),
    **dict.fromkeys(("code_revision", "cache_dir", "token", "use_auth_token", "proxies"), _Only((None,), _LOCAL)),
    **dict.fromkeys(("force_download", "resume_download"), _Only((False, None), _LOCAL)),
    **dict.fromkeys(("gguf_file", "from_tf", "from_flax"), _Only((False, None), "its weights are safetensors")),
    **dict.fromkeys(("adapter_name", "adapter_kwargs"), _Only((None,), "load an adapter into the model afterwards")),
    **dict.fromkeys(
        ("use_kernels", "kernel_config", "allow_all_kernels", "fusion_config"),
        _Only((False, None), "other kernels give other bits than those of the model that was saved"),
    ),
    **dict.fromkeys(
        ("tp_plan", "tp_size", "device_mesh", "distributed_config"),
        _Only((None,), "spiking layers are not split over processes"),
    ),
}


def save_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `save` that transformers' `save_pretrained` is to get.

    Raises:
        InputError: an argument that would replace or drop content, one without effect, or an unknown one.
    """
    return _checked("save", kwargs, _SAVE_HONOURED, _SAVE_ONLY)


def load_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `load` that transformers' `from_pretrained` is to get; `dtype` is always among them.

    Raises:
        InputError: an argument that would compute something else than what was saved, one without effect, or an unknown
            one; a dtype that is none.
    """
    taken = _checked("load", kwargs, _LOAD_HONOURED, _LOAD_ONLY)
    old, new = (taken.pop(name, None) for name in ("torch_dtype", "dtype"))
    if old is not None and new is not None and old != new:
        raise InputError(f"load: dtype={new!r} and torch_dtype={old!r} differ; leave out torch_dtype, its old name")
    chosen = new if new is not None else old
    return {**taken, "dtype": floating_dtype("auto" if chosen is None else chosen)}


def floating_dtype(dtype: Any) -> Any:
    """`auto`, a floating-point dtype by itself or by its name, or a table of such by part of the model.

    Raises:
        InputError: anything else.
    """
    if isinstance(dtype, Mapping):
        return {part: floating_dtype(entry) for part, entry in dtype.items()}
    if isinstance(dtype, str) and dtype == "auto":
        return dtype
    named = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(named, torch.dtype) or not named.is_floating_point:
        raise InputError(f"{dtype} is no floating-point dtype of torch (float32, bfloat16, float16, ...)")
    return named


def require_own_state(model: nn.Module, state_dict: Mapping[str, Any] | None) -> None:
    """Check that a `state_dict` given to `save` is the model's own, which is what is written.

    Raises:
        InputError: it lacks a tensor, has one more, or one that differs; names it.
    """
    if state_dict is None:
        return
    own = model.state_dict()
    for name in (*own, *state_dict):
        if name not in own or name not in state_dict or not _same(own[name], state_dict[name]):
            raise InputError(
                f"save: `state_dict` differs from the model's own at {name}; put the values into the model, quantize "
                "it anew, and leave `state_dict` out"
            )


def _same(own: Any, other: Any) -> bool:
    if own is other:
        return True
    if not isinstance(own, torch.Tensor) or not isinstance(other, torch.Tensor):
        return False
    return own.dtype == other.dtype and own.shape == other.shape and torch.equal(own.cpu(), other.cpu())


def _checked(
    function: str, kwargs: Mapping[str, Any], honoured: tuple[str, ...], only: Mapping[str, _Only]
) -> dict[str, Any]:
    for name, value in kwargs.items():
        if name in honoured:
            continue
        rule = only.get(name)
        if rule is None:
            close = difflib.get_close_matches(name, (*honoured, *only), n=1)
            hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(honoured)}"
            raise InputError(f"{function} has no argument {name!r}; {hint}")
        if not any(type(value) is type(allowed) and value == allowed for allowed in rule.values):
            raise InputError(f"{function}: {name}={_short(value)} cannot be honoured: {rule.reason}. Leave it out.")
    return {name: value for name, value in kwargs.items() if name in honoured and value is not None}


def _short(value: Any) -> str:
    simple = value is None or isinstance(value, (bool, int, float, str))
    if simple:
        return repr(value)
    return getattr(value, "__qualname__", None) or f"a {type(value).__name__}"
