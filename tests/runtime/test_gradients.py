"""Gradients pass straight through spikes: those of the same integer weights on real inputs, at many timesteps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ_GROUP, RTN, Workshop, recipe
from spike_compressor import load
from spike_compressor.errors import InputError
from spike_compressor.metrics import record_spikes
from spike_compressor.modality import adapter_for
from spike_compressor.runtime import LayerSpec, attach, spiking_layers
from spike_compressor.runtime.reference import integer_activations, weight_only
from torch.nn.functional import cosine_similarity

ASYMMETRIC = RTN.replace(
    "strategy: channel}",
    "strategy: channel}, input_activations: {num_bits: 8, type: int, symmetric: false, strategy: token, dynamic: true}",
    1,
)
RECIPES = {
    "dynamic": recipe(RTN, "timesteps: 7", msts=None),
    "by root mean square": recipe(RTN, "timesteps: 7, threshold_statistic: rms, threshold_ratio: 0.05", msts=None),
    "static, groups, csd": recipe(GPTQ_GROUP, "timesteps: {vision: 6, text: 7}, threshold: static, coding: csd", None),
    "zero points": recipe(ASYMMETRIC, msts=None),
    "attention": recipe(RTN, "timesteps: 7, attention: {timesteps: {vision: 6, text: 7}}", msts=None),
}
Gradients = dict[str, torch.Tensor]


def backward(model: Any, batch: dict[str, torch.Tensor], scale: float = 1.0) -> Gradients:
    """Gradients of the loss in every parameter that wants one and in the picture; the model is left without any."""
    batch = {key: value.clone() for key, value in batch.items()}
    if "pixel_values" in batch:
        batch["pixel_values"].requires_grad_()
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    model.zero_grad()
    (model(**batch, labels=labels).loss * scale).backward()
    gradients = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    if "pixel_values" in batch:
        gradients["pixel_values"] = batch["pixel_values"].grad.clone()
    model.zero_grad()
    return gradients


def assert_alike(one: Gradients, other: Gradients, cosine: float = 0.99) -> None:
    assert set(one) == set(other)
    assert len(one) >= 5
    largest = max(float(gradient.norm()) for gradient in other.values())
    for name, gradient in one.items():
        if float(other[name].norm()) < 1e-5 * largest:  # keys' biases: softmax does not see them
            assert float(gradient.norm()) < 1e-2 * largest, name
            continue
        assert float(cosine_similarity(gradient.flatten(), other[name].flatten(), 0)) > cosine, name
        assert 0.9 < float(gradient.norm() / other[name].norm()) < 1.1, name


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_every_parameter_gets_the_gradient_of_the_quantized_weights(workshop: Workshop, text: str) -> None:
    made, path = workshop.made("llava", text)
    batch = workshop.batch("llava")
    for model in (made, load(path, backend="unrolled")):
        spiking = backward(model, batch)
        wanted = {name for name, one in model.named_parameters() if one.requires_grad}
        assert {name for name in wanted if "post_layernorm" not in name} <= set(spiking)
        constant = {f"{name}.{key}" for name in spiking_layers(model) for key in ("weight", "weight_scale")}
        assert not constant & wanted  # integers get none, and say so
        with weight_only(model):
            assert_alike(spiking, backward(model, batch))
        with integer_activations(model):
            again = backward(model, batch)
        assert all(torch.allclose(again[name], gradient, atol=1e-6) for name, gradient in spiking.items())


def single(T: int, spec: dict[str, Any], **weights: Any) -> tuple[Any, Any]:
    """A model of one Linear that spikes."""
    model = torch.nn.Module()
    model.config = type("Config", (), {"model_type": "llama"})()
    model.linear = tiny_models.randomized_linear(6, 8, **weights)
    state = attach(model, {"linear": LayerSpec({"text": T, "vision": T}, **spec)}, adapter_for(model))
    return model, state.layers["linear"]


@pytest.mark.parametrize("strategy", [{"strategy": "channel"}, {"strategy": "group", "group_size": 4}])
@pytest.mark.parametrize(
    "spec",
    [
        {"ratio": {"text": 0.5, "vision": 0.5}},
        {"ratio": {"text": 0.15, "vision": 0.15}, "statistic": "rms"},
        {"threshold": "static", "scale": {"text": 0.1, "vision": 0.1}},
        {
            "threshold": "static",
            "scale": {"text": 0.1, "vision": 0.1},
            "symmetric": False,
            "zero_point": {"text": 3, "vision": 3},
            "coding": "binary_unsigned",
        },
    ],
    ids=["dynamic", "by root mean square", "static", "zero point"],
)
def test_no_gradient_reaches_what_clips_or_is_silent(spec: dict[str, Any], strategy: dict[str, Any]) -> None:
    _, layer = single(3, spec, **strategy)
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(3)).requires_grad_()
    silent = torch.zeros(8, dtype=torch.bool)
    silent[2] = True
    layer.silence(silent)
    towards = torch.randn(5, 6, generator=torch.Generator().manual_seed(4))
    layer(x).backward(towards)

    scale = x.detach().abs().amax(1, keepdim=True) * 0.5 / 7 if "scale" not in spec else torch.tensor(0.1)
    if "statistic" in spec:
        scale = 0.15 * x.detach().square().mean(1, keepdim=True).sqrt()
    low, high = (-3, 12) if "zero_point" in spec else (-7, 7)
    y = x.detach() / scale
    inside = (y > low - 0.5) & (y < high + 0.5)
    assert 5 < int((~inside).sum()) < 35
    expected = (towards @ layer.integer.floats()) * inside * ~silent
    assert torch.equal(x.grad, expected)
    assert torch.allclose(layer.bias.grad, towards.sum(0))


def test_backward_twice_is_twice_the_gradient_and_needs_the_graph(workshop: Workshop) -> None:
    model, _ = workshop.made("llava", RECIPES["attention"])
    batch = workshop.batch("llava")
    once = backward(model, batch)
    loss = model(**batch, labels=batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)).loss
    loss.backward(retain_graph=True)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.allclose(parameter.grad, 2 * once[name], rtol=1e-4, atol=1e-7), name
    with pytest.raises(RuntimeError, match="retain_graph"):
        loss.backward()
    model.zero_grad()


@pytest.mark.parametrize("text", [RECIPES["static, groups, csd"], RECIPES["attention"]], ids=["static", "attention"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layers_run_again_with_their_own_rows(workshop: Workshop, text: str, reentrant: bool) -> None:
    """Modalities have timesteps of their own here: a layer that runs during the backward pass must still know them."""
    _, path = workshop.made("llava", text)
    model = load(path).train()
    batch = workshop.batch("llava")
    plain = backward(model, batch)
    with record_spikes(model) as counted:
        backward(model, batch)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    with record_spikes(model) as record:
        again = backward(model, batch)
    assert set(again) == set(plain)
    assert all(torch.allclose(again[name], one, rtol=1e-4, atol=1e-7) for name, one in plain.items())
    counts = [{k: v for k, v in one.to_dict().items() if k != "coverage"} for one in (record, counted)]
    assert counts[0] == counts[1]  # what runs again is not counted again


def test_two_passes_before_one_backward_keep_their_own_rows(workshop: Workshop) -> None:
    _, path = workshop.made("llava", RECIPES["static, groups, csd"])
    model = load(path).train()
    batches = [workshop.batch("llava"), workshop.data("llava").collate_fn([tiny_models.sample(3, 9, 2)])]

    def together() -> Gradients:
        model.zero_grad()
        losses = [model(**batch, labels=batch["input_ids"].clone()).loss for batch in batches]
        sum(losses).backward()
        return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}

    plain = together()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    again = together()
    assert set(again) == set(plain)
    assert all(torch.allclose(again[name], one, rtol=1e-4, atol=1e-7) for name, one in plain.items())


def test_gradients_under_autocast(workshop: Workshop) -> None:
    model, _ = workshop.made("llava", RECIPES["attention"])
    batch = workshop.batch("llava")
    plain = backward(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_alike(backward(model, batch), plain, cosine=0.97)


def test_gradients_through_a_cache_of_codes_are_refused(workshop: Workshop) -> None:
    model, _ = workshop.made("llama", RECIPES["attention"])
    ids = torch.tensor([[1, 11, 12, 13, 14]])
    whole = model(input_ids=ids).logits[:, -2:]
    with torch.no_grad():
        cache = model(input_ids=ids[:, :3], use_cache=True).past_key_values
        went_on = model(input_ids=ids[:, 3:], past_key_values=copy.deepcopy(cache)).logits
    assert torch.allclose(went_on, whole.detach(), atol=1e-5)  # the head is real
    with pytest.raises(InputError, match=naming("model.layers.0.self_attn", "no_grad")):
        model(input_ids=ids[:, 3:], past_key_values=cache)
    # a cache that was filled with gradients has them
    cache = model(input_ids=ids[:, :3], use_cache=True).past_key_values
    went_on = model(input_ids=ids[:, 3:], past_key_values=cache).logits
    assert torch.allclose(went_on, whole, atol=1e-5)
    whole.square().sum().backward()
    expected = model.model.embed_tokens.weight.grad.clone()
    model.zero_grad()
    went_on.square().sum().backward()
    assert torch.allclose(model.model.embed_tokens.weight.grad, expected, rtol=1e-3, atol=1e-5)
    model.zero_grad()


def test_nothing_is_recorded_where_nobody_wants_gradients(workshop: Workshop) -> None:
    model, _ = workshop.made("llama", RECIPES["dynamic"])
    layer = spiking_layers(model)["model.layers.0.mlp.up_proj"]
    x = torch.randn(2, layer.in_features)
    assert layer(x).grad_fn is None
    assert layer(x.clone().requires_grad_()).grad_fn is not None
    with torch.no_grad():
        assert layer(x.clone().requires_grad_()).grad_fn is None
