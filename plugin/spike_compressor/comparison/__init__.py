"""Comparing recipes: one set of quantized weights under many spike settings, measured with intervals."""

from spike_compressor.comparison.budget import SpikeBudget
from spike_compressor.comparison.cells import Cells
from spike_compressor.comparison.engines import Engine, make_engine, register_engine
from spike_compressor.comparison.hardware import read_hardware
from spike_compressor.comparison.recipe import SplitRecipe
from spike_compressor.comparison.run import compare
from spike_compressor.comparison.workbench import Workbench

__all__ = [
    "Cells",
    "Engine",
    "SpikeBudget",
    "SplitRecipe",
    "Workbench",
    "compare",
    "make_engine",
    "read_hardware",
    "register_engine",
]
