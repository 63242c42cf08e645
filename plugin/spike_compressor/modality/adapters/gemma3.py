"""Gemma 3."""

from __future__ import annotations

from spike_compressor.modality.base import ModalityAdapter, register_adapter


@register_adapter("gemma3")
class Gemma3Adapter(ModalityAdapter):
    """Gemma 3: SigLIP tower, pooling projector; tokens that begin and end a picture are text."""

    vision_modules = ("model.vision_tower", "model.multi_modal_projector")
    placeholder_fields = ("image_token_id", "image_token_index")
