"""Reconstruction of spiking models from what they gave in floats."""

from spike_compressor.modifiers.reconstruction.modifier import SpikeReconstructionModifier

__all__ = ["SpikeReconstructionModifier"]
