"""Weights that a model multiplies by without a call are found before anything runs for hours, or spikes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.messages import naming
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.errors import InputError
from spike_compressor.modifiers.weight_reads import weights_read
from spike_compressor.runtime import is_spiking, spiking_layers
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP

LLAMA = recipe(RTN.replace(', "re:.*vision_tower.*head.*"', ""), msts=None, spikes="timesteps: 4").replace(
    ', "re:.*vision_tower.*head.*"', ""
)
MLP = "model.layers.1.mlp"


class Fused(LlamaMLP):
    """Multiplies by the weight of one of its modules, as routers and fused kernels do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.act_fn(functional.linear(x, self.gate_proj.weight))
        return self.down_proj(gate * self.up_proj(x))


class Cast(LlamaMLP):
    """The same through a name and a cast."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        projection = self.down_proj
        return (self.act_fn(self.gate_proj(x)) * self.up_proj(x)) @ projection.weight.float().t()


class Asking(LlamaMLP):
    """Reads no number: what modeling code asks a weight for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.down_proj.weight, torch.nn.Parameter)
        assert self.down_proj.weight.shape[0] == x.shape[-1]
        hidden = self.act_fn(self.gate_proj(x.to(self.gate_proj.weight.dtype))) * self.up_proj(x)
        return self.down_proj(hidden.to(self.down_proj.weight.device))


class FastPath(LlamaMLP):
    """A kernel that this machine does not take."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if "cuda" in self.gate_proj.weight.device.type:
            return functional.linear(x, self.gate_proj.weight)
        return super().forward(x)


def with_mlp(model: Any, kind: type) -> Any:
    model.get_submodule(MLP).__class__ = kind
    return model


@pytest.mark.parametrize("data", [True, False], ids=["with data", "without"])
@pytest.mark.parametrize(("kind", "key"), [(Fused, "gate_proj"), (Cast, "down_proj")])
def test_a_weight_that_is_read_is_refused_before_calibration(
    kind: type, key: str, data: bool, workshop: Workshop
) -> None:
    model = with_mlp(workshop.model("llama"), kind)
    with pytest.raises(InputError, match=naming(f"{MLP}.{key}", "`ignore` of TCLIFModifier")):
        workshop.oneshot("llama", LLAMA, model, dataset=workshop.data("llama") if data else None)
    assert not is_spiking(model)
    ignored = LLAMA.replace("TCLIFModifier: {targets: [Linear], ignore: [", f"TCLIFModifier: {{ignore: [re:.*{key}$, ")
    workshop.oneshot("llama", ignored, with_mlp(workshop.model("llama"), kind))


@pytest.mark.parametrize("kind", [Asking, FastPath])
def test_what_reads_no_number_spikes(kind: type, workshop: Workshop) -> None:
    batch = workshop.batch("llama")
    model = workshop.oneshot("llama", LLAMA, with_mlp(workshop.model("llama"), kind))
    assert f"{MLP}.gate_proj" in spiking_layers(model)
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, workshop.made("llama", LLAMA)[0](**batch).logits)


def test_most_models_need_not_be_run(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    model = workshop.model("llama")
    ran: list[Any] = []
    model.register_forward_pre_hook(lambda *_: ran.append(True))
    linears = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert weights_read(model, linears, workshop.data("llama")) == []
    assert not ran
    assert isinstance(model.model.layers[0].self_attn, LlamaAttention)
    assert weights_read(with_mlp(model, Fused), linears, workshop.data("llama")) == [f"{MLP}.gate_proj"]
    assert ran


@pytest.mark.parametrize("kind", ["mamba", "falcon_mamba"])
def test_state_space_layers_that_multiply_by_a_weight_are_found(kind: str) -> None:
    config = AutoConfig.for_model(kind, vocab_size=32, hidden_size=16, num_hidden_layers=2, state_size=4)
    model = AutoModelForCausalLM.from_config(config).eval()
    linears = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert weights_read(model, linears) == [f"backbone.layers.{index}.mixer.dt_proj" for index in range(2)]


@pytest.mark.parametrize(
    "read",
    [
        lambda layer, x: functional.linear(x, layer.weight),
        lambda layer, x: x @ layer.weight.T,
        lambda layer, x: torch.einsum("bk,nk->bn", x, layer.weight.to(torch.bfloat16)),
        lambda layer, x: layer.weight[0],
    ],
)
def test_a_read_that_no_source_shows_is_refused_when_it_comes(read: Callable[..., Any], workshop: Workshop) -> None:
    layer = next(iter(spiking_layers(workshop.made("llava", recipe(RTN))[0]).values()))
    with pytest.raises(InputError, match=naming(layer.neurons.name, "`ignore`", "dequantize()")):
        read(layer, torch.ones(1, layer.in_features))
    assert torch.equal(layer.weight.dequantize(), layer.integer.floats())
