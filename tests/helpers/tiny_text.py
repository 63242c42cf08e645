"""Tiny untrained text models of many `model_type`s: decoders, state-space models, hybrids, as transformers lists them.

A config is asked for by type and gets those of `SMALL` that it has, and what else its type needs to be small and whole.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from helpers.tiny_models import BOS, PAD, VOCABULARY, _loud, words

#: Settings by the names that configs have for them.
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "sliding_window": 8,
    **dict.fromkeys(("hidden_size", "d_model", "n_embd"), 64),
    **dict.fromkeys(("intermediate_size", "d_ff", "n_inner", "ffn_dim", "ffn_hidden_size", "decoder_ffn_dim"), 128),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 64),
    "num_key_value_heads": 2,
    "head_dim": 16,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
}
_MAMBA2 = {
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 16,
    "mamba_chunk_size": 8,
}
_LINEAR_ATTENTION = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
_SLIDING = ["sliding_attention", "full_attention"]

#: Decoders, each with what it needs beside `SMALL`.
DECODERS: dict[str, dict[str, Any]] = {
    "bloom": {},
    "cohere": {},
    "cohere2": {"layer_types": _SLIDING},
    "falcon": {},  # Linears of a class of its own
    "gemma2": {"tie_word_embeddings": True, "layer_types": _SLIDING},  # soft caps
    "gemma3_text": {"tie_word_embeddings": True, "layer_types": _SLIDING},
    "glm4": {},
    "gpt2": {},  # no Linears at all
    "gpt_bigcode": {},
    "gpt_neox": {},
    "gptj": {"rotary_dim": 8},
    "granite": {},
    "llama": {},
    "minicpm3": {"num_key_value_heads": 4, "head_dim": 8},  # low-rank attention
    "mistral": {},
    "mpt": {"expansion_ratio": 2},
    "nemotron": {},
    "olmo2": {},
    "opt": {},
    "phi": {},
    "phi3": {},  # one Linear for queries, keys and values, one for gate and up
    "qwen2": {},
    "qwen3": {},
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
}
#: State-space models, and models that mix their layers or convolutions with attention.
STATE_SPACE: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1], **_MAMBA2},
    "falcon_h1": {"mamba_d_ssm": 128, **_MAMBA2},
    "falcon_mamba": {},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_ff_dim": 128, "block_multiple_of": 8},
    "mamba": {},
    "mamba2": {"num_heads": 8, "n_groups": 1, "state_size": 16, "chunk_size": 8},
    "olmo_hybrid": {},
    "qwen3_5_text": _LINEAR_ATTENTION,
    "recurrent_gemma": {
        "block_types": ["recurrent", "attention"],
        "lru_width": 64,
        "attention_window_size": 16,
    },
}


def text_model(model_type: str, seed: int = 0, **more: Any) -> Any:
    """A fresh random causal language model of a type that is listed here, or of another that `SMALL` makes small.

    Args:
        model_type: transformers' name of the architecture.
        seed: of its weights.
        more: settings of the config.
    """
    kind = type(transformers.AutoConfig.for_model(model_type))
    known = vars(kind())
    needed = {**DECODERS, **STATE_SPACE}.get(model_type, {})
    settings = {key: value for key, value in SMALL.items() if key in known}
    special = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": 2}
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
    return _loud(getattr(transformers, name)(kind(**{**settings, **special, **needed, **more})), seed)


def text_batch(lengths: tuple[int, ...] = (5, 8), seed: int = 0) -> dict[str, Tensor]:
    """Prompts of these lengths, padded on the left."""
    rows = [[BOS, *words(length - 1, seed + number)] for number, length in enumerate(lengths)]
    ids = torch.tensor([[PAD] * (max(lengths) - len(row)) + row for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def encoder_decoder(model_type: str) -> Any:
    """A fresh random T5 or BART."""
    special = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": 2, "decoder_start_token_id": BOS}
    if model_type == "t5":
        t5 = transformers.T5Config(
            vocab_size=VOCABULARY, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, **special
        )
        return _loud(transformers.T5ForConditionalGeneration(t5), 0)
    bart = transformers.BartConfig(
        vocab_size=VOCABULARY,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_position_embeddings=64,
        forced_eos_token_id=None,
        **special,
    )
    return _loud(transformers.BartForConditionalGeneration(bart), 0)


def question_and_answer() -> dict[str, Tensor]:
    """A batch of T5 or BART: questions of 5 and 8 tokens, answers of 2 and 3, both padded."""
    answers = torch.tensor([[BOS, 21, PAD], [BOS, 22, 23]])
    return {**text_batch(), "decoder_input_ids": answers, "decoder_attention_mask": (answers != PAD).long()}
