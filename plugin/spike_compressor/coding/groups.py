"""The spikes of groups of neighbouring inputs, of which one fires a step: chosen together, by a beam of integer states.

Everything is exact integer arithmetic, stated in docs/numerics.md: any implementation finds the same spikes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import MOST_TIMESTEPS
from spike_compressor.coding.blocks import row_blocks

__all__ = ["GROUP", "LONGEST", "group_codes", "largest_group_code", "membranes", "step_units"]

GROUP = 4
"""Inputs of a group."""
LONGEST = MOST_TIMESTEPS
"""Steps whose codes fit an int16, and whose squared residuals fit an int32."""


def step_units(left: int) -> int:
    """Weight of a step that `left` others follow, in units of the residual: 128 of the last, 3/2 as much one before."""
    return 3**left << (LONGEST - 1 - left)


def largest_group_code(steps: int) -> int:
    """The code of an input that fires in every step, `3^S - 2^S`; no group's magnitudes add up to more."""
    return 3**steps - (1 << steps)


def membranes(y: Tensor, steps: int) -> Tensor:
    """Drives in units of the residual: `sgn(y) * min(floor(|y| * 2^(8-S)), (3^S - 2^S) * 2^(8-S))`.

    Args:
        y: float32 [rows, K] in units of the code; overwritten.
        steps: S, 1 … 8.

    Returns:
        int32 [rows, K].
    """
    fraction = 1 << (LONGEST - steps)
    limit = largest_group_code(steps)
    return y.clamp_(-limit, limit).mul_(fraction).to(torch.int32)  # truncates


def group_codes(membrane: Tensor, steps: int, beam: int) -> Tensor:
    """The codes that groups fire for their membranes.

    Each state of the beam holds the residuals of a group's four inputs. In a step of weight w it has five candidates:
    nobody fires, or one of the four does, with the sign of its residual r (of 0: plus), which changes the sum of
    squares by `w * (w - 2|r|)`. The `beam` candidates of least sums go on, in their order; of equal ones those where
    nobody fires come before those of input 0, 1, 2, 3, and among these the better state's. The last step keeps the
    first alone.

    Args:
        membrane: int32 [N, 4], as `membranes` gives them.
        steps: S, 1 … 8.
        beam: states that are kept, 1 … 8.

    Returns:
        int16 [N, 4].
    """
    codes = torch.empty(membrane.shape, dtype=torch.int16, device=membrane.device)
    for block in row_blocks(membrane.shape[0], 16 * beam, membrane.device):
        codes[block] = _beam_search(membrane[block], steps, beam)
    return codes


def _beam_search(membrane: Tensor, steps: int, beam: int) -> Tensor:
    device, count = membrane.device, membrane.shape[0]
    residual = membrane.to(torch.int32).unsqueeze(1)  # [N, states, 4]
    score = torch.zeros((count, 1), dtype=torch.int64, device=device)
    places = torch.arange((GROUP + 1) * beam, device=device)
    inputs = torch.arange(1, GROUP + 1, device=device)
    for left in reversed(range(steps)):
        weight, states = step_units(left), score.shape[1]
        change = weight * (weight - 2 * residual.abs())
        candidates = torch.cat([score, (score.unsqueeze(2) + change).transpose(1, 2).flatten(1)], dim=1)
        # with its place as its last digit, every candidate is a number of its own
        keys = candidates * places.numel() + places[: candidates.shape[1]]
        kept = min(candidates.shape[1], beam if left else 1)
        best = keys.topk(kept, dim=1, largest=False, sorted=True).values
        score = best.div(places.numel(), rounding_mode="floor")
        place = best - score * places.numel()
        fires, state = place // states, place % states
        residual = residual.gather(1, state.unsqueeze(2).expand(-1, -1, GROUP))
        spike = torch.where(residual >= 0, weight, -weight).to(torch.int32)
        residual = residual - spike * (fires.unsqueeze(2) == inputs)
    return ((membrane - residual[:, 0]) >> (LONGEST - steps)).to(torch.int16)
