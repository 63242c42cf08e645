"""LLaVA and its relatives."""

from __future__ import annotations

from spike_compressor.modality.base import ModalityAdapter, register_adapter


@register_adapter("llava", "llava_next")
class LlavaAdapter(ModalityAdapter):
    """LLaVA 1.5 and LLaVA-NeXT: CLIP or SigLIP tower, MLP projector, any text model."""

    vision_modules = ("model.vision_tower", "model.multi_modal_projector")
    placeholder_fields = ("image_token_id", "image_token_index")


@register_adapter("llava_onevision")
class LlavaOnevisionAdapter(ModalityAdapter):
    """LLaVA-OneVision: LLaVA-NeXT's tiles, and videos with placeholders of their own."""

    vision_modules = ("model.vision_tower", "model.multi_modal_projector")
    placeholder_fields = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
