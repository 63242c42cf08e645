"""A miniature in the manner of InternVL2's remote code: pictures go where one token id stands, known at run time only.

`generate` makes embeddings itself and hands them to the language model, so `forward` is never called with tokens there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

WIDTH, PATCHES = 64, 4


class InternVLChatConfig(PretrainedConfig):
    model_type = "internvl_chat"

    def __init__(self, llm_config: dict[str, Any] | None = None, vision_config: Any = None, **kwargs: Any) -> None:
        self.llm_config = Qwen2Config(**(llm_config or {}))
        self.vision_config = vision_config or {"hidden_size": WIDTH}
        super().__init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "llm_config": self.llm_config.to_dict()}


class InternVisionModel(nn.Module):
    """Four patches of 16 x 16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 16, stride=16)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        x = self.patch(pixel_values).flatten(2).transpose(1, 2)
        return x + self.fc2(torch.relu(self.fc1(x)))


class InternVLChatModel(PreTrainedModel):
    config_class = InternVLChatConfig
    main_input_name = "pixel_values"
    _no_split_modules = ("InternVisionModel", "Qwen2DecoderLayer")

    def __init__(self, config: InternVLChatConfig) -> None:
        super().__init__(config)
        self.vision_model = InternVisionModel()
        self.language_model = Qwen2ForCausalLM(config.llm_config)
        self.mlp1 = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, config.llm_config.hidden_size))
        self.img_context_token_id: int | None = None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def embed(self, input_ids: torch.Tensor, pixel_values: torch.Tensor | None) -> torch.Tensor:
        embeds = self.get_input_embeddings()(input_ids)
        if pixel_values is None:
            return embeds
        pictures = self.mlp1(self.vision_model(pixel_values))
        here = (input_ids == self.img_context_token_id).unsqueeze(-1)
        return embeds.masked_scatter(here, pictures)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> Any:
        return self.language_model(inputs_embeds=self.embed(input_ids, pixel_values), attention_mask=attention_mask)

    @torch.no_grad()
    def generate(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **settings: Any,
    ) -> Any:
        embeds = self.embed(input_ids, pixel_values)
        return self.language_model.generate(inputs_embeds=embeds, attention_mask=attention_mask, **settings)
