"""Integer weights and their scales, as the kernels read them."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.kernels import OUTPUTS, Panels


class IntegerWeight:
    """Weight matrix W = codes * scale.

    On the CPU the integers are kept in the panels that the kernels read, 4 bits each where they fit, and nowhere else;
    other devices keep them as int8.

    Args:
        codes: int8 [N, K]; a zero point, if the quantizer had one, is already subtracted.
        scale: float32 [N, G]; column g scales the K/G consecutive inputs of group g.
        bits: of the quantizer.

    Attributes:
        shape: N and K.
        bits: of the quantizer.
        panels: of the integers; None on other devices than the CPU.
        scales: float32 [G, N padded to 16], as the kernels read them.
    """

    def __init__(self, codes: Tensor, scale: Tensor, bits: int) -> None:
        N, K = codes.shape
        self.shape, self.bits = (int(N), int(K)), bits
        self.scales = scale.new_zeros((scale.shape[1], -(-N // OUTPUTS) * OUTPUTS))
        self.scales[:, :N] = scale.t()
        self.panels = Panels.of(codes, self.groups) if codes.device.type == "cpu" else None
        self._codes = codes.contiguous() if self.panels is None else None

    @property
    def codes(self) -> Tensor:
        """The integers, int8 [N, K]; on the CPU a copy, unpacked."""
        if self._codes is not None:
            return self._codes
        assert self.panels is not None
        return self.panels.codes()

    @property
    def scale(self) -> Tensor:
        """The scales, float32 [N, G], a view."""
        return self.scales[:, : self.shape[0]].t()

    @property
    def device(self) -> torch.device:
        """Where the integers are."""
        return self.scales.device

    @property
    def groups(self) -> int:
        """G, 1 for scales per tensor or channel."""
        return int(self.scales.shape[0])

    def to(self, device: torch.device) -> IntegerWeight:
        """The same on another device."""
        if device == self.device:
            return self
        return IntegerWeight(self.codes.to(device), self.scale.to(device), self.bits)

    def floats(self) -> Tensor:
        """float32 [N, K], codes times scales."""
        return self.codes * self.scale.repeat_interleave(self.shape[1] // self.groups, dim=1)

    def equals(self, weight: Tensor) -> bool:
        """Whether a tensor holds these weights, as codes or as floats [N, K] of any precision."""
        if tuple(weight.shape) != self.shape:
            return False
        own = self.floats().to(weight.dtype) if weight.is_floating_point() else self.codes
        return torch.equal(torch.empty_like(own).copy_(weight), own)

    def scaled_by(self, scale: Tensor) -> bool:
        """Whether scales, of any layout, are those of the codes."""
        return torch.equal(scale_rows(scale, self.shape[0]).to(self.device), self.scale)


def scale_rows(scale: Tensor, count: int) -> Tensor:
    """Scales of any layout as float32 [count, G]."""
    rows = scale.detach().to(torch.float32).reshape(-1, scale.shape[-1] if scale.dim() == 2 else 1)
    return rows.expand(count, -1).contiguous()
