"""Whether plain transformers opens a checkpoint to the weights that it holds."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open

from spike_compressor.checkpoint.expert_names import original_rules


def why_not_plain(model: Any, directory: Path) -> str | None:
    """Why plain transformers does not open a checkpoint to the weights that it holds, or None if it does.

    Transformers itself is asked, on the meta device: no weight is read.
    """
    with original_rules(), _unmatched_targets_untold():
        return _complaint(model, directory)


def _complaint(model: Any, directory: Path) -> str | None:
    stored: dict[str, torch.Tensor] = {}
    for path in sorted(directory.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  (a safetensors handle is no mapping)
                entry = file.get_slice(key)
                stored[key] = torch.empty(entry.get_shape(), dtype=_DTYPES[entry.get_dtype()], device="meta")
    kind = type(model)
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        config = type(model.config).from_pretrained(directory)
        options = {"config": config, "state_dict": stored, "device_map": "meta", "output_loading_info": True}
        _, report = kind.from_pretrained(None, **options)
    except Exception as error:  # whatever transformers raises: it does not open it
        return f"transformers {transformers.__version__} fails: {type(error).__name__}: {str(error).splitlines()[0]}"
    finally:
        transformers.logging.set_verbosity(verbosity)
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        keys = sorted(map(str, report.get(problem) or ()))
        if keys:
            return f"{problem.replace('_', ' ')} for transformers {transformers.__version__}: {keys[0]} ({len(keys)})"
    return None


@contextlib.contextmanager
def _unmatched_targets_untold() -> Iterator[None]:
    """compressed-tensors warns that experts are no modules where they are stacked."""
    source = logging.getLogger("compressed_tensors.utils.match")
    source.addFilter(_nothing)
    try:
        yield
    finally:
        source.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


#: What safetensors calls the dtypes.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
