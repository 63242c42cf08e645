"""Many scales tried on the same rows, for calibration."""

from __future__ import annotations

from ctypes import byref, c_int64

import torch
from torch import Tensor

from spike_compressor.kernels.layer import NativeRows
from spike_compressor.kernels.library import CLayer, library

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


def group_codes(x: Tensor, scale: Tensor, timesteps: int | Tensor, beam: int | None) -> Tensor | None:
    """Codes of a coding of groups for rows whose scales are known.

    Args:
        x: float32 [R, K], finite.
        scale: float32 [R].
        timesteps: S, 1 to 8, an int or an integer tensor [R].
        beam: states of the search (`coding.Coding.native`), 4 or 8.

    Returns:
        int16 [R, K]. None where torch is to find them: without native kernels, with a search that they do not know, and
        off the CPU.
    """
    loaded = library() if x.is_cpu else None
    if loaded is None or loaded.level is None or not beam:
        return None
    x, (R, K) = x.contiguous(), x.shape
    steps = torch.as_tensor(timesteps, dtype=torch.int32).reshape(-1).contiguous()
    told = NativeRows(steps, torch.ones(1), scale.to(torch.float32).contiguous(), coding=beam)
    rows = told.template
    rows.x, rows.count, rows.stride = x.data_ptr(), R, K
    codes, scales = torch.empty((R, K), dtype=torch.int16), torch.empty(R)
    status = loaded.call.spike_encode_groups(
        loaded.level,
        byref(CLayer(inputs=K, groups=1)),
        byref(rows),
        beam,
        codes.data_ptr(),
        scales.data_ptr(),
        byref(c_int64()),
    )
    if status:
        raise MemoryError("no memory to code a layer's rows in groups")
    return codes
