"""LLaVA and its relatives."""

from __future__ import annotations

from spike_compressor.modality.base import ModalityAdapter, register_adapter


@register_adapter(
    "llava", "llava_next", "vipllava", "mistral3", "aya_vision", "cohere2_vision", "lfm2_vl", "aria", "got_ocr2"
)
class LlavaAdapter(ModalityAdapter):
    """LLaVA 1.5, LLaVA-NeXT and those built like them: a tower, a projector, any text model.

    VipLLaVA, Mistral 3, Aya Vision, Command A Vision, LFM2-VL, Aria (whose experts are text), GOT-OCR 2.
    """

    vision_modules = ("model.vision_tower", "model.multi_modal_projector")


@register_adapter("llava_onevision")
class LlavaOnevisionAdapter(ModalityAdapter):
    """LLaVA-OneVision: LLaVA-NeXT's tiles, and videos with placeholders of their own."""

    vision_modules = ("model.vision_tower", "model.multi_modal_projector")
