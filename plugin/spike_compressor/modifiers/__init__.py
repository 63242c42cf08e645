"""The LLM Compressor modifiers: smoothing prepares weights, MSTS decides timesteps, TC-LIF puts neurons in place."""

from llmcompressor.modifiers.factory import ModifierFactory

from spike_compressor.modifiers.again import take_spiking_models
from spike_compressor.modifiers.allocation import Allocation, available_allocations, register_allocation
from spike_compressor.modifiers.msts import MSTSModifier
from spike_compressor.modifiers.preflight import install_preflight
from spike_compressor.modifiers.smoothing import SpikeSmoothingModifier
from spike_compressor.modifiers.tclif import TCLIFModifier

__all__ = [
    "Allocation",
    "MSTSModifier",
    "SpikeSmoothingModifier",
    "TCLIFModifier",
    "available_allocations",
    "register",
    "register_allocation",
]


def register() -> None:
    """Make the modifiers known to LLM Compressor's recipes. Importing the package does this."""
    for modifier in (MSTSModifier, SpikeSmoothingModifier, TCLIFModifier):
        ModifierFactory.register(modifier.__name__, modifier)
    install_preflight()
    take_spiking_models()


register()
