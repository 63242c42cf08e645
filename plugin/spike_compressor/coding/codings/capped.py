"""Capped firing: lanes of an event-driven core that would fire more often than its others drop their weakest spikes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from spike_compressor.coding.arguments import PerRow
from spike_compressor.coding.base import register_coding
from spike_compressor.coding.bits import popcount
from spike_compressor.coding.codings.tc_lif import TCLIF
from spike_compressor.coding.rounding import Limit, beyond

_QUARTERS = 2
"""Fraction bits that the rule reads."""
_ODD = 1 << _QUARTERS
"""The lowest bit of a code, in quarters."""


@register_coding("tc_lif_capped")
class TCLIFCapped(TCLIF):
    """The spikes of `tc_lif` for codes of which lanes that hold too many spikes have dropped some.

    Inputs 64b … 64b + 63 of a row are a block, input k belongs to lane `k mod lanes`. A lane fires at most as often as
    the lanes of its block do on the mean, rounded up, as far as spikes of the last step can be left out for that: those
    first whose inputs lie lowest above the limit at which the spike fires. Everything is exact, and stated in
    docs/numerics.md.
    """

    lanes: ClassVar[int] = 8
    slots: ClassVar[int] = 8
    """Inputs of a lane in a block."""

    def membrane(self, x: Tensor, scale: Tensor, timesteps: PerRow, frac_bits: int) -> Tensor:
        if frac_bits < _QUARTERS:
            raise ValueError(f"frac_bits must be at least {_QUARTERS}, which {self.name} reads, not {frac_bits}")
        return super().membrane(x, scale, timesteps, frac_bits)

    def quantize(
        self,
        y: Tensor,
        timesteps: PerRow,
        low: Limit,
        high: Limit,
        codes: Tensor,
        *,
        inside: bool,
        silenced: Tensor | None = None,
    ) -> int:
        count = 0 if inside else beyond(y, low, high)
        if silenced is not None:
            y.masked_fill_(silenced, 0.0)
        negative = y < 0
        # |y| + 1/2 in quarters: above the fraction stands the code, in it how far above the code's limit the input lies
        largest = torch.as_tensor(high, dtype=torch.float32, device=y.device) * _ODD + (_ODD - 1)
        quarters = y.abs_().mul_(_ODD).floor_().add_(_ODD // 2)
        quarters = torch.minimum(quarters, largest).to(torch.int16)
        rows, width = quarters.shape
        quarters = torch.nn.functional.pad(quarters, (0, -width % (self.lanes * self.slots)))
        by_slot = quarters.view(-1, self.slots, self.lanes).transpose(0, 1).contiguous()
        self._drop(by_slot)
        found = by_slot.transpose(0, 1).reshape(rows, -1)[:, :width] >> _QUARTERS
        codes.copy_(torch.where(negative, -found, found))
        return count

    def _drop(self, quarters: Tensor) -> None:
        """Let lanes drop spikes: `|y| + 1/2` in quarters, int16 [slots, blocks, lanes]; changed in place."""
        fired = popcount((quarters >> _QUARTERS).to(torch.uint8)).sum(dim=0, dtype=torch.int16)
        cap = (fired.sum(dim=1, keepdim=True, dtype=torch.int16) + (self.lanes - 1)) // self.lanes
        over = (fired - cap).clamp_(min=0)
        for least in range(_ODD, 2 * _ODD):  # odd, and the lowest quarter first
            for slot in quarters:
                drops = (((slot & (2 * _ODD - 1)) == least) & (over > 0)).to(torch.int16)
                slot -= drops << _QUARTERS
                over -= drops


@register_coding("tc_lif_capped16")
class TCLIFCapped16(TCLIFCapped):
    """`tc_lif_capped` for cores of 16 lanes and 4 slots."""

    lanes = 16
    slots = 4
