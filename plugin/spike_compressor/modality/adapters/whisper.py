"""Speech recognition by an encoder and a decoder: Whisper and its relatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from spike_compressor.modality.base import ByModality, ModalityAdapter, TokenRows, register_adapter


@register_adapter("whisper", "moonshine", "speech_to_text")
class SpeechRecognitionAdapter(ModalityAdapter):
    """Whisper, Moonshine, Speech2Text: the encoder's rows are audio, the decoder's text.

    What turns the encoder's output into keys and values stands in the decoder and sees audio. The tokens of a call are
    the decoder's; of a batch for training, those that its labels become.
    """

    modules: ClassVar[ByModality] = {
        "audio": ("model.encoder", r"re:model\.decoder\.layers\.\d+\.encoder_attn\.(k|v)_proj$"),
        "text": (r"re:(model\.decoder|proj_out|lm_head)(\.|$)",),
    }

    @property
    def token_modalities(self) -> tuple[str, ...]:
        return ("text",)

    def rows(self, inputs: Mapping[str, Any]) -> TokenRows | None:
        ids, labels = inputs.get("decoder_input_ids"), inputs.get("labels")
        if ids is not None:
            return TokenRows.of(torch.zeros_like(ids, dtype=torch.uint8), inputs.get("decoder_attention_mask"))
        if labels is not None and inputs.get("input_ids") is None:
            # shifted to the right by the token that a transcript begins with; -100 stands for none
            told = nn.functional.pad(labels[:, :-1] != -100, (1, 0), value=True)
            return TokenRows.of(torch.zeros_like(labels, dtype=torch.uint8), told)
        return super().rows(inputs)
