"""Idefics3 and SmolVLM."""

from __future__ import annotations

from spike_compressor.modality.base import ModalityAdapter, register_adapter


@register_adapter("idefics3", "smolvlm")
class Idefics3Adapter(ModalityAdapter):
    """Idefics3 and SmolVLM: SigLIP-like tower, pixel-shuffle connector; `<fake_token_around_image>` is text."""

    vision_modules = ("model.vision_model", "model.connector")
    placeholder_fields = ("image_token_id",)
