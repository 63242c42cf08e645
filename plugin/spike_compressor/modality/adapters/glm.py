"""GLM-4V and its successors."""

from __future__ import annotations

from spike_compressor.modality.base import ModalityAdapter, register_adapter


@register_adapter("glm4v", "glm4v_moe", "glm46v")
class Glm4VAdapter(ModalityAdapter):
    """GLM-4.1V, GLM-4.5V, GLM-4.6V: the merger is part of the tower; a video is one picture a frame."""

    vision_modules = ("model.visual",)
