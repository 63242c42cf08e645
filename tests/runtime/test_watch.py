"""Nobody takes a neuron away silently: the next forward pass says which, and what to do."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.errors import InputError
from spike_compressor.runtime import (
    SpikingInactiveError,
    SpikingLinear,
    detach,
    require_spiking,
    spiking_layers,
    suspended,
)
from spike_compressor.runtime.reference import weight_only
from torch.nn.utils import parametrizations, prune

UP = "model.language_model.layers.0.mlp.up_proj"
MLP = UP.rpartition(".")[0]


@pytest.fixture(scope="module")
def spiking(workshop: Workshop) -> Any:
    """A spiking model that was not saved, so that its Linears have float weights still. Copy it before use."""
    return workshop.oneshot("llava", recipe(RTN))


@pytest.fixture
def model(spiking: Any) -> Any:
    return copy.deepcopy(spiking)


@pytest.fixture
def loaded(workshop: Workshop) -> Any:
    return spike_compressor.load(workshop.made("llava", recipe(RTN))[1])


class Adapter(torch.nn.Module):
    """What a library for fine-tuning puts around a layer."""

    def __init__(self, base_layer: torch.nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x)


def replace(model: Any) -> None:
    layer = model.get_submodule(UP)
    model.get_submodule(MLP).up_proj = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)


def wrap(model: Any) -> None:
    model.get_submodule(MLP).up_proj = Adapter(model.get_submodule(UP))


def remove_block(model: Any) -> None:
    model.model.language_model.layers[0].mlp = copy.deepcopy(model.model.language_model.layers[1].mlp)


def fake_quantize(model: Any) -> None:
    from compressed_tensors.quantization.lifecycle.forward import set_forward_quantized

    set_forward_quantized(model.get_submodule(UP))


def plain_class(model: Any) -> None:
    model.get_submodule(UP).__class__ = torch.nn.Linear


def other_forward(model: Any) -> None:
    class Faster(SpikingLinear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(input, self.integer.floats())

    model.get_submodule(UP).__class__ = Faster


def own_forward(model: Any) -> None:
    layer = model.get_submodule(UP)
    layer.forward = functools.partial(torch.nn.functional.linear, weight=layer.integer.floats())


def hidden_forward(model: Any) -> None:
    layer = model.get_submodule(UP)
    layer.__dict__["forward"] = functools.partial(torch.nn.functional.linear, weight=layer.integer.floats())


def hidden_weight(model: Any) -> None:
    layer = model.get_submodule(UP)
    layer._parameters["weight"] = torch.nn.Parameter(torch.zeros(layer.weight.shape))


def other_weight(model: Any) -> None:
    layer = model.get_submodule(UP)
    layer.weight = torch.nn.Parameter(torch.zeros(layer.weight.shape))


def other_scale(model: Any) -> None:
    layer = model.get_submodule(UP)
    layer.weight_scale = torch.nn.Parameter(2 * layer.weight_scale)


def other_state(model: Any) -> None:
    state = {name: value for name, value in model.state_dict().items() if name.startswith(UP)}
    state[f"{UP}.weight"] = 2 * state[f"{UP}.weight"].dequantize()
    model.load_state_dict(state, strict=False)


#: What is an error at once, after which the model is as it was.
AT_ONCE: dict[str, tuple[Callable[[Any], Any], tuple[object, ...]]] = {
    "fake quantization": (fake_quantize, (UP, "`forward`", "quantized_forward")),
    "a forward of its own": (own_forward, (UP, "`forward`", "partial")),
    "another weight": (other_weight, (UP, "weight", "detach(model)")),
    "another scale": (other_scale, (UP, "weight_scale", "detach(model)")),
    "another state": (other_state, (UP, "weight", "detach(model)")),
    "written to": (lambda model: model.get_submodule(UP).weight.data.mul_(2), (UP, "weight", "detach(model)")),
    "other data": (lambda model: setattr(model.get_submodule(UP).weight, "data", torch.ones(128, 64)), (UP, "weight")),
    "filled": (lambda model: torch.nn.init.normal_(model.get_submodule(UP).weight), (UP, "weight")),
    "multiplied": (
        lambda model: torch.nn.functional.linear(torch.ones(1, 64), model.get_submodule(UP).weight.float()),
        (UP, "`ignore`", "dequantize()"),
    ),
    "transposed": (lambda model: torch.ones(1, 64) @ model.get_submodule(UP).weight.T, (UP, "`ignore`")),
    "decomposed": (lambda model: torch.linalg.svd(model.get_submodule(UP).weight.data.to(torch.float64)), (UP,)),
}

WAYS: dict[str, tuple[Callable[[Any], None], tuple[object, ...]]] = {
    "another Linear in its place": (replace, (UP, "torch Linear")),
    "a wrapper around it": (wrap, (UP, "Adapter")),
    "its block exchanged": (
        remove_block,
        (MLP, 3, "transformers LlamaMLP"),
    ),
    "a Linear's class": (plain_class, (UP, "torch Linear")),
    "a subclass": (other_forward, (UP, "Faster", "`forward`")),
    "a forward behind its back": (hidden_forward, (UP, "`forward`", "partial")),
    "a weight behind its back": (hidden_weight, (UP, "weight")),
}


@pytest.mark.parametrize("way", AT_ONCE)
@pytest.mark.parametrize("origin", ["model", "loaded"])
def test_what_would_be_ignored_is_refused_at_once(
    way: str, origin: str, workshop: Workshop, request: pytest.FixtureRequest
) -> None:
    take, names = AT_ONCE[way]
    model = request.getfixturevalue(origin)
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    with pytest.raises(InputError, match=naming(*names)):
        take(model)
    assert torch.equal(tiny_models.logits(model, batch), expected)


@pytest.mark.parametrize(
    "utility",
    [
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        lambda layer: parametrizations.weight_norm(layer),
        lambda layer: torch.nn.utils.spectral_norm(layer),
    ],
    ids=["prune", "weight_norm", "spectral_norm"],
)
def test_torch_finds_no_weight_to_make_something_else_of(utility: Any, model: Any, workshop: Workshop) -> None:
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    with pytest.raises((KeyError, ValueError), match="weight"):
        utility(model.get_submodule(UP))
    assert torch.equal(tiny_models.logits(model, batch), expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("origin", ["model", "loaded"])
def test_a_neuron_that_was_taken_away_is_an_error(
    way: str, origin: str, workshop: Workshop, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    take, names = WAYS[way]
    named = naming(*names, "spike_compressor.load()")
    model = request.getfixturevalue(origin)
    batch = workshop.batch("llava")
    tiny_models.logits(model, batch)
    take(model)
    with pytest.raises(SpikingInactiveError, match=named):
        tiny_models.logits(model, batch)
    with pytest.raises(SpikingInactiveError, match=named), torch.no_grad():
        model.model(**batch)  # the base model is an entry point of its own
    with pytest.raises(SpikingInactiveError, match=named):
        require_spiking(model)
    with pytest.raises(SpikingInactiveError, match=named):
        spike_compressor.save(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_copy_is_watched_by_itself(model: Any, workshop: Workshop) -> None:
    batch = workshop.batch("llava")
    twin = copy.deepcopy(model)
    replace(twin)
    expected = tiny_models.logits(model, batch)
    with pytest.raises(SpikingInactiveError, match=UP):
        tiny_models.logits(twin, batch)
    replace(model)
    assert expected.isfinite().all()
    with pytest.raises(SpikingInactiveError, match=UP):
        tiny_models.logits(model, batch)


def test_what_is_legal_stays_so(model: Any, workshop: Workshop) -> None:
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    with suspended(model):
        assert not torch.equal(tiny_models.logits(model, batch), expected)
    with weight_only(model):
        assert not torch.equal(tiny_models.logits(model, batch), expected)
    assert torch.equal(tiny_models.logits(model, batch), expected)
    with pytest.raises(RuntimeError, match="stop"), suspended(model):
        raise RuntimeError("stop")
    take_and_give_back = spiking_layers(model)[UP]
    replace(model)
    model.get_submodule(MLP).up_proj = take_and_give_back
    assert torch.equal(tiny_models.logits(model, batch), expected)
    detach(model)
    replace(model)
    tiny_models.logits(model, batch)


def test_wrappers_that_move_tensors_are_no_thieves(model: Any, workshop: Workshop) -> None:
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module
    from compressed_tensors.offload.module import offload_module, remove_module_offload

    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    layer = spiking_layers(model)[UP]
    add_hook_to_module(layer, AlignDevicesHook(execution_device="cpu", io_same_device=True))
    assert "forward" in layer.__dict__
    assert torch.equal(tiny_models.logits(model, batch), expected)
    wrapper = layer.forward
    hidden_forward(model)  # the wrapper's traces are still there, but nothing goes through it
    with pytest.raises(SpikingInactiveError, match=naming(UP, "`forward`")):
        tiny_models.logits(model, batch)
    layer.forward = wrapper
    remove_hook_from_module(layer)
    assert torch.equal(tiny_models.logits(model, batch), expected)
    if hasattr(layer, "_original_forward_func"):  # `oneshot` leaves parameters offloaded, where there are devices to
        layer._parameters, layer._buffers = (
            dict(table.offloaded_values) for table in (layer._parameters, layer._buffers)
        )
    offload_module(layer, torch.device("cpu"), torch.device("cpu"))
    assert "forward" in layer.__dict__
    assert torch.equal(tiny_models.logits(model, batch), expected)
    remove_module_offload(layer)
    assert torch.equal(tiny_models.logits(model, batch), expected)


def test_a_plan_must_be_attached_whole(model: Any, workshop: Workshop) -> None:
    names = list(spiking_layers(model))
    require_spiking(model, names)
    with pytest.raises(SpikingInactiveError, match=naming("lm_head")):
        require_spiking(model, [*names, "lm_head"])
    with pytest.raises(InputError, match=naming("TCLIFModifier", "spike_compressor.load()")):
        require_spiking(workshop.model("llava"))
