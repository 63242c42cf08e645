"""References to compare spikes with, computed by the spiking model itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spike_compressor.runtime.attaching import spiking_state
from spike_compressor.runtime.linear import SpikingLinear


class _WeightsOnlyLinear(SpikingLinear):
    """A spiking layer whose neurons are bypassed: real inputs times the same integer weights."""

    dense: Tensor

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.dense.to(input.dtype), self.bias)


class _IntegerLinear(SpikingLinear):
    """What an ordinary integer runtime computes: activations quantized, one integer product, no spike anywhere."""

    exact: Tensor

    def forward(self, input: Tensor) -> Tensor:
        x = input.reshape(-1, self.in_features).to(torch.float32)
        T = self._per_row(self.spec.table(self.spec.timesteps), torch.int64, x)
        scale, zero_point = self._thresholds(x, T if isinstance(T, Tensor) else int(T))
        # round half away from zero, in float64, where adding 1/2 is exact
        y = (x / scale.unsqueeze(1)).to(torch.float64)
        codes = y.sign() * (y.abs() + 0.5).floor()
        limit = torch.as_tensor(2.0, dtype=torch.float64) ** torch.as_tensor(T, dtype=torch.float64)
        limit = limit.reshape(-1, 1)
        if zero_point is None:
            codes = codes.clamp(1 - limit, limit - 1)
        else:
            z = zero_point.to(torch.float64).unsqueeze(1)
            codes = codes.clamp(-z, 2 * limit - 1 - z)
        groups = self.exact.shape[0]
        acc = torch.bmm(codes.view(codes.shape[0], groups, -1).transpose(0, 1), self.exact)  # exact up to 2^53
        acc = acc.permute(1, 2, 0) if groups > 1 else acc[0]
        out = self._dequantize(acc.to(torch.int32), scale)
        return out.to(input.dtype).reshape(*input.shape[:-1], self.out_features)


@contextlib.contextmanager
def integer_activations(model: nn.Module) -> Iterator[None]:
    """Within the block nothing spikes: layers quantize their inputs and multiply integers, as integer runtimes do.

    The codes and the accumulators are computed another way than spikes compute them, and must be the same: a model's
    logits are those of its spiking self, to the bit. Attention products, where they spike, go on spiking.

    Raises:
        InputError: the model does not spike.
    """
    state = spiking_state(model)
    layers = list(state.layers.values())
    for layer in layers:
        codes, groups = layer.integer.codes, layer.integer.groups
        layer.__dict__["exact"] = codes.view(codes.shape[0], groups, -1).permute(1, 2, 0).to(torch.float64)
        layer.__class__ = _IntegerLinear
    try:
        with state.watch.paused():
            yield
    finally:
        for layer in layers:
            layer.__class__ = SpikingLinear
            del layer.__dict__["exact"]


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
