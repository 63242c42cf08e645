"""Qwen2-VL and its successors."""

from __future__ import annotations

from spike_compressor.modality.base import ModalityAdapter, register_adapter


@register_adapter("qwen2_vl", "qwen2_5_vl")
class Qwen2VLAdapter(ModalityAdapter):
    """Qwen2-VL and Qwen2.5-VL: the patch merger is part of the tower; images and video have their own placeholders."""

    vision_modules = ("model.visual",)


@register_adapter("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
class Qwen3VLAdapter(ModalityAdapter):
    """Qwen3-VL and Qwen3.5, with experts or without: DeepStack's mergers are part of the tower too.

    Their features are added to the outputs of the first decoder layers at the placeholders' rows alone, so rows keep
    their modality from layer to layer. The times written between the steps of a video are text.
    """

    vision_modules = ("model.visual",)
