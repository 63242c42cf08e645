"""Group coding: of four neighbouring inputs one fires a step."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from spike_compressor.coding.arguments import PerRow, per_row_scale
from spike_compressor.coding.base import Coding, register_coding
from spike_compressor.coding.groups import GROUP, LONGEST, group_codes, largest_group_code, membranes
from spike_compressor.coding.rounding import Limit, beyond


@register_coding("group4")
class Group4(Coding):
    """S = T steps of {-1, 0, 1} with weights `3^(S-1-t) * 2^t`; at most one input of four fires a step.

    Inputs 4g … 4g + 3 are a group; a last one is padded with inputs that never fire. Which of them fires is a matter of
    the whole group, found by a beam of 8 states (`groups`). Codes are `q = sum_t w_t s_t`; no two spike trains have the
    same ones, so codes alone tell the spikes.
    """

    signed = True
    group = GROUP
    max_timesteps = LONGEST
    membrane_bits = LONGEST - 1
    beam: ClassVar[int] = 8
    """States that the search keeps: 4 or 8, which the kernels know."""
    native = 8

    def weights(self, timesteps: int) -> tuple[int, ...]:
        return tuple(3 ** (timesteps - 1 - t) << t for t in range(timesteps))

    def largest(self, timesteps: int) -> int:
        return largest_group_code(timesteps)

    def spike_bits(self, timesteps: int) -> int:
        """Nobody, or one of four with a sign: four bits a group and step."""
        return timesteps

    def integer_bits(self, timesteps: int) -> int:
        """A step more is 3/2 finer, so S steps resolve what `S log2(3/2)` timesteps of powers of two do."""
        return 1 + round(timesteps * math.log2(1.5))

    def membrane(self, x: Tensor, scale: Tensor, timesteps: PerRow, frac_bits: int) -> Tensor:
        y = (x.to(torch.float32) / per_row_scale(scale, x)).reshape(-1, x.shape[-1])
        found = torch.empty_like(y, dtype=torch.int32)
        for steps, rows in _by_steps(timesteps):
            chosen = slice(None) if rows is None else rows
            found[chosen] = membranes(y[chosen].clone(), steps)
        return found.view(x.shape)

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
            y.masked_fill_(silenced, 0.0)  # who has no drive never fires, and leaves the step to the others
        for steps, rows in _by_steps(timesteps):
            membrane = membranes(y if rows is None else y[rows], steps)
            width = membrane.shape[1]
            padded = torch.nn.functional.pad(membrane, (0, -width % GROUP))
            found = group_codes(padded.view(-1, GROUP), steps, self.beam).view(padded.shape)[:, :width]
            if rows is None:
                codes.copy_(found)
            else:
                codes[rows] = found.to(codes.dtype)
        return count

    def fire(self, levels: Tensor, timesteps: PerRow, spikes: Tensor) -> None:
        spikes.zero_()
        for steps, rows in _by_steps(timesteps):
            left = (levels if rows is None else levels[rows]).to(torch.int32)
            for t in reversed(range(steps)):
                # what earlier steps add is a multiple of 3, and 2^t is 1 or -1 more or less than one
                digit = (left + 1) % 3 - 1
                if t % 2:
                    digit = -digit
                spikes[t, slice(None) if rows is None else rows] = digit.to(torch.int8)
                left = torch.div(left - (digit * (1 << t)), 3, rounding_mode="floor")

    def why_no_spikes(self, codes: Tensor, timesteps: PerRow) -> str | None:
        spikes = self.spikes(codes, timesteps).to(torch.int32)
        weights = self.step_weights(timesteps).to(codes.device)
        weights = weights.view(*weights.shape, *[1] * (spikes.ndim - weights.ndim))
        if not bool(((spikes * weights).sum(dim=0) == codes).all()):
            return f"codes of {self.name} are sums of 3^(S-1-t) * 2^t, each at most once and with a sign; some are not"
        padded = torch.nn.functional.pad(spikes.abs(), (0, -codes.shape[-1] % GROUP))
        if not bool((padded.unflatten(-1, (-1, GROUP)).sum(dim=-1) <= 1).all()):
            return f"{self.name} fires one input of a group a step, and these codes fire several"
        return None


@register_coding("group4_beam4")
class Group4Beam4(Group4):
    """`group4` with a beam of 4 states: half the hardware, .3 to 1.2 dB less."""

    beam = native = 4


def _by_steps(timesteps: PerRow) -> list[tuple[int, Tensor | None]]:
    """Each S of rows, an int or an integer tensor [rows, 1], and which rows have it: None stands for all."""
    if isinstance(timesteps, int):
        return [(timesteps, None)]
    flat = timesteps.reshape(-1)
    found = [int(steps) for steps in flat.unique()]
    if len(found) == 1:
        return [(found[0], None)]
    return [(steps, (flat == steps).nonzero().squeeze(1)) for steps in found]
