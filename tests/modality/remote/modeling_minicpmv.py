"""A miniature in the manner of MiniCPM-V's remote code: `image_bound` says where pictures stand, token ids do not.

`forward` takes one dictionary, `generate` its entries, and the language model sees embeddings alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

WIDTH = 64


class MiniCPMVConfig(PretrainedConfig):
    model_type = "minicpmv"

    def __init__(self, llm_config: dict[str, Any] | None = None, vision_config: Any = None, **kwargs: Any) -> None:
        self.llm_config = Qwen2Config(**(llm_config or {}))
        self.vision_config = vision_config or {"hidden_size": WIDTH}
        super().__init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "llm_config": self.llm_config.to_dict()}


class Tower(nn.Module):
    """Patches of 16 x 16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 16, stride=16)
        self.fc = nn.Linear(WIDTH, WIDTH)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.fc(self.patch(pixels).flatten(2).transpose(1, 2)))


class MiniCPMV(PreTrainedModel):
    config_class = MiniCPMVConfig
    _no_split_modules = ("Qwen2DecoderLayer",)

    def __init__(self, config: MiniCPMVConfig) -> None:
        super().__init__(config)
        self.llm = Qwen2ForCausalLM(config.llm_config)
        self.vpm = Tower()
        self.resampler = nn.Linear(WIDTH, config.llm_config.hidden_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.llm.get_input_embeddings()

    def get_decoder(self) -> nn.Module:
        return self.llm

    def get_vllm_embedding(self, data: dict[str, Any]) -> torch.Tensor:
        # scaled, so that no comparison with the embedding table could tell text rows
        embeds = self.get_input_embeddings()(data["input_ids"]) * 0.5
        for row, (pictures, bounds) in enumerate(zip(data["pixel_values"], data["image_bound"], strict=True)):
            for picture, (begin, end) in zip(pictures, bounds.tolist(), strict=True):
                embeds[row, begin:end] = self.resampler(self.vpm(picture.unsqueeze(0)))[0]
        return embeds

    def forward(self, data: dict[str, Any], **kwargs: Any) -> Any:
        mask = data.get("attention_mask")
        return self.llm(input_ids=None, inputs_embeds=self.get_vllm_embedding(data), attention_mask=mask, **kwargs)

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor,
        pixel_values: list[Any],
        image_bound: list[torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        **settings: Any,
    ) -> Any:
        embeds = self.get_vllm_embedding(
            {"input_ids": input_ids, "pixel_values": pixel_values, "image_bound": image_bound}
        )
        return self.llm.generate(inputs_embeds=embeds, attention_mask=attention_mask, **settings)
