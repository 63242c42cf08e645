"""Spiking encodings for models quantized with LLM Compressor.

Importing the package makes `MSTSModifier`, `SpikeSmoothingModifier` and `TCLIFModifier` known to LLM Compressor's YAML
recipes. LLM Compressor itself (seconds of import time) is only imported when one of the public names is used; if it is
imported later, or has been already, the modifiers are registered then.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from spike_compressor import _registration, supported
from spike_compressor._version import __version__

supported.require_python()

# public name -> module that defines it, imported on first use
_PUBLIC = {
    "MSTSModifier": "spike_compressor.modifiers",
    "SpikeReconstructionModifier": "spike_compressor.modifiers",
    "SpikeSmoothingModifier": "spike_compressor.modifiers",
    "TCLIFModifier": "spike_compressor.modifiers",
    "compare": "spike_compressor.comparison",
    "configure_adapter": "spike_compressor.modality",
    "export_trace": "spike_compressor.trace.export",
    "load": "spike_compressor.checkpoint",
    "save": "spike_compressor.checkpoint",
    "set_backend": "spike_compressor.runtime",
    "trainable": "spike_compressor.runtime",
    "modality_mask": "spike_compressor.modality",
    "record_spikes": "spike_compressor.metrics",
}

if TYPE_CHECKING:
    from spike_compressor.checkpoint import load as load
    from spike_compressor.checkpoint import save as save
    from spike_compressor.comparison import compare as compare
    from spike_compressor.metrics import record_spikes as record_spikes
    from spike_compressor.modality import configure_adapter as configure_adapter
    from spike_compressor.modality import modality_mask as modality_mask
    from spike_compressor.modifiers import MSTSModifier as MSTSModifier
    from spike_compressor.modifiers import SpikeReconstructionModifier as SpikeReconstructionModifier
    from spike_compressor.modifiers import SpikeSmoothingModifier as SpikeSmoothingModifier
    from spike_compressor.modifiers import TCLIFModifier as TCLIFModifier
    from spike_compressor.runtime import set_backend as set_backend
    from spike_compressor.runtime import trainable as trainable
    from spike_compressor.trace.export import export_trace as export_trace

__all__ = [
    "MSTSModifier",
    "SpikeReconstructionModifier",
    "SpikeSmoothingModifier",
    "TCLIFModifier",
    "__version__",
    "compare",
    "configure_adapter",
    "export_trace",
    "load",
    "modality_mask",
    "record_spikes",
    "save",
    "trainable",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        supported.require_supported("torch", "transformers", "compressed-tensors")
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


_registration.register_with_llmcompressor()
