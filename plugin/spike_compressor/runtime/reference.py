"""References to compare spikes with, computed by the spiking model itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spike_compressor.runtime.attach import spiking_state
from spike_compressor.runtime.linear import SpikingLinear


class _WeightsOnlyLinear(SpikingLinear):
    """A spiking layer whose neurons are bypassed: real inputs times the same integer weights."""

    dense: Tensor

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.dense.to(input.dtype), self.bias)


@contextlib.contextmanager
def weights_only(model: nn.Module) -> Iterator[None]:
    """Within the block nothing spikes: layers multiply their real inputs by their integer weights, attention is real.

    What remains is the error of quantizing weights alone; online rotations stay in place.

    Raises:
        InputError: the model does not spike.
    """
    state = spiking_state(model)
    layers = list(state.layers.values())
    for layer in layers:
        codes, scale = layer.integer.codes, layer.integer.scale
        grouped = codes.to(torch.float32).view(codes.shape[0], scale.shape[1], -1) * scale.unsqueeze(2)
        layer.__dict__["dense"] = grouped.view(codes.shape)
        layer.__class__ = _WeightsOnlyLinear
    for name, attention in state.attention.items():
        attention.uninstall(model.get_submodule(name))
    try:
        with state.watch.paused():
            yield
    finally:
        for layer in layers:
            layer.__class__ = SpikingLinear
            del layer.__dict__["dense"]
        for name, attention in state.attention.items():
            attention.install(model.get_submodule(name))
