"""Native kernels of spiking layers: the library, the level that is used of it, and what it computes.

The C++ is in `kernels/` at the top of the repository, docs/kernels.md describes it. A package without the library, or
on a processor without one of its levels, computes the same bits with torch.
"""

from __future__ import annotations

from spike_compressor.kernels.cuda import CudaLayer, int_mm
from spike_compressor.kernels.layer import (
    WIDEST,
    Encoded,
    Layer,
    NativeLayer,
    NativeRows,
    NotFiniteError,
    encode_groups,
)
from spike_compressor.kernels.library import VARIABLE, active_level, available_levels, using_level
from spike_compressor.kernels.panels import OUTPUTS, Panels
from spike_compressor.kernels.trials import try_scales

__all__ = [
    "OUTPUTS",
    "VARIABLE",
    "WIDEST",
    "CudaLayer",
    "Encoded",
    "Layer",
    "NativeLayer",
    "NativeRows",
    "NotFiniteError",
    "Panels",
    "active_level",
    "available_levels",
    "encode_groups",
    "int_mm",
    "try_scales",
    "using_level",
]
