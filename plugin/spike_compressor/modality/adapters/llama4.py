"""Llama 4."""

from __future__ import annotations

from spike_compressor.modality.base import ModalityAdapter, register_adapter


@register_adapter("llama4")
class Llama4Adapter(ModalityAdapter):
    """Llama 4: the pixel-shuffle adapter is part of the tower; marks between tiles are text."""

    vision_modules = ("vision_model", "multi_modal_projector")
