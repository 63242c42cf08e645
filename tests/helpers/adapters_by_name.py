"""Architectures whose adapters are a few names and nothing else: models without weights, and what sees text in them."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING

_VLM = ("model.language_model.", "lm_head")
_THINKER = ("model.", "lm_head")

#: model_type -> class of transformers, beginnings of the names of all Linears that see text, list of decoder layers
BY_NAME: dict[str, tuple[str, tuple[str, ...], str]] = {
    name: (kind, _VLM, "model.language_model.layers")
    for name, kind in {
        "qwen3_vl_moe": "Qwen3VLMoeForConditionalGeneration",
        "qwen3_5": "Qwen3_5ForConditionalGeneration",
        "qwen3_5_moe": "Qwen3_5MoeForConditionalGeneration",
        "glm4v": "Glm4vForConditionalGeneration",
        "glm4v_moe": "Glm4vMoeForConditionalGeneration",
        "glm46v": "Glm46VForConditionalGeneration",
        "mllama": "MllamaForConditionalGeneration",
        "vipllava": "VipLlavaForConditionalGeneration",
        "mistral3": "Mistral3ForConditionalGeneration",
        "aya_vision": "AyaVisionForConditionalGeneration",
        "cohere2_vision": "Cohere2VisionForConditionalGeneration",
        "lfm2_vl": "Lfm2VlForConditionalGeneration",
        "aria": "AriaForConditionalGeneration",
        "got_ocr2": "GotOcr2ForConditionalGeneration",
        "voxtral": "VoxtralForConditionalGeneration",
        "audioflamingo3": "AudioFlamingo3ForConditionalGeneration",
        "glmasr": "GlmAsrForConditionalGeneration",
        "qwen3_asr": "Qwen3ASRForConditionalGeneration",
        "granite_speech": "GraniteSpeechForConditionalGeneration",
    }.items()
} | {
    "llama4": ("Llama4ForConditionalGeneration", ("language_model.",), "language_model.model.layers"),
    "qwen3_omni_moe_thinker": ("Qwen3OmniMoeThinkerForConditionalGeneration", _THINKER, "model.layers"),
    "moonshine": ("MoonshineForConditionalGeneration", ("model.decoder.", "proj_out"), "model.decoder.layers"),
    "speech_to_text": ("Speech2TextForConditionalGeneration", ("model.decoder.", "lm_head"), "model.decoder.layers"),
}
_DEPTHS = ("num_hidden_layers", "depth", "encoder_layers", "decoder_layers", "encoder_num_hidden_layers")


def without_weights(name: str) -> Any:
    """The model on the meta device, with its default config but for the depth."""
    config = CONFIG_MAPPING[name]()
    parts = [config, *(getattr(config, key) for key in config.sub_configs or ())]
    for part in parts:
        for depth in _DEPTHS:
            if isinstance(getattr(part, depth, None), int):
                setattr(part, depth, min(getattr(part, depth), 4))
    if name == "aya_vision":  # transformers' default is no multiple of the heads
        config.vision_config.num_attention_heads = 16
    with torch.device("meta"):
        return getattr(transformers, BY_NAME[name][0])(config)
