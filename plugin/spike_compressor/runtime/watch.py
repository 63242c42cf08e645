"""Seeing to it that layers that are said to spike do: whoever takes a neuron away silently is found out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from spike_compressor.runtime.attention import SpikingAttention
from spike_compressor.runtime.attention_interface import why_inactive
from spike_compressor.runtime.forwards import SpikingInactiveError, innermost, origin
from spike_compressor.runtime.linear import SpikingLinear


class Watch:
    """Checks before each forward pass of a model that the layers of its plan are in place and spike.

    What is checked costs a comparison for each module on the way to a spiking layer, and no tensor is touched.

    Args:
        model: whose forward passes, and whose base model's, are watched.
        layers: its spiking layers by name; the mapping may be filled later.
        names: of the modules that spike, or will.
        attention: its spiking attention products by the name of their module.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, SpikingLinear],
        names: Iterable[str],
        attention: Mapping[str, SpikingAttention],
    ) -> None:
        self._layers = layers
        self._attention = [(model.get_submodule(name), products) for name, products in attention.items()]
        self._links = _links(model, [*names, *attention])
        self._paused = 0
        entry_points = [model]
        base = getattr(model, "base_model", None)
        if isinstance(base, nn.Module) and base is not model:
            entry_points.append(base)
        # bound methods, as in the modality tracker: a copied model is watched by a copy
        self._handles: list[Any] = [
            entry.register_forward_pre_hook(self._before, prepend=True) for entry in entry_points
        ]

    def remove(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block layers need not spike."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if not self._paused and not torch.compiler.is_compiling():
            self.check()

    def check(self) -> None:
        """
        Raises:
            SpikingInactiveError: names the first layer whose neuron would not run, and what stands in its way.
        """
        for parent, key, child, name in self._links:
            if parent._modules.get(key) is not child:
                self._refuse(name, f"it was replaced by {_kind(parent._modules.get(key))}")
        for name, layer in self._layers.items():
            if (
                layer.__class__ is not SpikingLinear
                or "forward" in layer.__dict__
                or "weight" in layer._parameters
                or "weight" in layer._buffers
            ):
                reason = _why_inactive(layer)
                if reason is not None:
                    self._refuse(name, reason)
        for module, attention in self._attention:
            reason = why_inactive(module, attention)
            if reason is not None:
                self._refuse(attention.name, reason)

    def _refuse(self, name: str, reason: str) -> None:
        affected = [layer for layer in self._layers if layer == name or layer.startswith(name + ".")]
        what = f"{name}, which holds {len(affected)} spiking layers," if affected not in ([], [name]) else name
        raise SpikingInactiveError(
            f"{what} is to spike and no longer does: {reason}. Open the checkpoint anew with spike_compressor.load(), "
            "or call spike_compressor.runtime.detach(model) before other libraries change its layers."
        )


def _links(model: nn.Module, names: Iterable[str]) -> list[tuple[nn.Module, str, nn.Module, str]]:
    """Parent, key, child and the child's name of every module on the way to the named ones, each once."""
    links: dict[str, tuple[nn.Module, str, nn.Module, str]] = {}
    for name in names:
        parent, path = model, ""
        for key in name.split("."):
            path = f"{path}.{key}" if path else key
            child = parent._modules[key]
            assert child is not None
            links.setdefault(path, (parent, key, child, path))
            parent = child
    return list(links.values())


def _why_inactive(layer: nn.Module) -> str | None:
    """What keeps the neurons of a layer from running, or None."""
    if not isinstance(layer, SpikingLinear):
        return f"it has become {_kind(layer)}"
    if type(layer).forward is not SpikingLinear.forward or type(layer).outputs is not SpikingLinear.outputs:
        return f"its class {type(layer).__name__} has another `forward`"
    if not layer.leads_to_neurons():
        return f"its `forward` was replaced by {origin(innermost(layer)[1])}"
    master = layer.neurons.master
    own = None if master is None else master.parameter
    if layer._parameters.get("weight") is not own or "weight" in layer._buffers:
        return "it was given another weight, with which it does not compute"
    return None


def _kind(module: nn.Module | None) -> str:
    if module is None:
        return "nothing"
    return f"a {type(module).__module__.partition('.')[0]} {type(module).__name__}"
