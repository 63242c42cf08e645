"""The demo's vision-language model: a LLaVA of 4 million parameters, and its processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from spike_compressor.checkpoint import open_model, open_processor

from .scenes import SIZE, vocabulary

MODEL_DIR = Path(__file__).parent / "assets" / "model"

PAD, BOS, EOS, UNK, IMAGE = SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>", "<image>")
PATCH = 16
IMAGE_TOKENS = (SIZE // PATCH) ** 2
# No answer is longer: five letters, or four digits, and the end token.
MAX_ANSWER_TOKENS = 6

# It begins with the first token, as servers take a template as it stands.
_CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %} {{ part['text'] }}{% endfor %}"
    "{% endif %}{% if message['role'] == 'assistant' %} <eos>{% endif %}{% endfor %}"
)


def prompt(question: str) -> str:
    """The full text of a question: the image placeholder, then the question."""
    return f"{IMAGE} {question}"


def load_processor() -> Any:
    """The embedded model's processor (image and text)."""
    return open_processor(model_directory())


def load_model(dtype: torch.dtype = torch.float32) -> Any:
    """The embedded model in evaluation mode; its fp16 weights are converted to ``dtype``."""
    return open_model(model_directory(), dtype)


def model_directory() -> Path:
    """Where the embedded model is.

    Raises:
        FileNotFoundError: it is not there.
    """
    if not (MODEL_DIR / "config.json").is_file():
        raise FileNotFoundError(
            f"the embedded model is missing from {MODEL_DIR}; reinstall spike-compressor, or train it as "
            "tools/demo_model/README.md of the repository says"
        )
    return MODEL_DIR


def build(seed: int) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A freshly initialised model and its processor; the same weights for the same seed."""
    processor = build_processor()
    tokenizer = processor.tokenizer
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=192,
            intermediate_size=576,
            num_hidden_layers=4,
            num_attention_heads=6,
            image_size=SIZE,
            patch_size=PATCH,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
        _initialise(model)
    generation = model.generation_config
    generation.pad_token_id = tokenizer.pad_token_id
    generation.bos_token_id = tokenizer.bos_token_id
    generation.eos_token_id = tokenizer.eos_token_id
    generation.max_new_tokens = MAX_ANSWER_TOKENS
    return model.eval(), processor


@torch.no_grad()
def _initialise(model: nn.Module) -> None:
    """Fan-in scaling, smaller on outputs that are added to the residual stream, large vision positions.

    transformers' own initialisation (std 0.02) leaves a model this small without a gradient to its images.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not name.endswith("lm_head"):
            residual = name.endswith(("o_proj", "down_proj", "out_proj", "fc2"))
            nn.init.normal_(module.weight, std=module.in_features**-0.5 * (0.4 if residual else 1.0))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.2 if name.endswith("position_embedding") else 0.05)


def build_processor() -> LlavaProcessor:
    """A LLaVA processor of a PIL image processor and a word-level tokenizer over `scenes.vocabulary`."""
    words = {token: i for i, token in enumerate((*SPECIAL_TOKENS, *vocabulary()))}
    core = Tokenizer(models.WordLevel(words, unk_token=UNK))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, words[BOS])]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        additional_special_tokens=[IMAGE],
        padding_side="left",
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        # 'default' takes one placeholder off for the class token, which is therefore counted here.
        num_additional_image_tokens=1,
        chat_template=_CHAT_TEMPLATE,
    )
