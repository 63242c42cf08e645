"""The SystemVerilog core, simulated, as a library: found, loaded, and given layers to compute.

The SystemVerilog is in `rtl/` at the top of the repository, docs/rtl_backend.md says how the library is built.
"""

from __future__ import annotations

from spike_compressor.rtl.library import COUNTERS, ERRORS, VARIABLE
from spike_compressor.rtl.simulated import Core, CoreError, Shape, Work, core, watching

__all__ = ["COUNTERS", "ERRORS", "VARIABLE", "Core", "CoreError", "Shape", "Work", "core", "watching"]
