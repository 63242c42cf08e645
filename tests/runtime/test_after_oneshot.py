"""What LLM Compressor's examples go on with after `oneshot`, and what moves a model between devices: it spikes on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import accelerate
import pytest
import spike_compressor
import torch
from compressed_tensors.offload import (
    dispatch_model,
    from_accelerate,
    remove_dispatch,
    set_onload_device,
    to_accelerate,
)
from helpers import tiny_models
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.runtime import detach, spiking_layers
from spike_compressor.runtime.reference import integer_activations, weight_only

UP = "model.language_model.layers.0.mlp.up_proj"


def accelerated(model: Any) -> None:
    remove_dispatch(model)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"), offload_buffers=True)


#: What is done to the model, step by step.
WAYS: dict[str, list[Callable[[Any], Any]]] = {
    "dispatched": [dispatch_model],
    "dispatched twice": [dispatch_model, dispatch_model],
    "dispatch ended": [dispatch_model, remove_dispatch],
    "onloaded elsewhere": [lambda model: set_onload_device(model, torch.device("cpu"))],
    "to accelerate and back": [to_accelerate, from_accelerate],
    "dispatched, to accelerate": [dispatch_model, to_accelerate],
    "offloaded by accelerate": [accelerated],
    "accelerate taken off": [accelerated, accelerate.hooks.remove_hook_from_submodules],
    "accelerate, then dispatched": [accelerated, accelerate.hooks.remove_hook_from_submodules, dispatch_model],
    "trained and not": [lambda model: model.train(), lambda model: model.requires_grad_(False), lambda m: m.eval()],
}


@pytest.fixture(scope="module")
def spiking(workshop: Workshop) -> Any:
    return workshop.oneshot("llava", recipe(RTN))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("origin", ["oneshot", "load"])
def test_it_spikes_on_and_can_be_saved(way: str, origin: str, spiking: Any, workshop: Workshop, tmp_path: Any) -> None:
    if origin == "load":
        model = spike_compressor.load(workshop.made("llava", recipe(RTN))[1])
    else:
        model = copy.deepcopy(spiking)
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    for step in WAYS[way]:
        step(model)
        assert torch.equal(tiny_models.logits(model, batch), expected)
    with weight_only(model):
        assert not torch.equal(tiny_models.logits(model, batch), expected)
    with integer_activations(model):
        assert torch.equal(tiny_models.logits(model, batch), expected)
    model.save_pretrained(tmp_path / "out", save_compressed=True)
    assert torch.equal(tiny_models.logits(model, batch), expected)
    assert torch.equal(tiny_models.logits(spike_compressor.load(tmp_path / "out"), batch), expected)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        workshop.made("llava", recipe(RTN))[1] / "model.safetensors"
    ).read_bytes()


def test_detached_after_dispatch_it_is_plain_again(spiking: Any, workshop: Workshop) -> None:
    batch = workshop.batch("llava")
    dispatched, plain = copy.deepcopy(spiking), copy.deepcopy(spiking)
    dispatch_model(dispatched)
    for model in (dispatched, plain):
        detach(model)
    assert torch.equal(tiny_models.logits(dispatched, batch), tiny_models.logits(plain, batch))


def test_it_is_generated_with_after_dispatch(spiking: Any, workshop: Workshop) -> None:
    model = copy.deepcopy(spiking)
    batch = tiny_models.collate([tiny_models.sample(20, 4, 1)])
    before = model.generate(**batch, max_new_tokens=4, do_sample=False)
    dispatch_model(model)
    assert torch.equal(model.generate(**batch, max_new_tokens=4, do_sample=False), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_weight_shows_the_models_dtype(dtype: torch.dtype, spiking: Any, workshop: Workshop) -> None:
    loaded = spike_compressor.load(workshop.made("llava", recipe(RTN))[1])
    for model in (copy.deepcopy(spiking), loaded):
        model.to(dtype)
        for layer in spiking_layers(model).values():
            weight = layer.weight
            assert (weight.dtype, weight.device.type) == (dtype, "cpu")
            assert weight.shape == (layer.out_features, layer.in_features)
            assert weight.dequantize().dtype == dtype
            assert "weight" not in dict(layer.named_parameters())


def test_its_state_can_be_kept_and_put_back(spiking: Any, workshop: Workshop, tmp_path: Any) -> None:
    model = copy.deepcopy(spiking)
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt")
    assert torch.equal(state[f"{UP}.weight"], model.get_submodule(UP).integer.floats())
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert not torch.equal(tiny_models.logits(model, batch), expected)
    model.load_state_dict(state)
    assert torch.equal(tiny_models.logits(model, batch), expected)
    detach(model)
    plain = tiny_models.logits(model, batch)
    model.load_state_dict(copy.deepcopy(spiking).state_dict())  # a plain layer takes the quantized weights
    assert torch.equal(tiny_models.logits(model, batch), plain)
