"""Spike codings, the TC-LIF neuron, and the integer codes behind them: pure PyTorch, and no other package."""

from spike_compressor.coding import codings
from spike_compressor.coding.arguments import MAX_TIMESTEPS, MOST_TIMESTEPS
from spike_compressor.coding.base import Coding, available_codings, get_coding, register_coding, spike_table
from spike_compressor.coding.encoding import encode, spikes_from_codes
from spike_compressor.coding.errors import NonFiniteInputError, raise_if_non_finite
from spike_compressor.coding.fixed_point import MAX_FRAC_BITS, codes_from_membrane, fixed_membrane
from spike_compressor.coding.neuron import TCLIFNode
from spike_compressor.coding.quantize import absmax_scale, asymmetric_scale, clipped, quantize_rows, row_scale
from spike_compressor.coding.rounding import NEAREST, RATE_DISTORTION, Rounding
from spike_compressor.coding.spike_train import SpikeTrain
from spike_compressor.coding.statistics import Statistic, available_statistics, get_statistic, register_statistic

__all__ = [
    "MAX_FRAC_BITS",
    "MAX_TIMESTEPS",
    "MOST_TIMESTEPS",
    "NEAREST",
    "RATE_DISTORTION",
    "Coding",
    "NonFiniteInputError",
    "Rounding",
    "SpikeTrain",
    "Statistic",
    "TCLIFNode",
    "absmax_scale",
    "asymmetric_scale",
    "available_codings",
    "available_statistics",
    "clipped",
    "codes_from_membrane",
    "codings",
    "encode",
    "fixed_membrane",
    "get_coding",
    "get_statistic",
    "quantize_rows",
    "raise_if_non_finite",
    "register_coding",
    "register_statistic",
    "row_scale",
    "spike_table",
    "spikes_from_codes",
]
