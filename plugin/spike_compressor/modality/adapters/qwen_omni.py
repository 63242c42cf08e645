"""The thinkers of Qwen2.5-Omni and Qwen3-Omni: text, vision and audio."""

from __future__ import annotations

from typing import ClassVar

from spike_compressor.modality.base import ByModality, ModalityAdapter, register_adapter


@register_adapter("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker")
class QwenOmniAdapter(ModalityAdapter):
    """Qwen2.5-Omni's and Qwen3-Omni's thinker: tokens that mark a sound's begin and end are text."""

    modules: ClassVar[ByModality] = {"vision": ("visual",), "audio": ("audio_tower",)}
