"""Tiny untrained models of real architectures, their batches, and a way to run recipes on them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SiglipVisionConfig,
)

PAD, IMAGE, VIDEO, AUDIO, BOS, VOCABULARY = 0, 5, 6, 9, 1, 64
IMAGE_TOKENS = 4


def _text(**more: Any) -> dict[str, Any]:
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": 2,
        "head_dim": 16,
    }
    return {**settings, **more}


def _vision(**more: Any) -> dict[str, Any]:
    settings = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 16,
    }
    return {**settings, **more}


def _loud(model: Any, seed: int) -> Any:
    """Weights large enough that a model of two layers says different things about different inputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-0.5)
            elif name.endswith(("bias", "class_embedding")):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def llava(tower: str = "clip", seed: int = 0) -> Any:
    """LLaVA with a CLIP or SigLIP tower (the latter keeps the pooling head that transformers builds)."""
    if tower == "clip":
        vision: Any = CLIPVisionConfig(**_vision())
        select = "default"
    else:
        vision = SiglipVisionConfig(**_vision())
        select = "full"
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**_text()),
        image_token_index=IMAGE,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy=select,
    )
    return _loud(LlavaForConditionalGeneration(config), seed)


def llama(seed: int = 0, **more: Any) -> Any:
    """A text-only model."""
    return _loud(LlamaForCausalLM(LlamaConfig(**_text(**more))), seed)


def qwen2_vl(seed: int = 0) -> Any:
    """Qwen2-VL: patches come in any number, the merger makes one token of four."""
    text = _text(rope_scaling={"type": "mrope", "mrope_section": [2, 3, 3]})
    text.pop("head_dim")
    config = Qwen2VLConfig(
        text_config=text,
        vision_config={
            "depth": 2,
            "embed_dim": 64,
            "hidden_size": 64,
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": 8,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=7,
        vision_end_token_id=8,
    )
    return _loud(Qwen2VLForConditionalGeneration(config), seed)


def saved(model: Any, path: Path) -> Any:
    """The model loaded from a directory, as LLM Compressor wants it."""
    model.save_pretrained(path)
    return type(model).from_pretrained(path, dtype=torch.float32).eval()


def words(count: int, seed: int) -> list[int]:
    """Text tokens: no placeholder, no special token among them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(10, VOCABULARY, (count,), generator=generator).tolist()


def pixels(seed: int, side: int = 32) -> torch.Tensor:
    """One image [3, side, side]."""
    return torch.randn(3, side, side, generator=torch.Generator().manual_seed(1000 + seed))


def sample(seed: int, length: int, images: int = 1) -> dict[str, Any]:
    """One prompt: bos, `images` times four placeholders, text; and its pictures."""
    text = words(length, seed)
    ids = [BOS]
    for number in range(images):
        ids += [IMAGE] * IMAGE_TOKENS + text[number : number + 1]
    return {"input_ids": ids + text, "pixel_values": [pixels(seed * 7 + number) for number in range(images)]}


def collate(samples: list[dict[str, Any]], side: str = "right") -> dict[str, torch.Tensor]:
    """A padded batch of samples."""
    longest = max(len(one["input_ids"]) for one in samples)
    ids, mask = [], []
    for one in samples:
        row = one["input_ids"]
        padding = [PAD] * (longest - len(row))
        ids.append(padding + row if side == "left" else row + padding)
        mask.append([0] * len(padding) + [1] * len(row) if side == "left" else [1] * len(row) + [0] * len(padding))
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    images = [image for one in samples for image in one["pixel_values"]]
    if images:
        batch["pixel_values"] = torch.stack(images)
    return batch


def samples(count: int = 6, images: int = 1) -> list[dict[str, Any]]:
    """Prompts of different lengths, with and without a second image."""
    return [sample(seed, 5 + seed % 4, images + seed % 2 if images else 0) for seed in range(count)]


def loader(count: int = 6, images: int = 1, shuffle: bool = False, batch_size: int = 2) -> DataLoader[Any]:
    """Calibration data, as `dataset=` of oneshot."""
    generator = torch.Generator().manual_seed(3)
    return DataLoader(
        samples(count, images),  # type: ignore[arg-type]
        batch_size=batch_size,
        shuffle=shuffle,
        collate_fn=collate,
        generator=generator,
    )


def qwen_batch(grids: tuple[tuple[int, int], ...] = ((4, 4), (2, 4)), side: str = "right") -> dict[str, torch.Tensor]:
    """One image a row, in patches of 8 x 8 x 2 frames; a grid of h x w patches gives h w / 4 tokens."""
    rows = []
    patches = []
    for number, (height, width) in enumerate(grids):
        tokens = [BOS, 7, *[IMAGE] * (height * width // 4), 8, *words(4 + number, number)]
        rows.append({"input_ids": tokens, "pixel_values": []})
        generator = torch.Generator().manual_seed(50 + number)
        patches.append(torch.randn(height * width, 3 * 2 * 8 * 8, generator=generator))
    batch = collate(rows, side)
    batch["pixel_values"] = torch.cat(patches)
    batch["image_grid_thw"] = torch.tensor([[1, h, w] for h, w in grids])
    batch["mm_token_type_ids"] = (batch["input_ids"] == IMAGE).int()
    return batch


def qwen_loader() -> DataLoader[Any]:
    """Calibration data for Qwen2-VL: whole batches, ready made."""
    batches = [qwen_batch(((4, 4), (2, 4))), qwen_batch(((2, 2), (4, 4)))]
    return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]


CLASSES: dict[str, Any] = {
    "llava": LlavaForConditionalGeneration,
    "siglip": LlavaForConditionalGeneration,
    "llama": LlamaForCausalLM,
    "qwen2_vl": Qwen2VLForConditionalGeneration,
}


def logits(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits of one batch; the batch is left as it was."""
    with torch.no_grad():
        return model(**copy.copy(batch)).logits


def randomized_linear(
    out_features: int, in_features: int, *, bias: bool = True, seed: int = 0, **weights: Any
) -> torch.nn.Linear:
    """A Linear that LLM Compressor's quantization has given integer weights; `weights` as in `QuantizationArgs`."""
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationScheme,
        QuantizationStatus,
        initialize_module_for_quantization,
    )
    from compressed_tensors.quantization.utils import calculate_qparams

    settings: dict[str, Any] = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "channel", **weights}
    args = QuantizationArgs(**settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        linear = torch.nn.Linear(in_features, out_features, bias=bias)
        linear.weight.data.normal_()
    initialize_module_for_quantization(linear, QuantizationScheme(targets=["Linear"], weights=args))
    table = linear.weight.data
    if args.strategy == "group":
        table = table.reshape(out_features, -1, args.group_size)
        low, high = table.amin(-1), table.amax(-1)
    elif args.strategy == "channel":
        low, high = table.amin(-1, keepdim=True), table.amax(-1, keepdim=True)
    else:
        low, high = table.min().reshape(1), table.max().reshape(1)
    scale, zero_point = calculate_qparams(low, high, args)
    linear.weight_scale.data.copy_(scale.reshape(linear.weight_scale.shape))
    if hasattr(linear, "weight_zero_point"):
        linear.weight_zero_point.data.copy_(zero_point.reshape(linear.weight_zero_point.shape))
    linear.quantization_status = QuantizationStatus.FROZEN
    return linear
