"""Weights that train: the integers follow them, and everything that reads integers gets those of the moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ_GROUP, RTN, Workshop, recipe
from safetensors.torch import load_file
from spike_compressor import load, save, trainable
from spike_compressor.checkpoint import read_config
from spike_compressor.errors import InputError
from spike_compressor.metrics import record_spikes
from spike_compressor.runtime import detach, observing, spiking_layers, spiking_state
from spike_compressor.runtime.reference import integer_activations, weight_only
from torch.nn.functional import cosine_similarity

SEVEN = recipe(RTN, "timesteps: 7", msts=None)
GROUPS = recipe(GPTQ_GROUP, "threshold: static", "{allocation: fixed, timesteps: {vision: 2, text: 3}}")
RMS = recipe(RTN, "timesteps: 6, threshold_statistic: rms, threshold_ratio: 0.2", None)
ASYMMETRIC = recipe(RTN.replace("symmetric: true", "symmetric: false"), "timesteps: 4", None)


def train(model: Any, batch: dict[str, torch.Tensor], steps: int = 2, lr: float = 0.05) -> list[float]:
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = model(**batch, labels=batch["input_ids"]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return losses


def codes(model: Any) -> dict[str, torch.Tensor]:
    return {name: layer.integer.codes.clone() for name, layer in spiking_layers(model).items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("start", ["memory", "directory"])
@pytest.mark.parametrize("text", [GROUPS, ASYMMETRIC, RMS], ids=["groups", "asymmetric", "root mean square"])
def test_the_integers_follow_the_weights_and_are_what_is_saved(
    workshop: Workshop, text: str, start: str, tmp_path: Path
) -> None:
    model = load(workshop.made("llama", text)[1]) if start == "directory" else workshop.oneshot("llama", text)
    batch = workshop.batch("llama")
    before, plain = codes(model), tiny_models.logits(model, batch)
    with trainable(model):
        assert torch.equal(tiny_models.logits(model, batch), plain)  # nothing has changed yet
        losses = train(model, batch, steps=4, lr=0.5)
        assert losses[-1] < losses[0]
        during, logits = codes(model), tiny_models.logits(model, batch)
        save(model, tmp_path / "during")
        assert torch.equal(tiny_models.logits(model, batch), logits)
        assert same(codes(model), during)
        train(model, batch, steps=1, lr=0.5)
    after = codes(model)
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert len(changed) == len(after)
    assert not any(layer.weight.requires_grad for layer in spiking_layers(model).values())
    save(model, tmp_path / "after")

    for path, integers, expected in (
        (tmp_path / "during", during, logits),
        (tmp_path / "after", after, tiny_models.logits(model, batch)),
    ):
        for backend in ("fused", "unrolled"):
            opened = load(path, backend=backend)
            assert same(codes(opened), integers)
            assert torch.equal(tiny_models.logits(opened, batch), expected)
        with integer_activations(opened):
            assert torch.equal(tiny_models.logits(opened, batch), expected)
        activity = read_config(path).activity
        assert activity is not None
        assert "trained" in str(activity.not_measured)  # what fired before says nothing of these weights
    detach(model)
    model(**batch)


def test_gradients_of_the_weights_are_those_of_the_quantized_ones(workshop: Workshop) -> None:
    model = load(workshop.made("llava", SEVEN)[1])
    batch = workshop.batch("llava")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    real: dict[str, torch.Tensor] = {}

    def record(name: str, layer: Any, args: Any, output: torch.Tensor) -> None:
        x = args[0].detach().reshape(-1, layer.in_features)
        output.register_hook(lambda grad: real.__setitem__(name, grad.reshape(-1, layer.out_features).t() @ x))

    handles = [
        layer.register_forward_hook(lambda layer, args, out, name=name: record(name, layer, args, out))
        for name, layer in spiking_layers(model).items()
    ]
    with weight_only(model):
        model(**batch, labels=labels).loss.backward()
    for handle in handles:
        handle.remove()
    model.zero_grad()
    with trainable(model):
        model(**batch, labels=labels).loss.backward()
        assert set(real) == set(spiking_layers(model))
        for name, layer in spiking_layers(model).items():
            assert layer.weight.dtype == torch.float32
            assert float(cosine_similarity(layer.weight.grad.flatten(), real[name].flatten(), 0)) > 0.99, name


def test_weights_beyond_the_quantizers_range_get_no_gradient(workshop: Workshop) -> None:
    model = load(workshop.made("llama", SEVEN)[1])
    batch = workshop.batch("llama")
    name, layer = next(iter(spiking_layers(model).items()))
    scale = layer.integer.scale[0, 0]
    with trainable(model):
        with torch.no_grad():
            layer.weight[0, :4] = torch.tensor([7.4, 7.6, -8.4, -8.6]) * scale
        model(**batch, labels=batch["input_ids"]).loss.backward()
        assert layer.integer.codes[0, :4].tolist() == [7, 7, -8, -8], name
        assert (layer.weight.grad[0, :4] != 0).tolist() == [True, False, True, False]


def test_observers_see_the_integers_of_the_moment(workshop: Workshop) -> None:
    model = load(workshop.made("llama", SEVEN)[1])
    batch = workshop.batch("llama")

    def check(layer: Any, event: Any) -> None:
        weight = layer.integer.codes.long()
        assert torch.equal(event.acc.long(), event.codes.long() @ weight.t())

    with trainable(model):
        train(model, batch, steps=2, lr=0.5)
        with torch.no_grad():
            for layer in spiking_layers(model).values():
                layer.weight.data.mul_(0.5)  # past autograd's version counter
        with observing(model, layers=check), record_spikes(model) as record:
            tiny_models.logits(model, batch)
        assert record.sops_per_token("text") > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_models_train_float32_weights_and_keep_their_integers(
    workshop: Workshop, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = workshop.oneshot("llama", SEVEN, model=workshop.model("llama", torch.bfloat16))
    batch = workshop.batch("llama")
    before = codes(model)
    with trainable(model):
        assert same(codes(model), before)
        model.to(dtype)  # the masters stay float32
        assert {layer.weight.dtype for layer in spiking_layers(model).values()} == {torch.float32}
        train(model, batch, steps=2)
        trained = codes(model)
    assert not same(trained, before)
    assert same(codes(model), trained)
    save(model, tmp_path / "out")
    opened = load(tmp_path / "out")
    assert same(codes(opened), trained)


def test_a_state_of_integers_is_loaded_as_weights(workshop: Workshop, tmp_path: Path) -> None:
    """What a Trainer does that goes on from its own checkpoint, or takes the best one at the end."""
    model = load(workshop.made("llama", GROUPS)[1])
    batch = workshop.batch("llama")
    with trainable(model):
        train(model, batch, lr=0.5)
        kept = codes(model)
        save(model, tmp_path / "best")
        train(model, batch, lr=0.5)
        assert not same(codes(model), kept)
        state = load_file(tmp_path / "best" / "model.safetensors")
        assert state["model.layers.0.mlp.up_proj.weight"].dtype == torch.int8
        model.load_state_dict(state, strict=False)
        assert same(codes(model), kept)
        state["model.layers.0.mlp.up_proj.weight_scale"] *= 2
        with pytest.raises(InputError, match=naming("layers.0.mlp.up_proj", "weight_scale")):
            model.load_state_dict(state, strict=False)
    assert same(codes(model), kept)


def test_it_ends_with_the_block_and_does_not_nest(workshop: Workshop) -> None:
    model = load(workshop.made("llama", SEVEN)[1])
    facts = dict(spiking_state(model).facts)
    parameters = {name: id(one) for name, one in model.named_parameters()}
    with trainable(model), pytest.raises(InputError, match=naming("trainable")), trainable(model):
        pass
    assert {name: id(one) for name, one in model.named_parameters()} == parameters
    assert spiking_state(model).facts == facts  # nothing was trained
    with trainable(model):
        train(model, workshop.batch("llama"), lr=0.5)
        integers = codes(model)
        detach(model)
    assert all(integers[name].shape == model.get_submodule(name).weight.shape for name in integers)
    with pytest.raises(InputError), trainable(model):
        pass
