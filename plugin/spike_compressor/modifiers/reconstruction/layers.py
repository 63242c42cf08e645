"""What is learned of a spiking layer: which way its weights are rounded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spike_compressor.modality import carry, own_operations
from spike_compressor.runtime import SpikingLinear
from spike_compressor.runtime.weights import code_range

#: How far the weights in floats may stand from the integers that were found, in steps, at the start: a weight further
#: away than half a step was rounded the other way for a reason.
_START = 0.45


class LearnedLayer:
    """Stands in for the neurons of a spiking layer while it learns: the same codes, and gradients to what is learned.

    Integers stay within one step of those that were found, and in the range of their bits. Scales and thresholds stay.
    Sums are float32 products of the same numbers as the neurons', equal to theirs up to rounding.

    Args:
        layer: that learns; not changed before `settle`.
        real: its weights in floats [N, K].
        rounding: whether integers are learned.

    Attributes:
        offset: parameter float32 [N, K], by how many steps a weight lies beside its integer; None if not learned.
    """

    def __init__(self, layer: SpikingLinear, real: Tensor, rounding: bool) -> None:
        self._layer = layer
        present = layer.neurons.present
        self._found = present.codes
        self._steps = present.scale.repeat_interleave(present.shape[1] // present.groups, dim=1)
        self.offset: nn.Parameter | None = None
        if rounding:
            low, high = code_range(layer)
            self._low = torch.maximum(self._found.to(torch.int16) - 1, low).to(torch.float32)
            self._high = torch.minimum(self._found.to(torch.int16) + 1, high).to(torch.float32)
            self.offset = nn.Parameter(self._start(real.to(torch.float32).to(self._steps.device)))

    def _start(self, real: Tensor) -> Tensor:
        """By how many steps weights in floats lie beside their integers, float32 [N, K], at most `_START`."""
        beside = (real / self._steps - self._found).nan_to_num(0.0, 0.0, 0.0)
        if float(beside.abs().mean()) > 1:  # rotated or rescaled since: these are not what was rounded
            return torch.zeros_like(beside)
        return beside.clamp(-_START, _START)

    @property
    def size(self) -> int:
        """How many integers the layer has."""
        return self._found.numel()

    def codes(self) -> Tensor:
        """The integers as they are now, int8 [N, K]."""
        if self.offset is None:
            return self._found
        level = (self._found + self.offset.detach()).round()
        return torch.minimum(torch.maximum(level, self._low), self._high).to(torch.int8)

    def settle(self) -> int:
        """Leave the layer with what was learned; returns how many of its integers are others."""
        codes = self.codes()
        self._layer.neurons.become(codes)
        return int((codes != self._found).sum())

    def _weight(self) -> Tensor:
        if self.offset is None:
            return self._found * self._steps
        level = self._found + self.offset
        inside = (level.detach() > self._low - 0.5) & (level.detach() < self._high + 0.5)
        level = torch.where(inside, level, level.detach())
        return (level + (self.codes() - level).detach()) * self._steps

    def forward(self, layer: SpikingLinear, input: Tensor) -> Tensor:
        """The layer's outputs [..., N] of inputs [..., K]."""
        with own_operations():
            x = input.reshape(-1, layer.in_features).to(torch.float32)
            carry(input, x)
            with torch.no_grad():
                drive = layer.neurons.drive(x)
                codes, clips = drive.codes()
                blocked = drive.blocked() if clips or drive.silenced is not None else None
            coded = _Coded.apply(x, codes, drive.scale, blocked)
            bias = None if layer.bias is None else layer.bias.to(torch.float32)
            out = nn.functional.linear(coded, self._weight(), bias)
            return out.to(input.dtype).reshape(*input.shape[:-1], layer.out_features)


class _Coded(torch.autograd.Function):
    """What codes stand for, float32 [M, K]; gradients pass straight through, but where codes clip."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, scale: Tensor, blocked: Tensor | None) -> Tensor:
        ctx.save_for_backward(blocked)
        return codes * scale.unsqueeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (blocked,) = ctx.saved_tensors
        return gradient if blocked is None else gradient.masked_fill(blocked, 0.0), None, None, None
