"""Adapters of the supported architectures, a few lines each."""

from __future__ import annotations

from spike_compressor.modality.base import ModalityAdapter, register_adapter


@register_adapter
class LlavaAdapter(ModalityAdapter):
    """LLaVA 1.5 and LLaVA-NeXT: CLIP or SigLIP tower, MLP projector, any text model."""

    model_types = ("llava", "llava_next")
    vision_modules = ("model.vision_tower", "model.multi_modal_projector")
    placeholder_fields = ("image_token_id", "image_token_index")


@register_adapter
class Qwen2VLAdapter(ModalityAdapter):
    """Qwen2-VL and Qwen2.5-VL: the patch merger is part of the tower; images and video have their own placeholders."""

    model_types = ("qwen2_vl", "qwen2_5_vl")
    vision_modules = ("model.visual",)
