"""Tiny untrained mixtures of experts, text-only and with pictures; their experts are stacked in one parameter.

Four experts, two of them for each token, in two layers; `TINY_MOE` by model type. Batches come from `tiny_models`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.utils.data import DataLoader

from helpers.tiny_architectures import _QWEN3_CASES, _qwen, _qwen_text
from helpers.tiny_models import _loud, _text, _vision, collate, sample

EXPERTS, PER_TOKEN = 4, 2


@dataclass(frozen=True)
class MoE:
    """One mixture of experts.

    Attributes:
        model_class: transformers' class.
        config: makes its config.
        sparse_layers: number of decoder layers with experts.
        merged: transformers itself merges experts that are stored one by one (and so opens quantized ones).
        pictures: None for text only, else makes a batch of prompts with pictures from a seed.
    """

    model_class: Any
    config: Callable[[], Any]
    sparse_layers: int = 2
    merged: bool = True
    pictures: Callable[[int], dict[str, Tensor]] | None = None

    def model(self, seed: int = 0) -> Any:
        """A fresh random model, whose experts weigh as much as its other layers."""
        model = _loud(self.model_class(self.config()), seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 3 and parameter.shape[0] == EXPERTS:  # stacked: its fan-in is no whole expert
                    parameter.mul_((parameter[0].numel() / 64) ** 0.5)
        return model

    def batch(self, seed: int = 0) -> dict[str, Tensor]:
        """A padded batch, with pictures where the model sees them."""
        if self.pictures is not None:
            return self.pictures(seed)
        return collate([sample(seed * 10 + row, 5 + 2 * row, 0) for row in range(2)], "left")

    def loader(self, count: int = 2) -> DataLoader[Any]:
        """Calibration data, as `dataset=` of oneshot."""
        batches = [self.batch(seed) for seed in range(1, 1 + count)]
        return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]


def moe_text(**more: Any) -> dict[str, Any]:
    """Settings that all text configs here share."""
    return _text(**{"num_experts_per_tok": PER_TOKEN, **more})


def _llava_batch(seed: int) -> dict[str, Tensor]:
    return collate([sample(seed * 10 + row, 5 + 2 * row) for row in range(2)], "left")


def _qwen3_vl_batch(seed: int) -> dict[str, Tensor]:
    return _QWEN3_CASES["left" if seed % 2 else "right"].batch()


def _mixtral() -> Any:
    return transformers.MixtralConfig(**moe_text(num_local_experts=EXPERTS, intermediate_size=96))


def _deepseek(**more: Any) -> dict[str, Any]:
    shared = {"n_routed_experts": EXPERTS, "n_shared_experts": 1, "moe_intermediate_size": 32}
    attention = {"q_lora_rank": 32, "kv_lora_rank": 32, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16}
    text = moe_text(**shared, **attention, first_k_dense_replace=1, num_key_value_heads=4, **more)
    return {**text, "head_dim": 8}


def _qwen3_vl_moe() -> Any:
    text = _qwen_text(
        num_experts=EXPERTS, num_experts_per_tok=PER_TOKEN, moe_intermediate_size=32, decoder_sparse_step=1
    )
    vision = {"hidden_size": 64, "intermediate_size": 128, "out_hidden_size": 64, "num_position_embeddings": 16}
    return _qwen(transformers.Qwen3VLMoeConfig, text, **vision, deepstack_visual_indexes=[0])()


def _llama4() -> Any:
    text = moe_text(
        num_experts_per_tok=1,
        num_local_experts=EXPERTS,
        intermediate_size=32,
        intermediate_size_mlp=64,
        moe_layers=[0, 1],
        attention_chunk_size=32,
    )
    vision = _vision(vision_output_dim=64, projector_input_dim=64, projector_output_dim=64, pixel_shuffle_ratio=0.5)
    return transformers.Llama4Config(
        text_config=transformers.Llama4TextConfig(**text),
        vision_config=vision,
        image_token_index=5,
        boi_token_index=7,
        eoi_token_index=8,
    )


TINY_MOE: dict[str, MoE] = {
    "qwen3_moe": MoE(
        transformers.Qwen3MoeForCausalLM,
        lambda: transformers.Qwen3MoeConfig(
            **moe_text(num_experts=EXPERTS, moe_intermediate_size=32, decoder_sparse_step=1)
        ),
    ),
    "qwen2_moe": MoE(  # with an expert that every token shares, behind a gate of one output
        transformers.Qwen2MoeForCausalLM,
        lambda: transformers.Qwen2MoeConfig(
            **moe_text(
                num_experts=EXPERTS,
                moe_intermediate_size=32,
                shared_expert_intermediate_size=64,
                decoder_sparse_step=1,
            )
        ),
    ),
    "mixtral": MoE(transformers.MixtralForCausalLM, _mixtral),
    "deepseek_v3": MoE(  # first layer dense, shared experts, groups of experts, low-rank attention
        transformers.DeepseekV3ForCausalLM,
        lambda: transformers.DeepseekV3Config(**_deepseek(n_group=2, topk_group=1)),
        sparse_layers=1,
    ),
    "deepseek_v2": MoE(  # the router is a Linear whose weight is read, and which is never called
        transformers.DeepseekV2ForCausalLM, lambda: transformers.DeepseekV2Config(**_deepseek()), sparse_layers=1
    ),
    "olmoe": MoE(
        transformers.OlmoeForCausalLM,
        lambda: transformers.OlmoeConfig(**moe_text(num_experts=EXPERTS, intermediate_size=32)),
    ),
    "granitemoe": MoE(
        transformers.GraniteMoeForCausalLM,
        lambda: transformers.GraniteMoeConfig(**moe_text(num_local_experts=EXPERTS, intermediate_size=32)),
        merged=False,
    ),
    "gpt_oss": MoE(  # experts with biases, gate and up in turns
        transformers.GptOssForCausalLM,
        lambda: transformers.GptOssConfig(
            **moe_text(
                num_local_experts=EXPERTS,
                intermediate_size=32,
                sliding_window=8,
                layer_types=["sliding_attention", "full_attention"],
            )
        ),
        merged=False,
    ),
    "llama4": MoE(  # all experts get all rows, scaled by the router, which is a Linear of a class of its own
        transformers.Llama4ForConditionalGeneration, _llama4, merged=False
    ),
    "qwen3_vl_moe": MoE(
        transformers.Qwen3VLMoeForConditionalGeneration, _qwen3_vl_moe, merged=False, pictures=_qwen3_vl_batch
    ),
    "llava_mixtral": MoE(
        transformers.LlavaForConditionalGeneration,
        lambda: transformers.LlavaConfig(
            vision_config=transformers.CLIPVisionConfig(**_vision()),
            text_config=_mixtral(),
            image_token_index=5,
            image_seq_length=4,
            vision_feature_layer=-1,
        ),
        pictures=_llava_batch,
    ),
}
