"""Spike-ready checkpoints: schema, saving, loading and verifying."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spike_compressor.checkpoint.read import modalities_of_layers, read_config
from spike_compressor.checkpoint.schema import (
    CONFIG_NAME,
    SCHEMA_VERSION,
    THRESHOLDS_NAME,
    LayerEntry,
    SpikeConfig,
)
from spike_compressor.lazy import names_of

if TYPE_CHECKING:
    from spike_compressor.checkpoint.loading import load as load
    from spike_compressor.checkpoint.opening import open_model as open_model
    from spike_compressor.checkpoint.opening import open_processor as open_processor
    from spike_compressor.checkpoint.saving import make_saveable as make_saveable
    from spike_compressor.checkpoint.saving import save as save

__all__ = [
    "CONFIG_NAME",
    "SCHEMA_VERSION",
    "THRESHOLDS_NAME",
    "LayerEntry",
    "SpikeConfig",
    "load",
    "make_saveable",
    "modalities_of_layers",
    "open_model",
    "open_processor",
    "read_config",
    "save",
]

# what needs torch and transformers is imported when it is used; the modules' names must differ from the functions'
_LATER = {
    "load": "loading",
    "make_saveable": "saving",
    "open_model": "opening",
    "open_processor": "opening",
    "save": "saving",
}

__getattr__ = names_of(__name__, _LATER)
