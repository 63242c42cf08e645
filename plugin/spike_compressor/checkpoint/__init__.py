"""Spike-ready checkpoints: schema, saving, loading and verifying."""

from spike_compressor.checkpoint.load import load, read_config
from spike_compressor.checkpoint.save import make_saveable, save
from spike_compressor.checkpoint.schema import (
    CONFIG_NAME,
    SCHEMA_VERSION,
    THRESHOLDS_NAME,
    LayerEntry,
    SpikeConfig,
)
from spike_compressor.runtime import AFTER_ATTACH

__all__ = [
    "CONFIG_NAME",
    "SCHEMA_VERSION",
    "THRESHOLDS_NAME",
    "LayerEntry",
    "SpikeConfig",
    "load",
    "make_saveable",
    "read_config",
    "save",
]

if make_saveable not in AFTER_ATTACH:
    AFTER_ATTACH.append(make_saveable)
