"""The two ways into spikes: from real numbers, and from integer codes."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.arguments import PerRow, along_features, check_floating, check_timesteps
from spike_compressor.coding.base import Coding, get_coding
from spike_compressor.coding.quantize import check_zero_point, codes_of
from spike_compressor.coding.spike_train import SpikeTrain

__all__ = ["encode", "spikes_from_codes"]


@torch.no_grad()
def encode(
    x: Tensor,
    scale: float | Tensor,
    timesteps: PerRow,
    coding: str = "tc_lif",
    *,
    zero_point: PerRow | None = None,
    silenced: Tensor | None = None,
) -> SpikeTrain:
    """Spikes of `x`: what the neurons of `coding` fire when driven with `y = x / scale`.

    Args:
        x: floating point [*rows, K]; converted to float32 first.
        scale: float32 threshold > 0, one number or [*rows] or [*rows, 1]. `y` is the IEEE float32 quotient.
        timesteps: nominal T in 1 … 7 (codes `|q| <= 2^T - 1`), or what the coding has, an int or an integer tensor
            [*rows].
        coding: a name of `available_codings`.
        zero_point: for unsigned codings only: z in 0 … 2^(T+1) - 1, an int or an integer tensor [*rows], from
            an asymmetric quantizer; the codes are then `-z … 2^(T+1) - 1 - z`. Default: `2^T`, with the
            same symmetric codes as the signed codings have.
        silenced: bool [K], True at neurons whose code is 0; None: there are none.

    Returns:
        The spikes; `saturated` counts the codes that lay beyond the range.

    Raises:
        NonFiniteInputError: `x` holds NaN or infinity.
        ValueError: an unknown coding; `scale`, `timesteps` or `zero_point` out of range or of a wrong
            shape; a zero point for a signed coding.
        TypeError: `x` is not floating point, `timesteps` or `zero_point` not integer.
    """
    codec = get_coding(coding)
    x = check_floating(x)
    timesteps = check_timesteps(timesteps, x.shape[:-1], x.device, codec.max_timesteps)
    zero_point = check_zero_point(codec, zero_point, timesteps, x)
    codes, saturated = codes_of(codec, x, scale, timesteps, zero_point, silenced, validate=True)
    codes = codes.to(torch.int16)
    return _fire(codec, codes, timesteps, zero_point, saturated)


@torch.no_grad()
def spikes_from_codes(
    codes: Tensor, timesteps: PerRow, coding: str = "tc_lif", *, zero_point: PerRow | None = None
) -> SpikeTrain:
    """Spikes of integer codes. A code beyond the range is set to its end, and counted as saturated.

    A coding may have no spikes for some codes of its range: `group4` has them for those that `encode` gives.

    Args:
        codes: integer [*rows, K]: a tensor, or what `torch.as_tensor` makes one of.
        timesteps: as in `encode`.
        coding: as in `encode`.
        zero_point: as in `encode`.

    Returns:
        The spikes; `codes()` of it are `codes` again, clamped.

    Raises:
        ValueError: as in `encode`; codes that no spikes of the coding stand for.
        TypeError: as in `encode`; `codes` are not integers.
    """
    codec = get_coding(coding)
    codes = torch.as_tensor(codes)
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise TypeError(f"codes must be integers, not {codes.dtype}; real numbers go to encode, with a scale")
    timesteps = check_timesteps(timesteps, codes.shape[:-1], codes.device, codec.max_timesteps)
    zero_point = check_zero_point(codec, zero_point, timesteps, codes)
    low, high = (along_features(limit) for limit in codec.code_range(timesteps, zero_point))
    saturated = 0
    if codes.numel() and not _all_within(codes, low, high):
        if codes.dtype in (torch.int8, torch.uint8):
            codes = codes.to(torch.int16)  # the limits may not fit the type of the codes
        low, high = (torch.as_tensor(limit, dtype=codes.dtype, device=codes.device) for limit in (low, high))
        saturated = int(((codes < low) | (codes > high)).count_nonzero())
        codes = codes.clamp(low, high)
    codes = codes.to(torch.int16)
    reason = codec.why_no_spikes(codes, timesteps)
    if reason is not None:
        raise ValueError(reason)
    return _fire(codec, codes, timesteps, zero_point, saturated)


def _all_within(codes: Tensor, low: PerRow, high: PerRow) -> bool:
    """Whether all codes fit their limits, from the extremes alone: comparing every code takes far longer."""
    if isinstance(low, int) and isinstance(high, int):
        bottom, top = torch.aminmax(codes)
        return low <= int(bottom) and int(top) <= high
    bottom, top = codes.amin(dim=-1, keepdim=True), codes.amax(dim=-1, keepdim=True)
    return bool(((bottom >= low) & (top <= high)).all())


def _fire(codec: Coding, codes: Tensor, timesteps: PerRow, zero_point: PerRow | None, saturated: int) -> SpikeTrain:
    if zero_point is None:
        zero_point = codec.default_zero_point(timesteps)
    fired, negative = codec.pack(codes, timesteps, zero_point)
    return SpikeTrain(
        fired=fired,
        negative=negative,
        shape=codes.shape,
        weights=codec.step_weights(timesteps).to(codes.device),
        timesteps=timesteps,
        coding=codec.name,
        zero_point=zero_point,
        saturated=saturated,
    )
