"""What the spikes of a neuron encode, and how many it takes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from spike_compressor.coding import Coding, get_coding, spikes_from_codes
from spike_compressor.modality import rows_by_modality
from spike_compressor.runtime import LayerSpec, LayerSpikes


@lru_cache(maxsize=64)
def planes_of(coding: Coding, timesteps: int) -> tuple[int, Tensor]:
    """The least integer that a neuron encodes, and where it fires for that and all above: 0/1 int64 [steps, count]."""
    middle = 1 << timesteps
    if coding.signed:
        largest = coding.largest(timesteps)
        codes = torch.arange(-largest, largest + 1, dtype=torch.int16)
        return -largest, coding.spikes(codes.unsqueeze(1), timesteps).squeeze(2).ne(0).to(torch.int64)
    # a level has the same spikes whatever the zero point
    levels = torch.arange(2 * middle, dtype=torch.int16)
    train = spikes_from_codes(levels - middle, timesteps, coding.name, zero_point=middle)
    return 0, train.spikes.ne(0).to(torch.int64)


def spikes_of(encoded: Tensor, coding: str, timesteps: int) -> Tensor:
    """Spikes of each row, int64 [M].

    Args:
        encoded: integers [M, K] that the neurons encode: codes, or levels where spikes are unsigned.
        coding: name of the coding.
        timesteps: T of all of them.
    """
    first, fired = planes_of(get_coding(coding), timesteps)
    return fired.sum(dim=0).to(encoded.device)[encoded.to(torch.int64) - first].sum(dim=1)


def encoded_by(
    coding: str, codes: Tensor, timesteps: Tensor, zero_point: Tensor | None, silenced: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What the spikes of each neuron encode, int16 [M, K], and where a code is at an end of its range, bool.

    Args:
        coding: name of the coding.
        codes: integers [M, K].
        timesteps: T of each row, int64 [M].
        zero_point: of each row [M] for unsigned codings, else None.
        silenced: bool [K], True at neurons that must not fire; None if all may.
    """
    codec, T = get_coding(coding), timesteps.unsqueeze(1)
    limit = codec.by_timesteps(codec.largest, T)
    codes = codes.to(torch.int16)
    if codec.signed:
        return codes, codes.abs() == limit
    levels = codes + ((1 << T) if zero_point is None else zero_point.unsqueeze(1)).to(torch.int16)
    ends = codes.abs() == limit if zero_point is None else (levels == 0) | (levels == 2 * limit + 1)
    if silenced is not None:
        levels = levels.masked_fill(silenced, 0)  # no level at all: these neurons do not fire
    return levels, ends


def spikes_by_row(spec: LayerSpec, event: LayerSpikes, silenced: Tensor | None = None) -> Tensor:
    """Spikes that each row of a layer's call fired, int64 [M].

    Args:
        spec: of the layer's neurons.
        event: what the call did.
        silenced: bool [K], True at neurons that must not fire; None if all may.
    """
    encoded, _ = encoded_by(spec.coding, event.codes, event.timesteps, event.zero_point, silenced)
    fired = torch.zeros(encoded.shape[0], dtype=torch.int64, device=encoded.device)
    for name, rows in rows_by_modality(event.modality).items():
        fired[rows] = spikes_of(encoded[rows], spec.coding, spec.timesteps[name])
    return fired
