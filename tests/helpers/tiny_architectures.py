"""Tiny untrained models of every architecture that has a modality adapter, and prompts with masks written by hand.

A prompt is a string, a letter a token, and its mask stands beside it: what a reader sees is what the test expects. The
pictures that go with a prompt are counted in the model's own way (patches, tiles, frames), so that a model refuses a
prompt whose number of placeholders is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.utils.data import DataLoader

from helpers.tiny_models import AUDIO, BOS, IMAGE, PAD, VIDEO, VOCABULARY, _loud, _text, _vision

START, END = 7, 8  # begin and end of a picture: boi/eoi, vision_start/vision_end, fake_token_around_image
#: What the letters of a prompt stand for; every other letter is some word.
LETTERS = {".": PAD, "B": BOS, "I": IMAGE, "V": VIDEO, "A": AUDIO, "(": START, ")": END, "<": 11, ">": 12}


def tokens(prompt: str) -> list[int]:
    """Token ids of a prompt."""
    return [LETTERS.get(letter, 10 + ord(letter) % (VOCABULARY - 10)) for letter in prompt]


@dataclass(frozen=True)
class Case:
    """A padded batch: prompts, their masks ("1" where a picture's features stand), and the pictures."""

    prompts: tuple[str, ...]
    masks: tuple[str, ...]
    pictures: Callable[[], dict[str, Tensor]] = dict
    #: Qwen's and Gemma's processors say where pictures are; this is the field's name.
    token_types: str = ""

    def batch(self) -> dict[str, Tensor]:
        """The model's keyword arguments."""
        ids = torch.tensor([tokens(prompt) for prompt in self.prompts])
        batch = {"input_ids": ids, "attention_mask": (ids != PAD).long(), **self.pictures()}
        if self.token_types:
            batch[self.token_types] = (ids == IMAGE).int() + 2 * (ids == VIDEO).int()
        return batch

    @property
    def modality(self) -> list[list[int]]:
        """The mask [batch, sequence]."""
        return [[int(digit) for digit in mask] for mask in self.masks]


@dataclass(frozen=True)
class Architecture:
    """One architecture: how to make a tiny model, and prompts for it.

    Attributes:
        model_class: transformers' class.
        config: makes its config.
        cases: prompts by name, all with pictures; `right` and `left` are padded on that side.
        vision: beginnings of the names of all Linears that see vision only.
        text: beginnings of the names of all others.
        layers: name of the decoder layers' list.
    """

    model_class: Any
    config: Callable[[], Any]
    cases: dict[str, Case]
    vision: tuple[str, ...]
    text: tuple[str, ...] = ("model.language_model.", "lm_head")
    layers: str = "model.language_model.layers"

    def model(self) -> Any:
        """A fresh random model."""
        return _loud(self.model_class(self.config()), 0)

    def loader(self, *cases: str) -> DataLoader[Any]:
        """Calibration data: the batches of some cases."""
        batches = [self.cases[case].batch() for case in cases or ("right", "left")]
        return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _patches(grids: list[tuple[int, int, int]], kind: str = "image") -> Callable[[], dict[str, Tensor]]:
    """Qwen's pictures: flat patches of 8 x 8 pixels and 2 frames, and a grid of (time, height, width) for each."""
    name = "pixel_values" if kind == "image" else "pixel_values_videos"
    count = sum(t * h * w for t, h, w in grids)
    return lambda: {name: _noise(count, count, 3 * 2 * 8 * 8), f"{kind}_grid_thw": torch.tensor(grids)}


def _both(*makers: Callable[[], dict[str, Tensor]]) -> Callable[[], dict[str, Tensor]]:
    return lambda: {key: value for make in makers for key, value in make().items()}


def _images(*shape: int, name: str = "pixel_values", **more: Any) -> Callable[[], dict[str, Tensor]]:
    """Random pixels of one shape; `more` are further tensors, as lists."""
    return lambda: {name: _noise(len(shape), *shape), **{key: torch.tensor(value) for key, value in more.items()}}


# Qwen2-VL, Qwen2.5-VL, Qwen3-VL: four patches make one token, two frames make one step of time


def _qwen_text(**more: Any) -> dict[str, Any]:
    mrope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    return _text(rope_parameters=mrope, **more)


def _qwen(config_class: Any, text: dict[str, Any], **vision: Any) -> Callable[[], Any]:
    common = {"depth": 2, "num_heads": 4, "patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2}
    return lambda: config_class(
        text_config=dict(text),
        vision_config={**common, **vision},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=START,
        vision_end_token_id=END,
    )


_QWEN_IMAGES = _patches([(1, 4, 4), (1, 2, 4), (1, 4, 6)])
_QWEN_CASES = {
    "right": Case(
        ("B(IIII)ab(II)c", "B(IIIIII)ab..."),
        ("00111100001100", "00111111000000"),
        _QWEN_IMAGES,
        "mm_token_type_ids",
    ),
    "left": Case(
        ("B(IIII)ab(II)c", "...B(IIIIII)ab"),
        ("00111100001100", "00000111111000"),
        _QWEN_IMAGES,
        "mm_token_type_ids",
    ),
    "video": Case(
        ("B(VVVV)ab(II)c", "....B(IIII)abc"),
        ("00111100001100", "00000011110000"),
        _both(_patches([(2, 2, 4)], "video"), _patches([(1, 2, 4), (1, 4, 4)])),
        "mm_token_type_ids",
    ),
}
#: Qwen3-VL writes the time before every step of a video, and marks each step's begin and end.
_QWEN3_CASES = {
    **_QWEN_CASES,
    "video": Case(
        ("Ba(VV)b(VV)cd(II)e", "........B(IIII)abc"),
        ("000110001100001100", "000000000011110000"),
        _both(_patches([(2, 2, 4)], "video"), _patches([(1, 2, 4), (1, 4, 4)])),
        "mm_token_type_ids",
    ),
}

# LLaVA and those with four tokens a tile: InternVL, Idefics3, SmolVLM, Gemma 3

_FOUR_CASES = {
    "right": Case(
        ("B(IIII)ab(IIII)c", "B(IIII)abcd....."),
        ("0011110000111100", "0011110000000000"),
        _images(3, 3, 32, 32),
    ),
    "left": Case(
        ("B(IIII)ab(IIII)c", ".....B(IIII)abcd"),
        ("0011110000111100", "0000000111100000"),
        _images(3, 3, 32, 32),
    ),
}
#: A video is one picture after another to these.
_FRAMES = Case(
    ("Ba(IIII)b(IIII)c(IIII)d", "................B(IIII)"),
    ("00011110001111000111100", "00000000000000000011110"),
    _images(4, 3, 32, 32),
)


def _typed(cases: dict[str, Case], name: str) -> dict[str, Case]:
    return {key: replace(case, token_types=name) for key, case in cases.items()}


def _by_row(cases: dict[str, Case]) -> dict[str, Case]:
    """Idefics3's pixels: [batch, most pictures of a row, 3, height, width], zeros where a row has fewer pictures."""
    return {key: replace(case, pictures=partial(_rows_of_pictures, case)) for key, case in cases.items()}


def _rows_of_pictures(case: Case) -> dict[str, Tensor]:
    pixels = case.pictures()["pixel_values"]
    counts = [prompt.count("I") // 4 for prompt in case.prompts]
    padded = torch.zeros(len(counts), max(counts), *pixels.shape[1:])
    for row, pictures in enumerate(pixels.split(counts)):
        padded[row, : len(pictures)] = pictures
    return {"pixel_values": padded}


# LLaVA-NeXT and LLaVA-OneVision: the picture as a whole is a tile of 2 x 2 tokens, and larger, in two tiles, its rows
# end in a newline that is a learned embedding, put where a placeholder stands

_PINPOINTS = [[32, 64], [64, 32]]
_NEXT_IMAGES = _images(3, 3, 3, 32, 32, image_sizes=[[32, 32], [32, 64], [64, 32]])
#: 4 + 2 (2 + 1) tokens of a square picture, 4 + 2 (4 + 1) of a wide one, 4 + 4 (2 + 1) of a high one
_NEXT_CASES = {
    "right": Case(
        ("BIIIIIIIIIIaIIIIIIIIIIIIIIb", "BIIIIIIIIIIIIIIIIabcd......"),
        ("011111111110111111111111110", "011111111111111110000000000"),
        _NEXT_IMAGES,
    ),
    "left": Case(
        ("BIIIIIIIIIIaIIIIIIIIIIIIIIb", "......BIIIIIIIIIIIIIIIIabcd"),
        ("011111111110111111111111110", "000000011111111111111110000"),
        _NEXT_IMAGES,
    ),
}
#: Each frame of 2 x 2 tokens is pooled to one; a newline ends the video: 4 + 1 tokens for four frames.
_ONEVISION_VIDEO = Case(
    ("BaVVVVVbIIIIIIIIIIc", "......BIIIIIIIIIIab"),
    ("0011111011111111110", "0000000111111111100"),
    _both(
        _images(1, 4, 3, 32, 32, name="pixel_values_videos"),
        _images(2, 3, 3, 32, 32, image_sizes=[[32, 32], [32, 32]]),
    ),
)


def _siglip() -> Any:
    return transformers.SiglipVisionConfig(**_vision(), vision_use_head=False)


def _idefics(config_class: Any) -> Callable[[], Any]:
    return lambda: config_class(
        text_config={"model_type": "llama", **_text()},
        vision_config=_vision(patch_size=8),
        image_token_id=IMAGE,
        scale_factor=2,
        pad_token_id=PAD,
    )


_SLIDING = ["sliding_attention", "full_attention"]
_LLAVA_VISION = ("model.vision_tower.", "model.multi_modal_projector.")
_IDEFICS_VISION = ("model.vision_model.", "model.connector.")
_IDEFICS_TEXT = ("model.text_model.", "lm_head")

ARCHITECTURES: dict[str, Architecture] = {
    "qwen2_vl": Architecture(
        transformers.Qwen2VLForConditionalGeneration,
        _qwen(transformers.Qwen2VLConfig, _qwen_text(), embed_dim=64, hidden_size=64, mlp_ratio=2),
        _QWEN_CASES,
        ("model.visual.",),
    ),
    "qwen2_5_vl": Architecture(
        transformers.Qwen2_5_VLForConditionalGeneration,
        _qwen(
            transformers.Qwen2_5_VLConfig,
            _qwen_text(),
            hidden_size=64,
            intermediate_size=128,
            out_hidden_size=64,
            window_size=32,
            fullatt_block_indexes=[1],
        ),
        _QWEN_CASES,
        ("model.visual.",),
    ),
    "qwen3_vl": Architecture(
        transformers.Qwen3VLForConditionalGeneration,
        _qwen(
            transformers.Qwen3VLConfig,
            _qwen_text(),
            hidden_size=64,
            intermediate_size=128,
            out_hidden_size=64,
            num_position_embeddings=16,
            deepstack_visual_indexes=[0],
        ),
        _QWEN3_CASES,
        ("model.visual.",),
    ),
    "internvl": Architecture(
        transformers.InternVLForConditionalGeneration,
        lambda: transformers.InternVLConfig(
            text_config={"model_type": "qwen2", **_text(tie_word_embeddings=True)},
            vision_config=_vision(patch_size=8),
            image_token_id=IMAGE,
            image_seq_length=4,
            tie_word_embeddings=True,
        ),
        {**_FOUR_CASES, "video": _FRAMES},
        _LLAVA_VISION,
    ),
    "llava": Architecture(
        transformers.LlavaForConditionalGeneration,
        lambda: transformers.LlavaConfig(
            text_config=transformers.LlamaConfig(**_text()),
            vision_config=transformers.CLIPVisionConfig(**_vision()),
            image_token_index=IMAGE,
            image_seq_length=4,
            vision_feature_layer=-1,
        ),
        _FOUR_CASES,
        _LLAVA_VISION,
    ),
    "llava_next": Architecture(
        transformers.LlavaNextForConditionalGeneration,
        lambda: transformers.LlavaNextConfig(
            text_config=transformers.LlamaConfig(**_text()),
            vision_config=transformers.CLIPVisionConfig(**_vision()),
            image_token_index=IMAGE,
            image_grid_pinpoints=_PINPOINTS,
            vision_feature_layer=-1,
        ),
        _NEXT_CASES,
        _LLAVA_VISION,
    ),
    "llava_onevision": Architecture(
        transformers.LlavaOnevisionForConditionalGeneration,
        lambda: transformers.LlavaOnevisionConfig(
            text_config=transformers.Qwen2Config(**_text()),
            vision_config=_siglip(),
            image_token_index=IMAGE,
            video_token_index=VIDEO,
            image_grid_pinpoints=_PINPOINTS,
        ),
        {**_NEXT_CASES, "video": _ONEVISION_VIDEO},
        _LLAVA_VISION,
    ),
    "idefics3": Architecture(
        transformers.Idefics3ForConditionalGeneration,
        _idefics(transformers.Idefics3Config),
        _by_row(_FOUR_CASES),
        _IDEFICS_VISION,
        _IDEFICS_TEXT,
        "model.text_model.layers",
    ),
    "smolvlm": Architecture(
        transformers.SmolVLMForConditionalGeneration,
        _idefics(transformers.SmolVLMConfig),
        _by_row({**_FOUR_CASES, "video": _FRAMES}),
        _IDEFICS_VISION,
        _IDEFICS_TEXT,
        "model.text_model.layers",
    ),
    "gemma3": Architecture(
        transformers.Gemma3ForConditionalGeneration,
        lambda: transformers.Gemma3Config(
            text_config=transformers.Gemma3TextConfig(
                **_text(sliding_window=8, layer_types=_SLIDING, tie_word_embeddings=True)
            ),
            vision_config=transformers.SiglipVisionConfig(**_vision(patch_size=8), vision_use_head=False),
            mm_tokens_per_image=4,
            boi_token_index=START,
            eoi_token_index=END,
            image_token_index=IMAGE,
            tie_word_embeddings=True,
        ),
        _typed(_FOUR_CASES, "token_type_ids"),
        _LLAVA_VISION,
    ),
}
