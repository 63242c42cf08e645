"""All that is learned of some blocks at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spike_compressor.modifiers.reconstruction.blocks import Block
from spike_compressor.modifiers.reconstruction.fitting import Rates
from spike_compressor.modifiers.reconstruction.layers import LearnedLayer
from spike_compressor.runtime import SpikingLinear, SpikingState
from spike_compressor.runtime.reference import computed_by


@dataclass(frozen=True)
class Learns:
    """What is learned.

    Attributes:
        weights: which way integers are rounded.
        norms: gains and biases of norms.
        biases: of spiking layers.
    """

    weights: bool = True
    norms: bool = True
    biases: bool = True


class Learned:
    """The parameters that are being learned.

    Args:
        layers: stand-ins of spiking layers.
        floats: gains and biases.
    """

    def __init__(self, layers: list[LearnedLayer], floats: list[nn.Parameter]) -> None:
        self._layers, self._floats = layers, floats
        self._before: list[Tensor] = [parameter.detach().clone() for parameter in floats]

    def groups(self, rates: Rates) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their rates."""
        offsets = [layer.offset for layer in self._layers if layer.offset is not None]
        return [(offsets, rates.weights), (self._floats, rates.floats)]

    def settle(self) -> float:
        """Leave the layers with what was learned; returns the share of their integers that are others."""
        changed = sum(layer.settle() for layer in self._layers)
        return changed / max(1, sum(layer.size for layer in self._layers))

    def restore(self) -> float:
        """Leave gains and biases as they were, and the layers, which have not changed; returns 0, as `settle`."""
        for parameter, value in zip(self._floats, self._before, strict=True):
            parameter.data.copy_(value)
        return 0.0


@contextlib.contextmanager
def learning(state: SpikingState, blocks: Mapping[str, tuple[nn.Module, Block]], learns: Learns) -> Iterator[Learned]:
    """Within it what is to be learned of blocks wants gradients, and nothing else of them does.

    Args:
        state: of the spiking model.
        blocks: module and block by name.
        learns: what.
    """
    layers: dict[str, LearnedLayer] = {}
    floats: dict[int, nn.Parameter] = {}
    wanted: list[tuple[nn.Parameter, bool]] = []
    for module, block in blocks.values():
        for name in block.layers:
            inner = name.removeprefix(block.name).removeprefix(".")
            real = block.real.get_submodule(inner).weight if inner else block.real.weight
            layers[name] = LearnedLayer(state.layers[name], real, learns.weights)  # type: ignore[arg-type]
        wanted += [(parameter, parameter.requires_grad) for parameter in module.parameters()]
        for parameter in _floats_of(module, learns):
            floats[id(parameter)] = parameter
    for parameter, _ in wanted:
        parameter.requires_grad_(id(parameter) in floats)
    try:
        with torch.enable_grad(), computed_by(layers, state):
            yield Learned(list(layers.values()), list(floats.values()))
    finally:
        for parameter, was in wanted:
            parameter.requires_grad_(was)
            parameter.grad = None


def _floats_of(module: nn.Module, learns: Learns) -> Iterator[nn.Parameter]:
    for inner in module.modules():
        if isinstance(inner, SpikingLinear):
            if learns.biases and inner.bias is not None:
                yield inner.bias
        elif learns.norms and "norm" in type(inner).__name__.lower():
            yield from (one for one in inner._parameters.values() if one is not None and one.is_floating_point())
