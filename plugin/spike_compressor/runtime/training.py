"""Training the weights of a spiking model: float weights behind the integers, for as long as a block lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.runtime.attaching import end_training, spiking_state
from spike_compressor.runtime.integers import IntegerWeight
from spike_compressor.runtime.linear import SpikingLinear
from spike_compressor.runtime.weights import stored_codes, without_zero_point


class MasterWeight:
    """Float32 weights of a spiking layer, from which its integers are quantized at each of its calls.

    They are the layer's parameter `weight`. Scales and zero points stay as they are. They begin as the integers times
    their scales.

    Args:
        layer: whose weights are to be trained.

    Attributes:
        parameter: float32 [N, K].

    Raises:
        InputError: its parameters are offloaded to another device than it computes on.
    """

    def __init__(self, layer: SpikingLinear) -> None:
        self._layer = layer
        self.parameter = nn.Parameter(layer.integer.floats())
        if not torch.equal(self.integer().codes, layer.integer.codes):
            raise InputError(
                f"the weight_scale of {layer.neurons.name} is not what its integers were quantized with; open the "
                "checkpoint anew before its weights are trained"
            )
        self.show()

    def integer(self) -> IntegerWeight:
        """The integers of the weights as they are now."""
        present = self._layer.neurons.present
        codes = stored_codes(self._layer, self.parameter.detach())
        return IntegerWeight(without_zero_point(self._layer, codes), present.scale, present.bits)

    def show(self) -> None:
        """Make the float weights the layer's parameter."""
        layer = self._layer
        layer._parameters["weight"] = self.parameter
        if layer._parameters["weight"] is not self.parameter:
            del layer._parameters["weight"]
            raise InputError(
                f"the parameters of {layer.neurons.name} are offloaded, and optimizers do not reach them: call "
                "compressed_tensors.offload.remove_dispatch(model) and bring the model to one device before it trains"
            )
        layer.neurons.master = self

    def hide(self) -> None:
        """Take them away, and leave the layer with the integers of the weights as they are now."""
        neurons = self._layer.neurons
        neurons.follow()
        neurons.master = None
        del self._layer._parameters["weight"]

    def load(self, codes: Tensor) -> Tensor:
        """Float weights of codes int8 [N, K] as checkpoints hold them."""
        present = self._layer.neurons.present
        codes = without_zero_point(self._layer, codes.to(present.device))
        return IntegerWeight(codes, present.scale, present.bits).floats()


@contextlib.contextmanager
def trainable(model: nn.Module) -> Iterator[None]:
    """Within the block the weights of a spiking model train; afterwards its integers are those of the trained weights.

    Each spiking layer's `weight` becomes a float32 parameter that wants gradients. At each call the layer quantizes it
    with the scales that it has, and computes with these integers exactly as always; gradients pass straight through,
    and not to weights beyond the quantizer's range (docs/numerics.md). Make the optimizer within the block, since the
    parameters are new ones. The forward pass, counts and traces are those of the integers as they are, and saving
    within the block writes these.

    Everything else that wants gradients gets them without this, too.

    Args:
        model: that spikes.

    Raises:
        InputError: the model does not spike, its weights train already, or its parameters are offloaded.
    """
    state = spiking_state(model)
    if state.masters:
        raise InputError("the weights of this model train already: leave the first `trainable` block before the next")
    before = [(layer.neurons, layer.integer.codes) for layer in state.layers.values()]
    activity = state.facts.get("activity")
    if activity is not None:  # what fired before says nothing of the weights to come
        state.facts["activity"] = {"not_measured": "the weights were trained since"}
    try:
        for layer in state.layers.values():
            state.masters.append(MasterWeight(layer))
        yield
    finally:
        end_training(state)
        if activity is not None and all(torch.equal(neurons.present.codes, codes) for neurons, codes in before):
            state.facts["activity"] = activity
