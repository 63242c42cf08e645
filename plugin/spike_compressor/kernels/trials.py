"""Many scales tried on the same rows, for calibration."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.kernels.library import library

_CODES = 128


def try_scales(
    x: Tensor, weights: Tensor, scales: Tensor, timesteps: Tensor, rounding: int | None = 0
) -> tuple[Tensor, Tensor] | None:
    """What each of many scales would lose of the same rows, and how often it would give each code.

    Args:
        x: float32 [R, K], finite.
        weights: float32 [R, K], of the errors.
        scales: float32 [C, R], of the rows, by candidate.
        timesteps: int32 [C], T of each candidate, 1 to 7.
        rounding: how codes are made of drives (`coding.Rounding.native`).

    Returns:
        float64 [C], the sum of `((|x| - code * scale) * weight)^2` over all of [R, K], and int64 [C, 128], how often
        each |code| occurs. None where torch is to do it: without native kernels, or with a rounding that they do
        not know, and off the CPU.
    """
    loaded = library() if x.is_cpu else None
    if loaded is None or loaded.level is None or rounding is None:
        return None
    x, weights, scales, timesteps = x.contiguous(), weights.contiguous(), scales.contiguous(), timesteps.contiguous()
    (R, K), C = x.shape, scales.shape[0]
    errors, counts = torch.empty(C, dtype=torch.float64), torch.empty(C, _CODES, dtype=torch.int64)
    of_candidates, found = ([one.data_ptr() for one in pair] for pair in ((scales, timesteps), (errors, counts)))
    status = loaded.call.spike_try_scales(x.data_ptr(), weights.data_ptr(), R, K, C, *of_candidates, rounding, *found)
    if status:
        raise MemoryError("no memory to try the scales of a layer's rows")
    return errors, counts
