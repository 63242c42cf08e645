"""Trace bundles: the integers that a spiking layer computed, written so that hardware can be checked.

This package needs NumPy only; importing it loads neither torch nor LLM Compressor. `docs/traces.md` has the
format.
"""

from .bundle import Bundle, Layer, open_bundle, validate
from .golden import accumulate, codes_from_membranes, decode, dequantize, fire, membranes
from .golden_groups import decode_groups, fire_groups, group_membranes
from .schema import CODINGS, FORMAT, GROUP_CODINGS, MAX_TIMESTEPS, MODALITIES, VERSION, LayerInfo, TraceError, steps_of
from .thresholds import Threshold
from .writer import BundleWriter

__all__ = [
    "CODINGS",
    "FORMAT",
    "GROUP_CODINGS",
    "MAX_TIMESTEPS",
    "MODALITIES",
    "VERSION",
    "Bundle",
    "BundleWriter",
    "Layer",
    "LayerInfo",
    "Threshold",
    "TraceError",
    "accumulate",
    "codes_from_membranes",
    "decode",
    "decode_groups",
    "dequantize",
    "fire",
    "fire_groups",
    "group_membranes",
    "membranes",
    "open_bundle",
    "steps_of",
    "validate",
]
