"""A Linear whose input is coded into spikes and whose integer weights are summed by them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.modality import TEXT, TokenRows, carry, own_operations, rows_scope, traced_modality
from spike_compressor.runtime.backends import Backend
from spike_compressor.runtime.compiled import outputs
from spike_compressor.runtime.forwards import SpikingInactiveError, function_of, innermost, origin
from spike_compressor.runtime.integers import IntegerWeight
from spike_compressor.runtime.neurons import LayerSpikes, Neurons
from spike_compressor.runtime.precision import is_autocast, without_autocast
from spike_compressor.runtime.recomputing import is_recomputing
from spike_compressor.runtime.shown_weight import ShownWeight, written
from spike_compressor.runtime.spec import LayerSpec
from spike_compressor.runtime.straight_through import Computed, rows_to_outputs

Observer = Callable[["SpikingLinear", LayerSpikes], None]

#: Parameters of compressed-tensors that the integer weights were made with.
_QUANTIZATION = frozenset({"weight_scale", "weight_zero_point"})


class SpikingLinear(nn.Linear):
    """`nn.Linear` with a neuron in front of every input.

    A Linear becomes one in place (`attach`) by this class and its `neurons`, and stays the module that it was: its
    hooks (online rotations among them), bias and place in the model are untouched. The output is
    `(float32(acc) * act_scale) * weight_scale + bias` in float32, then the dtype of the input, under `torch.autocast`
    too.

    Its weights are the integers of its neurons; `weight` is a `ShownWeight`, for code that asks for dtype or device.
    Wrappers that only move tensors may stand around its `forward`. Whoever puts another `forward`, weight or scale into
    it gets an error at that moment.

    Attributes:
        neurons: what it spikes with. The properties below read them.
    """

    neurons: Neurons

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight as it is shown: shape [N, K], dtype and device of the model; see `ShownWeight`.

        Within `spike_compressor.trainable` it is a float32 parameter, of which the integers are quantized.
        """
        neurons = self.neurons
        if neurons.master is not None:
            return self._parameters["weight"]  # type: ignore[return-value]
        return ShownWeight(neurons.name, neurons.integer, neurons.dtype, neurons.integer.device)

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
        return self.outputs(input)

    def outputs(self, input: Tensor) -> Tensor:
        """Outputs [..., N] of inputs [..., K], in their dtype; what `forward` is, whatever class the layer has."""
        if torch.compiler.is_compiling():
            return self._traced(input)
        neurons = self.neurons
        with own_operations():
            if not (neurons.observers or neurons.master is not None or self._wants_gradients(input)):
                out = neurons.outputs(input, self.bias)
                if out is not None:
                    out = out if input.dtype == torch.float32 else out.to(input.dtype)
                    carry(input, out)
                    return out
            x = input.reshape(-1, self.in_features).to(torch.float32)
            carry(input, x)
            if torch.is_grad_enabled() or neurons.master is not None or is_autocast(input.device):
                with without_autocast(input.device):
                    out = rows_to_outputs(self, x, self._compute)
            else:
                out = self._compute(x).output
            out = out.to(input.dtype).reshape(*input.shape[:-1], self.out_features)
            carry(input, out)
        return out

    def _wants_gradients(self, input: Tensor) -> bool:
        return torch.is_grad_enabled() and (input.requires_grad or (self.bias is not None and self.bias.requires_grad))

    def _traced(self, input: Tensor) -> Tensor:
        neurons = self.neurons
        gradient = torch.is_grad_enabled() and (input.requires_grad or neurons.master is not None)
        modality = traced_modality() if neurons.by_modality else None
        if gradient or neurons.observers:  # who looks on, or wants gradients, gets them as ever, between two graphs
            return _between_graphs(self, input, modality)
        bias = None if self.bias is None else self.bias.detach()
        return outputs(input.detach(), bias, modality, neurons.number, self.out_features)

    def _compute(self, x: Tensor) -> Computed:
        neurons = self.neurons
        drive, synapses = neurons.fire(x)
        out = neurons.dequantize(synapses.acc, drive.scale, self.bias)
        if neurons.observers and not is_recomputing():
            event = neurons.event(drive, synapses, out)
            for observer in list(neurons.observers):
                observer(self, event)
        return Computed(drive, synapses.codes, bool(synapses.saturated), out)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # the integer weights and their scales are no parameters: they follow the device, and no `.half()` rounds them.
        # The parameter of the same scales must not be rounded either, or saving would write others than are used.
        # Float weights that train stay float32.
        training = self.neurons.master is not None
        exact = {
            key: p.data
            for key, p in self._parameters.items()
            if p is not None and (key.endswith("_scale") or (key == "weight" and training))
        }
        module = super()._apply(fn, recurse)
        for key, value in exact.items():
            parameter = self._parameters[key]
            if parameter is not None and parameter.dtype != value.dtype:
                parameter.data = value.to(parameter.device)
        like = fn(torch.empty(0, dtype=self.neurons.dtype, device=self.neurons.present.device))
        self.neurons.dtype = like.dtype
        if like.device.type != "meta":
            self.neurons.move(like.device)
        return module

    # What others do to the module

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "forward":
            self._wrap(value)
        elif name == "weight" or (name in _QUANTIZATION and not self._has(name, value)):
            raise InputError(written(self.neurons.name, name))
        else:
            super().__setattr__(name, value)

    def _wrap(self, forward: Any) -> None:
        """Take a wrapper of `forward` that moves tensors, or its end.

        Raises:
            SpikingInactiveError: any other `forward`.
        """
        before = self.__dict__.get("forward")
        self.__dict__["forward"] = forward
        if not self.leads_to_neurons():
            if before is None:
                del self.__dict__["forward"]
            else:
                self.__dict__["forward"] = before
            raise SpikingInactiveError(
                f"{self.neurons.name} spikes, and its `forward` cannot be replaced by {origin(forward)}: call "
                "spike_compressor.runtime.detach(model) before other libraries change its layers."
            )
        if function_of(forward) is SpikingLinear.forward:  # a wrapper was taken off
            del self.__dict__["forward"]

    def leads_to_neurons(self) -> bool:
        """Whether the instance's own `forward`, if there is one, only moves tensors and calls the neurons."""
        key, forward = innermost(self)
        return (key == "forward" and forward is None) or function_of(forward) is SpikingLinear.forward

    def _has(self, name: str, value: Tensor) -> bool:
        """Whether a parameter of the quantization has this value already; who offloads parameters puts them anew."""
        if value.device.type == "meta":
            return True
        if name == "weight_scale":
            return self.integer.scaled_by(value)
        own = self._parameters.get(name)
        return own is None or own.device.type == "meta" or torch.equal(own, value.to(own.device))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.neurons.master is None:
            destination[prefix + "weight"] = self.weight

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight, master = state_dict.pop(prefix + "weight", None), self.neurons.master
        if weight is not None and master is None and not self.integer.equals(weight):
            raise InputError(written(self.neurons.name, "weight"))
        for name in _QUANTIZATION:
            value = state_dict.get(prefix + name)
            if value is not None and not self._has(name, value):
                raise InputError(written(self.neurons.name, name))
        if weight is not None and master is not None:  # codes, if it is a checkpoint of the model in training
            state_dict[prefix + "weight"] = weight if weight.is_floating_point() else master.load(weight)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        T = ", ".join(f"{name} T={self.spec.timesteps[name]}" for name in self.spec.timesteps)
        only = "" if self.fixed_modality in (None, TEXT) else f", {self.modalities[0]} rows only"
        return f"{super().extra_repr()}, {self.spec.coding}, {T}{only}, backend={self.backend.name}"


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _between_graphs(layer: SpikingLinear, input: Tensor, modality: Tensor | None) -> Tensor:
    with contextlib.nullcontext() if modality is None else rows_scope(TokenRows(modality)):
        return layer.outputs(input)
