"""Turning a model's Linears into spiking ones and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from accelerate.hooks import remove_hook_from_submodules  # type: ignore[import-untyped]
from compressed_tensors.quantization.lifecycle.forward import set_forward_quantized
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from spike_compressor.errors import InputError
from spike_compressor.modality import ModalityAdapter, ModalityTracker
from spike_compressor.runtime.affine import not_affine
from spike_compressor.runtime.attention import SpikingAttention
from spike_compressor.runtime.attention_interface import install, prepare_attention, uninstall
from spike_compressor.runtime.backends import get_backend
from spike_compressor.runtime.forwards import (
    SpikingInactiveError,
    function_of,
    give_offloading,
    innermost,
    replace_innermost,
    take_offloading,
)
from spike_compressor.runtime.linear import SpikingLinear
from spike_compressor.runtime.matmul import surely_fits
from spike_compressor.runtime.memory import page_out
from spike_compressor.runtime.neurons import Master, Neurons
from spike_compressor.runtime.recomputing import Recomputation
from spike_compressor.runtime.spec import AttentionSpec, LayerSpec
from spike_compressor.runtime.watch import Watch
from spike_compressor.runtime.weights import (
    decompress,
    drop_packed,
    drop_weight,
    integer_weight,
    put_codes,
    put_floats,
    shown_dtype,
    surely_integer,
)

_STATE = "_spiking_state"

#: Stands for compressed-tensors' fake-quantizing `forward` of an instance: a closure, which cannot be pickled.
_FAKE_QUANTIZED = "fake-quantized"


@dataclass
class SpikingState:
    """What makes a model spike; kept on the model.

    Attributes:
        layers: spiking module by name.
        tracker: keeps the modality mask during forward passes.
        watch: sees to it that each of them spikes.
        attention: spiking attention products by the name of their module; empty unless a recipe asks for them.
        facts: what is to be written into `spike_config.json` beside the layers (budget, calibration, ...).
        masters: float weights of the layers while they train.
    """

    layers: dict[str, SpikingLinear]
    tracker: ModalityTracker
    watch: Watch
    attention: dict[str, SpikingAttention] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    masters: list[Master] = field(default_factory=list, repr=False)
    recomputation: Recomputation | None = field(default=None, repr=False)
    _was: dict[str, tuple[type[nn.Linear], Any, Any]] = field(default_factory=dict, repr=False)


def is_spiking(model: nn.Module) -> bool:
    """Whether a model spikes: it was made to, and not detached since."""
    return getattr(model, _STATE, None) is not None


def spiking_state(model: nn.Module) -> SpikingState:
    """The spiking state of a model.

    Raises:
        InputError: the model does not spike.
    """
    state = getattr(model, _STATE, None)
    if state is None:
        raise InputError(
            "this model does not spike: run a recipe with TCLIFModifier on it, or open a spike-ready checkpoint with "
            "spike_compressor.load()"
        )
    return state


def spiking_layers(model: nn.Module) -> dict[str, SpikingLinear]:
    """The spiking layers of a model by module name, in the order of the model."""
    return spiking_state(model).layers


def spiking_attention(model: nn.Module) -> dict[str, SpikingAttention]:
    """The attention modules of a model whose products spike, by name; usually none."""
    return spiking_state(model).attention


def attach(
    model: nn.Module,
    specs: Mapping[str, LayerSpec],
    adapter: ModalityAdapter,
    backend: str = "fused",
    attention: Mapping[str, AttentionSpec] | None = None,
) -> SpikingState:
    """Make the Linears named in `specs` spike, in place. All of them, or none if one of them cannot.

    Args:
        model: whose Linears have integer weights.
        specs: spiking encoding by module name.
        adapter: tells the modality of the model's rows.
        backend: name of the backend of all of them.
        attention: encoding of the attention modules whose products are to spike too, by name.

    Returns:
        What makes the model spike, kept on it (`spiking_state`).

    Raises:
        InputError: a name that is no Linear of the model, weights that are no integers, an accumulator that could
            overflow, attention that cannot spike; or a model that already spikes.
    """
    if is_spiking(model):
        raise InputError("this model spikes already; detach() it first")
    modules = dict(model.named_modules())
    # whatever is refused is refused here, before anything changes
    linears = {name: _linear(modules, name) for name in specs}
    for name, reason in not_affine(linears).items():
        raise InputError(f"{name} cannot spike: {reason}. List it in TCLIFModifier's `ignore`.")
    specs = {name: spec.only(adapter.modalities, name) for name, spec in specs.items()}
    get_backend(backend)

    def made(name: str) -> Neurons:
        integer = integer_weight(linears[name], name)
        return Neurons(name, specs[name], integer, backend, adapter.fixed_modality(name))

    # what cannot be refused is made later, layer by layer: not all integers are held beside all that they are made of
    neurons = {name: made(name) for name in specs if not _is_sure(linears[name], specs[name])}
    products = prepare_attention(model, attention or {}, adapter, backend)
    matters = any(spec.by_modality and adapter.fixed_modality(name) is None for name, spec in specs.items())
    matters = matters or any(one.by_modality for one in products.values())
    tracker = ModalityTracker(model, adapter, [*specs, *products], matters)
    decompress(model, keep=specs)
    for name, product in products.items():
        install(modules[name], product)
    layers: dict[str, SpikingLinear] = {}
    watch = Watch(model, layers, specs, products)
    state = SpikingState(layers, tracker, watch, products, recomputation=Recomputation(model, tracker))
    for name, linear in linears.items():
        own = neurons.pop(name) if name in neurons else made(name)
        own.dtype = shown_dtype(linear, model)
        drop_packed(linear)
        linear.__dict__["neurons"] = own
        _become_spiking(linear, name, state)
        for key, parameter in linear._parameters.items():  # scales of integers, which get no gradients
            if parameter is not None and key.startswith("weight_"):
                parameter.requires_grad_(False)
    model.__dict__[_STATE] = state
    watch.check()
    return state


def require_spiking(model: nn.Module, plan: Iterable[str] | None = None) -> None:
    """Check that every layer of the plan spikes: its neuron is in place, and nothing stands before it.

    Args:
        model: that is said to spike.
        plan: names of the layers that are to spike; None for those that were attached.

    Raises:
        SpikingInactiveError: names a layer that does not spike, and why.
        InputError: the model does not spike at all.
    """
    state = spiking_state(model)
    missing = [name for name in plan or () if name not in state.layers]
    if missing:
        raise SpikingInactiveError(f"{missing[0]} is in the spike plan and has no neuron; attach the whole plan anew")
    state.watch.check()


def detach(model: nn.Module) -> None:
    """Take the neurons off again: every layer is a (fake-quantized) Linear as before, with float weights.

    The weights are the quantized ones, codes times scales: what they were rounded from is given up when a model begins
    to spike.
    """
    state = spiking_state(model)
    end_training(state)
    _hold_parameters(model)
    for name, layer in state.layers.items():
        integer, dtype = layer.integer, layer.neurons.dtype
        _become_linear(layer, name, state)
        del layer.__dict__["neurons"]
        put_floats(layer, integer, dtype)
    for name in state.attention:
        uninstall(model.get_submodule(name))
    state.tracker.remove()
    state.watch.remove()
    if state.recomputation is not None:
        state.recomputation.remove()
    del model.__dict__[_STATE]


@contextlib.contextmanager
def suspended(model: nn.Module, stored: bool = False) -> Iterator[SpikingState]:
    """Within the block the layers are plain Linears, for code that must see them so (saving); then they spike again.

    Args:
        model: that spikes.
        stored: their weights are integer codes, as a checkpoint holds them, not floats.

    Raises:
        InputError: the model does not spike, or a layer's scales are no longer those that it computes with.
    """
    state = spiking_state(model)
    _hold_parameters(model)
    with state.watch.paused():
        for master in state.masters:
            master.hide()
        layers = list(state.layers.items())
        try:
            for name, layer in layers:
                neurons = layer.neurons
                _become_linear(layer, name, state)
                if stored:
                    put_codes(layer, neurons.integer, name)
                else:
                    put_floats(layer, neurons.integer, neurons.dtype)
            yield state
        finally:
            for name, layer in layers:
                if name not in state._was:  # all of them, or those before the one that was refused
                    _become_spiking(layer, name, state)
            for master in state.masters:
                master.show()


def end_training(state: SpikingState) -> None:
    """Leave the layers with the integers of their float weights, if these train."""
    while state.masters:
        state.masters.pop().hide()


def _hold_parameters(model: nn.Module) -> None:
    """Let modules hold their parameters, which accelerate's offloading keeps elsewhere: it would not find a new one."""
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        remove_hook_from_submodules(model)


