"""References to compare spikes with, computed by the spiking model itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from spike_compressor.coding import MAX_TIMESTEPS, NonFiniteInputError, get_coding, quantize_rows
from spike_compressor.kernels import NotFiniteError, encode_groups
from spike_compressor.modality import carry
from spike_compressor.runtime.attaching import SpikingState, spiking_state
from spike_compressor.runtime.attention_interface import install, uninstall
from spike_compressor.runtime.backends import Drive, IntegerProduct
from spike_compressor.runtime.linear import SpikingLinear
from spike_compressor.runtime.precision import without_autocast
from spike_compressor.runtime.straight_through import Computed, rows_to_outputs


class Reference(Protocol):
    """Another arithmetic on a layer's integer weights; holds what it needs of them."""

    def forward(self, layer: SpikingLinear, input: Tensor) -> Tensor:
        """The layer's output in place of its neurons', with the shape and dtype that they give."""


class _ReferenceLinear(SpikingLinear):
    """A spiking layer whose neurons are bypassed by a reference."""

    reference: Reference

    def outputs(self, input: Tensor) -> Tensor:
        try:
            with without_autocast(input.device):
                out = self.reference.forward(self, input)
        except NonFiniteInputError as error:
            raise error.at(f"layer {self.neurons.name}") from None
        carry(input, out)
        return out


class _WeightOnly:
    """Real inputs times the integer weights, in float32 as the spiking layer computes."""

    def __init__(self, layer: SpikingLinear) -> None:
        self._weight = layer.integer.floats()

    def forward(self, layer: SpikingLinear, input: Tensor) -> Tensor:
        bias = None if layer.bias is None else layer.bias.to(torch.float32)
        return nn.functional.linear(input.to(torch.float32), self._weight, bias).to(input.dtype)


class _IntegerActivations:
    """What an ordinary integer runtime computes: activations quantized, one integer product, no spike anywhere."""

    def __init__(self, layer: SpikingLinear) -> None:
        codes, groups = layer.integer.codes, layer.integer.groups
        # [G, K/G, N]; products of float64 are exact up to 2^53
        self._codes = codes.view(codes.shape[0], groups, -1).permute(1, 2, 0).to(torch.float64)

    def forward(self, layer: SpikingLinear, input: Tensor) -> Tensor:
        x = input.reshape(-1, layer.in_features).to(torch.float32)
        out = rows_to_outputs(layer, x, partial(self._compute, layer))
        return out.to(input.dtype).reshape(*input.shape[:-1], layer.out_features)

    def _compute(self, layer: SpikingLinear, x: Tensor) -> Computed:
        neurons = layer.neurons
        T = neurons.timesteps(x)
        scale, zero_point = neurons.thresholds(x, T)
        codec = get_coding(neurons.spec.coding)
        spike_cost = codec.rounding.spike_cost
        if codec.rounds and spike_cost is not None:
            codes = self._rounded(x, T, scale, zero_point, spike_cost)
        else:  # no integer runtime has such codes
            try:
                found = encode_groups(x, scale, T, codec.native)
            except NotFiniteError:
                found = None  # quantize_rows names the place
            codes = (quantize_rows(x, scale, T, codec.name)[0] if found is None else found).to(torch.float64)
        groups = self._codes.shape[0]
        acc = torch.bmm(codes.unflatten(1, (groups, codes.shape[1] // groups)).transpose(0, 1), self._codes)
        acc = acc.permute(1, 2, 0) if groups > 1 else acc[0]
        out = neurons.dequantize(acc.to(torch.int32), scale, layer.bias)
        drive = Drive(x, scale, T, neurons.spec.coding, cast(IntegerProduct, self._no_product), zero_point)
        return Computed(drive, codes, True, out)

    @staticmethod
    def _rounded(x: Tensor, T: int | Tensor, scale: Tensor, zero_point: Tensor | None, spike_cost: float) -> Tensor:
        # round half away from zero, in float64, where adding 1/2 is exact; in general, to what costs least of floor and
        # ceiling: `(1 - r)^2 + cost of ceiling <= r^2 + cost of floor`
        y = (x / scale.unsqueeze(1)).to(torch.float64)
        if spike_cost:
            size = y.abs().clamp(max=2.0**MAX_TIMESTEPS)
            floor = size.floor().to(torch.int64)
            more_spikes = _ones(floor + 1) - _ones(floor)
            codes = y.sign() * (floor + (2 * (size - floor) - 1 >= spike_cost * more_spikes))
        else:
            codes = y.sign() * (y.abs() + 0.5).floor()
        limit = torch.as_tensor(2.0, dtype=torch.float64) ** torch.as_tensor(T, dtype=torch.float64)
        limit = limit.reshape(-1, 1)
        if zero_point is None:
            return codes.clamp(1 - limit, limit - 1)
        z = zero_point.to(torch.float64).unsqueeze(1)
        return codes.clamp(-z, 2 * limit - 1 - z)

    @staticmethod
    def _no_product(codes: Tensor) -> Tensor:
        raise AssertionError("this reference has a product of its own")


def _ones(values: Tensor) -> Tensor:
    """How many bits of integers up to 255 are 1."""
    return torch.tensor([number.bit_count() for number in range(256)], device=values.device)[values]


@contextlib.contextmanager
def integer_activations(model: nn.Module) -> Iterator[None]:
    """Within the block nothing spikes: layers quantize their inputs and multiply integers, as integer runtimes do.

    The codes and the accumulators are computed another way than spikes compute them, and must be the same: a model's
    logits are those of its spiking self, to the bit. Attention products, where they spike, go on spiking.

    Raises:
        InputError: the model does not spike.
    """
    state = spiking_state(model)
    with computed_by({name: _IntegerActivations(layer) for name, layer in state.layers.items()}, state):
        yield


@contextlib.contextmanager
def weight_only(model: nn.Module) -> Iterator[None]:
    """Within the block nothing spikes: layers multiply their real inputs by their integer weights, attention is real.

    What remains is the error of quantizing weights alone; online rotations stay in place.

    Raises:
        InputError: the model does not spike.
    """
    state = spiking_state(model)
    for name in state.attention:
        uninstall(model.get_submodule(name))
    try:
        with computed_by({name: _WeightOnly(layer) for name, layer in state.layers.items()}, state):
            yield
    finally:
        for name, products in state.attention.items():
            install(model.get_submodule(name), products)


@contextlib.contextmanager
def computed_by(references: Mapping[str, Reference], state: SpikingState) -> Iterator[None]:
    """Within the block the outputs of the named layers are their references'; others spike as ever.

    Args:
        references: by name of layer.
        state: of the spiking model.
    """
    layers = {name: state.layers[name] for name in references}
    for name, layer in layers.items():
        layer.__dict__["reference"] = references[name]
        layer.__class__ = _ReferenceLinear
    try:
        with state.watch.paused():
            yield
    finally:
        for layer in layers.values():
            layer.__class__ = SpikingLinear
            del layer.__dict__["reference"]
