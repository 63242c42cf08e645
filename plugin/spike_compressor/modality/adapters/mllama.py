"""Llama 3.2 Vision."""

from __future__ import annotations

from typing import ClassVar

from spike_compressor.modality.base import ByModality, ModalityAdapter, register_adapter


@register_adapter("mllama")
class MllamaAdapter(ModalityAdapter):
    """Llama 3.2 Vision: all tokens are text; pictures enter as keys and values of cross attention.

    A token stands for each picture, with an embedding of its own: its row is text, too.
    """

    modules: ClassVar[ByModality] = {
        "vision": (
            "model.vision_model",
            "model.multi_modal_projector",
            r"re:model\.language_model\.layers\.\d+\.cross_attn\.(k|v)_proj$",
        )
    }
    placeholder_fields: ClassVar[ByModality] = {}

    @property
    def token_modalities(self) -> tuple[str, ...]:
        return ("text",)
