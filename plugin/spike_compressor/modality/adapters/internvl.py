"""InternVL, as transformers has it."""

from __future__ import annotations

from spike_compressor.modality.base import ModalityAdapter, register_adapter


@register_adapter("internvl")
class InternVLAdapter(ModalityAdapter):
    """InternVL as transformers has it: a video is one picture a frame, with the pictures' placeholder."""

    vision_modules = ("model.vision_tower", "model.multi_modal_projector")
    placeholder_fields = ("image_token_id",)
