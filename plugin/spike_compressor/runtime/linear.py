"""A Linear whose input is coded into spikes and whose integer weights are summed by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.modality import TEXT, carry
from spike_compressor.runtime.backends import Backend
from spike_compressor.runtime.neurons import LayerSpikes, Neurons
from spike_compressor.runtime.precision import without_autocast
from spike_compressor.runtime.spec import LayerSpec
from spike_compressor.runtime.weights import IntegerWeight

Observer = Callable[["SpikingLinear", LayerSpikes], None]


class SpikingLinear(nn.Linear):
    """`nn.Linear` with a neuron in front of every input.

    A Linear becomes one in place (`attach`) by this class and its `neurons`, and stays the module that it was: its
    hooks (online rotations among them), parameters and place in the model are untouched. The output is
    `(float32(acc) * act_scale) * weight_scale + bias` in float32, then the dtype of the input, under `torch.autocast`
    too.

    Attributes:
        neurons: what it spikes with. The properties below read them.
    """

    neurons: Neurons

    @property
    def spec(self) -> LayerSpec:
        """The spiking encoding of its rows."""
        return self.neurons.spec

    @property
    def integer(self) -> IntegerWeight:
        """Its integer weights."""
        return self.neurons.integer

    @property
    def backend(self) -> Backend:
        """What carries its spikes to the accumulators."""
        return self.neurons.backend

    @property
    def fixed_modality(self) -> int | None:
        """Modality code of all its rows where the module alone tells it, else None."""
        return self.neurons.fixed_modality

    @property
    def modalities(self) -> list[str]:
        """The modalities that its rows can have."""
        return self.neurons.modalities

    @property
    def silenced(self) -> Tensor | None:
        """Neurons that must not fire, bool [K], or None; see `silence`."""
        return self.neurons.silenced

    @property
    def observers(self) -> list[Observer]:
        """Called with the layer and what it did, after each of its calls."""
        return self.neurons.observers

    def silence(self, neurons: Tensor | None) -> None:
        """Forbid neurons to fire, for ablation studies.

        Args:
            neurons: bool [K], True where silent; None lets all fire again.

        Raises:
            InputError: another dtype or shape.
        """
        self.neurons.silence(neurons)

    def forward(self, input: Tensor) -> Tensor:
        neurons = self.neurons
        with without_autocast(input.device):
            drive, synapses = neurons.fire(input.reshape(-1, self.in_features).to(torch.float32))
            out = neurons.dequantize(synapses.acc, drive.scale, self.bias)
            if neurons.observers:
                event = neurons.event(drive, synapses, out)
                for observer in list(neurons.observers):
                    observer(self, event)
        out = out.to(input.dtype).reshape(*input.shape[:-1], self.out_features)
        carry(input, out)
        return out

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # the integer weights and their scales are no parameters: they follow the device, and no `.half()` rounds them.
        # The parameter of the same scales must not be rounded either, or saving would write others than are used.
        exact = {key: p.data for key, p in self._parameters.items() if key.endswith("_scale") and p is not None}
        before = None if self._parameters.get("weight") is None else self.weight.dtype
        module = super()._apply(fn, recurse)
        for key, value in exact.items():
            parameter = self._parameters[key]
            if parameter is not None and parameter.dtype != value.dtype:
                parameter.data = value.to(parameter.device)
        weight = self._parameters.get("weight")
        if before is not None and weight is not None and weight.dtype not in (before, torch.int8):
            # a float weight near the middle between two codes would be rounded to the other one
            weight.data = self.neurons.integer.floats().to(weight.device, weight.dtype)
        device = next((p.device for p in self.parameters()), None)
        if device is not None and device.type != "meta":
            self.neurons.move(device)
        return module

    def extra_repr(self) -> str:
        T = ", ".join(f"{name} T={self.spec.timesteps[name]}" for name in self.spec.timesteps)
        only = "" if self.fixed_modality in (None, TEXT) else f", {self.modalities[0]} rows only"
        return f"{super().extra_repr()}, {self.spec.coding}, {T}{only}, backend={self.backend.name}"
