"""Spiking checkpoints in VLMEvalKit: `python -m spike_compressor.integrations.vlmeval --model DIR --data OCRBench`.

VLMEvalKit knows models by their names in a table, and has no entry points; so its command line is started through this
package, which puts the checkpoints that `--model` names into the table.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from spike_compressor.errors import InputError
from spike_compressor.integrations.harness import Harness, is_spiking

HARNESS = Harness("VLMEvalKit", "ms-vlmeval", "0.0.20", "0.0.21", "pip install ms-vlmeval==0.0.20")


def register(path: str | Path, name: str | None = None, **settings: Any) -> str:
    """Make a checkpoint known to VLMEvalKit in this process.

    Args:
        path: the checkpoint's directory.
        name: that VLMEvalKit calls it by; the directory's own without one.
        settings: of `spike_compressor.integrations.vlmeval.models.Spike`.

    Returns:
        The name.

    Raises:
        InputError: VLMEvalKit is not installed, or in a version that was not tested; no spiking checkpoint; a name that
            another model has.
    """
    HARNESS.require()
    if not is_spiking(path):
        raise InputError(f"{path} is no spiking checkpoint: it has no spike_config.json")
    from vlmeval.config import supported_VLM

    from spike_compressor.integrations.vlmeval.models import Spike

    name = name or Path(path).resolve().name
    known = supported_VLM.get(name)
    if known is not None and getattr(known, "func", None) is not Spike:
        raise InputError(f"VLMEvalKit has a model {name!r} of its own; rename the directory {path}")
    supported_VLM[name] = partial(Spike, model_path=str(path), **settings)
    return name


__all__ = ["HARNESS", "register"]
