"""Tiny models with pictures: random weights, a processor in files, and prompts with pictures of several sizes.

vLLM's attention on CPUs takes heads of 32 features and their multiples, so the language models have two of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from helpers import tiny_architectures, tiny_models
from helpers.tiny_models import BOS, IMAGE, PAD, VIDEO, VOCABULARY

START, END = tiny_architectures.START, tiny_architectures.END
HALF = [0.5, 0.5, 0.5]
#: What a processor writes for the ids that mean something; every other id is a word, "w10".
NAMES = {PAD: "<pad>", BOS: "<bos>", 2: "<eos>", 3: "<unk>", START: "<|vision_start|>", END: "<|vision_end|>"}


def _tokenizer(image: str, video: str) -> Any:
    names = {**NAMES, IMAGE: image, VIDEO: video}
    core = Tokenizer(models.WordLevel({names.get(n, f"w{n}"): n for n in range(VOCABULARY)}, unk_token=NAMES[3]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=NAMES[PAD],
        bos_token=NAMES[BOS],
        eos_token=NAMES[2],
        unk_token=NAMES[3],
        additional_special_tokens=[image, video, NAMES[START], NAMES[END]],
    )


@dataclass
class Pictures:
    """What turns pictures into arguments of a model, and its files as vLLM reads them.

    Attributes:
        images: transformers' processor of pictures.
        settings: of the processor as a whole.
        tokens: how many placeholders a picture of so many patches has.
        sides: sizes (width, height) of pictures.
        around: tokens before and after a picture's placeholders.
    """

    images: Any
    settings: dict[str, Any]
    tokens: Callable[[dict[str, Tensor]], list[int]]
    sides: tuple[tuple[int, int], ...]
    around: tuple[list[int], list[int]]
    image_token: str = "<image>"
    video_token: str = "<video>"

    def save_pretrained(self, path: str, **kwargs: Any) -> None:
        """Write the files of a processor, those of videos too, whose class needs packages that are not here."""
        _tokenizer(self.image_token, self.video_token).save_pretrained(path)
        images = self.images.to_dict()
        images["image_processor_type"] = images["image_processor_type"].removesuffix("Pil")
        settings = {**self.settings, "image_processor": images}
        if "video_processor" in settings:
            settings["video_processor"] = {**images, **settings["video_processor"]}
            del settings["video_processor"]["image_processor_type"]
        Path(path, "processor_config.json").write_text(json.dumps(settings), encoding="utf-8")
        Path(path, "preprocessor_config.json").write_text(json.dumps(images), encoding="utf-8")
        if "video_processor" in settings:
            video = Path(path, "video_preprocessor_config.json")
            video.write_text(json.dumps(settings["video_processor"]), encoding="utf-8")

    def picture(self, number: int) -> Image.Image:
        """Noise in large squares."""
        width, height = self.sides[number % len(self.sides)]
        generator = torch.Generator().manual_seed(700 + number)
        small = torch.randint(0, 256, (-(-height // 8), -(-width // 8), 3), generator=generator, dtype=torch.uint8)
        large = small.repeat_interleave(8, 0).repeat_interleave(8, 1)[:height, :width]
        return Image.fromarray(large.numpy())

    def cases(self, folder: Path, count: int = 24) -> Iterator[dict[str, Any]]:
        """Prompts: `ids` with a placeholder for each picture, `pictures` (files), `inputs` of the model."""
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pictures = [self.picture(3 * number + one) for one in range((1, 2, 1, 0)[number % 4])]
            paths = [str(folder / f"{number}-{one}.png") for one in range(len(pictures))]
            for picture, path in zip(pictures, paths, strict=True):
                picture.save(path)
            inputs = dict(self.images(pictures, return_tensors="pt")) if pictures else {}
            text = tiny_models.words((4, 24, 7, 15, 30, 9)[number % 6], number)
            ids, whole = [BOS], [BOS]
            for one, tokens in enumerate(self.tokens(inputs) if pictures else ()):
                ids += [*self.around[0], IMAGE, *self.around[1], text[one]]
                whole += [*self.around[0], *[IMAGE] * tokens, *self.around[1], text[one]]
            batch = {"input_ids": torch.tensor([whole + text]), **inputs}
            if "image_grid_thw" in inputs:
                batch["mm_token_type_ids"] = (batch["input_ids"] == IMAGE).int()
            yield {"ids": ids + text, "pictures": paths, "inputs": batch}


def _qwen_pictures(name: str) -> Pictures:
    """Patches of 8 x 8, four of them a token: pictures of 2 to 10 tokens."""
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 256, "longest_edge": 4096},
        patch_size=8,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=HALF,
        image_std=HALF,
    )
    video = {"video_processor_type": "Qwen2VLVideoProcessor", "size": {"shortest_edge": 256, "longest_edge": 4096}}
    return Pictures(
        images,
        {"processor_class": f"{name}Processor", "video_processor": video},
        lambda inputs: (inputs["image_grid_thw"].prod(-1) // 4).tolist(),
        ((32, 32), (48, 32), (16, 32), (80, 32), (32, 64)),
        ([START], [END]),
        "<|image_pad|>",
        "<|video_pad|>",
    )


def _llava_pictures() -> Pictures:
    """Four tokens each, whatever the picture's size."""
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=HALF, image_std=HALF
    )
    settings = {
        "processor_class": "LlavaProcessor",
        "patch_size": 16,
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "default",
        "image_token": "<image>",
    }
    return Pictures(images, settings, lambda inputs: [4] * len(inputs["pixel_values"]), ((32, 32),), ([], []))


def _qwen(name: str) -> Any:
    architecture = tiny_architectures.ARCHITECTURES[name]
    config = architecture.config()
    text = config.text_config
    text.num_attention_heads, text.num_key_value_heads, text.head_dim = 2, 1, 32
    text.rope_parameters = {**text.rope_parameters, "mrope_section": [4, 6, 6]}
    return tiny_models._loud(architecture.model_class(config), 0)


def _llava() -> Any:
    architecture = tiny_architectures.ARCHITECTURES["llava"]
    config = architecture.config()
    text = config.text_config
    text.num_attention_heads, text.num_key_value_heads, text.head_dim = 2, 2, 32
    return tiny_models._loud(architecture.model_class(config), 0)


#: Name of a checkpoint -> its float model, and what its pictures are made into.
MODELS: dict[str, tuple[Callable[[], Any], Callable[[], Pictures]]] = {
    "qwen2_vl": (lambda: _qwen("qwen2_vl"), lambda: _qwen_pictures("Qwen2VL")),
    "qwen2_5_vl": (lambda: _qwen("qwen2_5_vl"), lambda: _qwen_pictures("Qwen2_5_VL")),
    "llava": (_llava, _llava_pictures),
}


def model(name: str) -> Any:
    """The float model of a checkpoint."""
    return MODELS[name][0]()


def processor(name: str) -> Pictures:
    """What its pictures are made into."""
    return MODELS[name][1]()


def loader(name: str) -> Any:
    """Calibration data, as `dataset=` of oneshot."""
    return tiny_architectures.ARCHITECTURES[name].loader()
