"""Spiking checkpoints in lmms-eval: `lmms-eval --model spike --model_args pretrained=DIR ...`.

lmms-eval finds the model `spike` by the entry point group `lmms_eval.models`; nothing but the model's name is imported
until somebody asks for it.
"""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """What lmms-eval wants to know of the model `spike` (a `ModelManifest`)."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="spike", chat_class_path=f"{__name__}.models.Spike")


__all__ = ["manifest"]
