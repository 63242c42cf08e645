"""Tiny untrained models that hear, and prompts with masks written by hand: "2" where a sound's features stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.utils.data import DataLoader

from helpers.tiny_architectures import END, START, Case, _both, _images, _noise, _patches, _qwen_text
from helpers.tiny_models import AUDIO, BOS, IMAGE, PAD, VIDEO, VOCABULARY, _loud, _text, _vision

_MELS = 16


def _sounds(*frames: int) -> Callable[[], dict[str, Tensor]]:
    """Mel spectrograms of 16 frames, of which so many count: four frames make one token."""
    mask = torch.tensor([[1] * count + [0] * (16 - count) for count in frames])
    return lambda: {"input_features": _noise(len(frames), len(frames), _MELS, 16), "feature_attention_mask": mask}


def _tower(**more: Any) -> dict[str, Any]:
    return {
        "num_mel_bins": _MELS,
        "encoder_layers": 1,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 128,
        "d_model": 64,
        "max_source_positions": 8,
        **more,
    }


def qwen2_audio() -> Any:
    """Qwen2-Audio: text and audio."""
    config = transformers.Qwen2AudioConfig(
        text_config={"model_type": "qwen2", **_text()}, audio_config=_tower(), audio_token_index=AUDIO
    )
    return _loud(transformers.Qwen2AudioForConditionalGeneration(config), 0)


def omni() -> Any:
    """Qwen2.5-Omni's thinker: text, vision and audio."""
    config = transformers.Qwen2_5OmniThinkerConfig(
        text_config=_qwen_text(),
        vision_config={
            "depth": 1,
            "num_heads": 4,
            "patch_size": 8,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "out_hidden_size": 64,
            "window_size": 32,
            "fullatt_block_indexes": [0],
        },
        audio_config=_tower(n_window=4, output_dim=64),
        audio_token_index=AUDIO,
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        audio_start_token_id=11,
        audio_end_token_id=12,
        vision_start_token_id=START,
        vision_end_token_id=END,
    )
    return _loud(transformers.Qwen2_5OmniThinkerForConditionalGeneration(config), 0)


def whisper() -> Any:
    """Whisper: an encoder of audio, a decoder of text."""
    config = transformers.WhisperConfig(
        vocab_size=VOCABULARY,
        num_mel_bins=_MELS,
        d_model=64,
        encoder_layers=1,
        encoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=128,
        max_source_positions=8,
        max_target_positions=32,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=2,
        decoder_start_token_id=BOS,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    return _loud(transformers.WhisperForConditionalGeneration(config), 0)


#: qwen2_audio's: two sounds of four and three tokens in one prompt, one of four in the other.
HEARD = {
    "right": Case(("B<AAAA>ab<AAA>c", "B<AAAA>abcd...."), ("002222000022200", "002222000000000"), _sounds(16, 12, 16)),
    "left": Case(("B<AAAA>ab<AAA>c", "....B<AAAA>abcd"), ("002222000022200", "000000222200000"), _sounds(16, 12, 16)),
}
_PICTURES = _patches([(1, 4, 4), (1, 2, 4)])
#: omni's: a picture of four tokens and a sound, and a smaller picture and a shorter sound.
SEEN_AND_HEARD = {
    "right": Case(
        ("B(IIII)ab<AAAA>c", "B(II)ab<AAA>c..."),
        ("0011110000222200", "0011000022200000"),
        _both(_PICTURES, _sounds(16, 12)),
    ),
    "left": Case(
        ("B(IIII)ab<AAAA>c", "...B(II)ab<AAA>c"),
        ("0011110000222200", "0000011000022200"),
        _both(_PICTURES, _sounds(16, 12)),
    ),
}


def transcripts(seed: int = 0) -> dict[str, Tensor]:
    """A batch of Whisper's: two sounds and what is said in them, one shorter than the other."""
    ids = torch.tensor([[BOS, 13, 14, 15], [BOS, 16, PAD, PAD]])
    return {
        "input_features": _noise(seed, 2, _MELS, 16),
        "decoder_input_ids": ids,
        "decoder_attention_mask": (ids != PAD).long(),
    }


MAKERS: dict[str, Callable[[], Any]] = {"qwen2_audio": qwen2_audio, "omni": omni, "whisper": whisper}


def batches(kind: str) -> list[dict[str, Tensor]]:
    """Calibration data for a kind of model."""
    if kind == "whisper":
        return [transcripts(0), transcripts(1)]
    return [case.batch() for case in (HEARD if kind == "qwen2_audio" else SEEN_AND_HEARD).values()]


def loader(kind: str) -> DataLoader[Any]:
    """The same as a data loader."""
    return DataLoader(batches(kind), batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]


def depth() -> Any:
    """PaliGemma, whose pictures may as well be maps of depth: an architecture without an adapter."""
    config = transformers.PaliGemmaConfig(
        text_config={"model_type": "gemma", **_text(tie_word_embeddings=True)},
        vision_config=_vision(),
        image_token_index=IMAGE,
        projection_dim=64,
        tie_word_embeddings=True,
    )
    return _loud(transformers.PaliGemmaForConditionalGeneration(config), 0)


#: depth's: a map of four tokens a prompt.
MEASURED = Case(("BIIIIabc", "..BIIIIa"), ("01111000", "00011110"), _images(2, 3, 32, 32))
