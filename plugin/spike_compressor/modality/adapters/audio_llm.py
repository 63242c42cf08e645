"""Language models that hear: an audio tower and a projector before a text model."""

from __future__ import annotations

from typing import ClassVar

from spike_compressor.modality.base import ByModality, ModalityAdapter, register_adapter


@register_adapter("qwen2_audio", "qwen3_asr", "voxtral", "audioflamingo3", "glmasr")
class AudioLanguageModelAdapter(ModalityAdapter):
    """Qwen2-Audio, Qwen3-ASR, Voxtral, Audio Flamingo 3, GLM-ASR: Whisper-like tower, projector, any text model."""

    modules: ClassVar[ByModality] = {"audio": ("model.audio_tower", "model.multi_modal_projector")}


@register_adapter("granite_speech")
class GraniteSpeechAdapter(ModalityAdapter):
    """Granite Speech: Conformer encoder, a Q-Former as projector; both work on audio rows alone."""

    modules: ClassVar[ByModality] = {"audio": ("model.encoder", "model.projector")}
