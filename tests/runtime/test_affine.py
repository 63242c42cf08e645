"""Linears of a class of their own: those that compute what a Linear does spike, and are saved; others are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from helpers.messages import naming
from helpers.tiny_models import randomized_linear
from spike_compressor.errors import InputError
from spike_compressor.modality import adapter_for
from spike_compressor.runtime import LayerSpec, attach, not_affine
from torch import nn
from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4GroupedLinear
from transformers.models.falcon.modeling_falcon import FalconLinear
from transformers.models.idefics.modeling_idefics import IdeficsDecoupledLinear
from transformers.models.llama4.modeling_llama4 import Llama4Router
from transformers.models.phimoe.modeling_phimoe import PhimoeTopKRouter


class Named(nn.Linear):
    """A class of its own that computes nothing of its own."""


class Renamed(nn.Linear):
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return super().forward(hidden_states)


class Scaled(nn.Linear):
    def __init__(self, *args: Any, scale: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scale = scale

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * self.scale


PLAIN = {
    "Linear": nn.Linear(8, 4),
    "Named": Named(8, 4),
    "Renamed": Renamed(8, 4, bias=False),
    "FalconLinear": FalconLinear(8, 4),
    "in halves": FalconLinear(8, 4).half(),
    "Scaled": Scaled(8, 4, scale=1.0),
}
OTHER = {
    "Llama4Router": Llama4Router(transformers.Llama4TextConfig(hidden_size=8, num_local_experts=4)),
    "PhimoeTopKRouter": PhimoeTopKRouter(transformers.PhimoeConfig(hidden_size=8, num_local_experts=4)),
    "DeepseekV4GroupedLinear": DeepseekV4GroupedLinear(8, 4, 2),
    "IdeficsDecoupledLinear": IdeficsDecoupledLinear(8, 4, out_additional_features=2, bias=False),
    "Scaled": Scaled(8, 4, scale=0.5),
}


def test_what_a_linear_of_another_class_computes_is_tried_not_guessed() -> None:
    assert not_affine(PLAIN) == {}
    for kind, linear in OTHER.items():
        before = {key: value.clone() for key, value in linear.state_dict().items()}
        reasons = not_affine({"first": PLAIN["Scaled"], "second": linear})
        assert reasons.keys() == {"second"}
        assert kind in reasons["second"]
        assert all(torch.equal(before[key], value) for key, value in linear.state_dict().items())


@pytest.mark.parametrize("kind", ["Named", "Renamed", "Scaled"])
def test_attach_gives_neurons_to_those_alone(kind: str) -> None:
    settings: dict[str, Any] = {"scale": 0.5} if kind == "Scaled" else {}
    linear = randomized_linear(4, 8)
    linear.__class__ = {"Named": Named, "Renamed": Renamed, "Scaled": Scaled}[kind]
    vars(linear).update(settings)
    model = nn.ModuleDict({"layer": linear})
    adapter = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type="llama")))  # type: ignore[arg-type]
    if kind == "Scaled":
        with pytest.raises(InputError, match=naming("layer", "Scaled", "`ignore`")):
            attach(model, {"layer": LayerSpec(timesteps={"text": 4, "vision": 3})}, adapter)
        assert type(model["layer"]) is Scaled
    else:
        attach(model, {"layer": LayerSpec(timesteps={"text": 4, "vision": 3})}, adapter)
        assert type(model["layer"]).__name__ == "SpikingLinear"
