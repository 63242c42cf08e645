"""The LLM Compressor modifiers: smoothing, timesteps (MSTS), neurons (TC-LIF), reconstruction."""

from llmcompressor.modifiers.factory import ModifierFactory

from spike_compressor.modifiers.again import take_spiking_models
from spike_compressor.modifiers.allocation import Allocation, available_allocations, register_allocation
from spike_compressor.modifiers.msts import MSTSModifier
from spike_compressor.modifiers.output import install_output
from spike_compressor.modifiers.preflight import install_preflight
from spike_compressor.modifiers.reconstruction import SpikeReconstructionModifier
from spike_compressor.modifiers.smoothing import SpikeSmoothingModifier
from spike_compressor.modifiers.tclif import TCLIFModifier

__all__ = [
    "Allocation",
    "MSTSModifier",
    "SpikeReconstructionModifier",
    "SpikeSmoothingModifier",
    "TCLIFModifier",
    "available_allocations",
    "register",
    "register_allocation",
]


def register() -> None:
    """Make the modifiers known to LLM Compressor's recipes. Importing the package does this."""
    for modifier in (MSTSModifier, SpikeReconstructionModifier, SpikeSmoothingModifier, TCLIFModifier):
        ModifierFactory.register(modifier.__name__, modifier)
    install_preflight()
    install_output()
    take_spiking_models()


register()
