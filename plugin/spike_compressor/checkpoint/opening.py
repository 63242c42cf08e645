"""Opening what transformers opens: the config, model and processor of a directory, with code of its own or without."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoConfig, AutoProcessor, AutoTokenizer

from spike_compressor.checkpoint.arguments import floating_dtype
from spike_compressor.checkpoint.read import require_no_spikes
from spike_compressor.errors import InputError, shown
from spike_compressor.reading import one_line, read_object

#: Auto classes that remote code may be registered for, and config files that name it.
AUTO_MODELS = ("AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModel")
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")


def open_config(path: str | os.PathLike[str], trust_remote_code: bool = False) -> Any:
    """The transformers config of a model directory.

    Raises:
        InputError: no config there, or the model brings code of its own and `trust_remote_code` is not set.
    """
    directory = Path(path)
    content = _read_json(directory / "config.json")
    if content is None:
        raise InputError(f"there is no model in {directory}: no config.json that can be read")
    remote = content.get("auto_map")
    if remote and content.get("model_type") not in CONFIG_MAPPING and not trust_remote_code:
        # transformers would ask on a terminal, and otherwise refuse in many words
        raise InputError(_untrusted(directory, remote))
    try:
        return AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code)
    except Exception as error:  # each config class has validators of its own, which raise what they like
        raise InputError(f"{directory / 'config.json'} cannot be used: {one_line(error)}") from error


def model_class(config: Any, trust_remote_code: bool = False) -> Any:
    """The class that opens a model: transformers' own that the config names, or what its remote code is made for.

    A config that names no class is taken for a causal language model's.

    Raises:
        InputError: transformers has none of the classes, and there is no remote code, or no leave to run it.
    """
    named = config.architectures or []
    if not isinstance(named, list):
        raise InputError(f"config.json: `architectures` must be a list of names, and is {shown(named)}")
    for name in named:
        if hasattr(transformers, name):
            return getattr(transformers, name)
    remote = getattr(config, "auto_map", None) or {}
    for name in AUTO_MODELS:
        if trust_remote_code and name in remote:
            return getattr(transformers, name)
    if not named and not remote:
        return transformers.AutoModelForCausalLM
    lacking = f"transformers {transformers.__version__} has none of the classes {named}"
    if trust_remote_code:
        raise InputError(f"{lacking}, and the model brings no code of its own for {' or '.join(AUTO_MODELS)}")
    raise InputError(f"{lacking}; trust_remote_code=True (--trust-remote-code) runs the model's own")


def open_model(path: str | os.PathLike[str], dtype: str | torch.dtype = "auto", trust_remote_code: bool = False) -> Any:
    """The model of a directory, in the class that its config names, in eval mode.

    Args:
        path: a directory as transformers writes it.
        dtype: of the weights, a torch dtype or its name; `auto` for the one that they are stored in.
        trust_remote_code: run code that the directory brings.

    Raises:
        InputError: no model there; one that cannot be read; one that spikes already; one with code of its own, without
            `trust_remote_code`.
    """
    directory = Path(path)
    require_no_spikes(directory)
    dtype = floating_dtype(dtype)
    kind = model_class(open_config(directory, trust_remote_code), trust_remote_code)
    try:
        return kind.from_pretrained(directory, dtype=dtype, trust_remote_code=trust_remote_code).eval()
    except (SafetensorError, OSError) as error:
        raise InputError(f"{directory}: its weights cannot be read: {error}") from error


def open_processor(path: str | os.PathLike[str], trust_remote_code: bool = False) -> Any:
    """The processor of a model directory, or its tokenizer where it has no processor.

    Raises:
        InputError: neither can be opened, or only with code that the directory brings and `trust_remote_code` forbids.
    """
    directory = Path(path)
    try:
        return AutoProcessor.from_pretrained(directory, trust_remote_code=trust_remote_code)
    except (ValueError, OSError, ImportError) as error:
        remote = dict(_remote_processors(directory))
        if remote and not trust_remote_code:  # not half of it: a tokenizer alone would see no pictures
            raise InputError(_untrusted(directory, remote)) from error
    try:
        return AutoTokenizer.from_pretrained(directory, trust_remote_code=trust_remote_code)
    except (ValueError, OSError, ImportError) as error:
        raise InputError(f"{directory} has neither a processor nor a tokenizer that opens: {error}") from error


def _remote_processors(directory: Path) -> Iterator[tuple[str, Any]]:
    for name in _PROCESSOR_FILES:
        yield from ((_read_json(directory / name) or {}).get("auto_map") or {}).items()


def _untrusted(directory: Path, remote: dict[str, Any]) -> str:
    # a tokenizer's entry is a pair of classes, slow and fast
    classes = {name for entry in remote.values() for name in (entry if isinstance(entry, list) else [entry]) if name}
    return (
        f"{directory} brings code of its own ({', '.join(sorted(classes))}); read it, and pass trust_remote_code=True "
        "(--trust-remote-code) to run it"
    )


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        return read_object(file)
    except InputError:
        return None