def _linear(modules: Mapping[str, nn.Module], name: str) -> nn.Linear:
    linear = modules.get(name)
    if not isinstance(linear, nn.Linear):
        found = "no such module" if linear is None else f"it is a {type(linear).__name__}"
        raise InputError(f"{name} cannot spike: {found}, and only torch.nn.Linear can.")
    if isinstance(linear, NonDynamicallyQuantizableLinear):
        raise InputError(
            f"{name} cannot spike: MultiheadAttention reads its weight and never calls it. List it in `ignore` of "
            "TCLIFModifier and of the quantization modifier."
        )
    return linear


def _is_sure(linear: nn.Linear, spec: LayerSpec) -> bool:
    """Whether the neurons of a layer can be made, told without making them; False says nothing."""
    if not surely_integer(linear):
        return False
    scale: Any = linear.weight_scale
    scheme: Any = linear.quantization_scheme
    groups = scale.shape[-1] if scale.dim() == 2 else 1
    return surely_fits(linear.in_features, groups, scheme.weights.num_bits, spec.largest_level)


def _become_spiking(linear: nn.Linear, name: str, state: SpikingState) -> None:
    # compressed-tensors puts its fake quantization into the instance's `forward`; the neuron takes its place, inside of
    # the wrappers that offloading puts around it
    _, forward = innermost(linear)
    function = function_of(forward)
    if getattr(function, "__globals__", None) is set_forward_quantized.__globals__:
        function = _FAKE_QUANTIZED
    elif function is type(linear).forward:
        function = None
    kind = type(linear)
    weight = drop_weight(linear)
    if weight is not None:
        page_out(weight)  # whoever shares it, or whatever reader still holds its file, finds it as it was
    linear.__class__ = SpikingLinear
    assert isinstance(linear, SpikingLinear)
    replace_innermost(linear, None)
    state._was[name] = kind, function, take_offloading(linear)
    state.layers[name] = linear


def _become_linear(layer: SpikingLinear, name: str, state: SpikingState) -> None:
    layer.__class__, function, wrapper = state._was.pop(name)  # type: ignore[assignment]
    give_offloading(layer, wrapper)
    replace_innermost(layer, _fake_quantized() if function == _FAKE_QUANTIZED else function)


def _fake_quantized() -> Any:
    """compressed-tensors' fake-quantizing `forward`, a function of the layer and its input."""
    bare = nn.Linear.__new__(nn.Linear)  # wrappers, which are none of its business, stay out of it
    set_forward_quantized(bare)
    return bare.__dict__["forward"].__func__
