"""Smoothing for spikes: which inputs can be divided, by what, and the modifier that does it."""

from spike_compressor.modifiers.smoothing.modifier import SpikeSmoothingModifier

__all__ = ["SpikeSmoothingModifier"]
