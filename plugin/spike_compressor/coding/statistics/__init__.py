"""Statistics of rows that dynamic thresholds are tied to, one kind per file. A new file here is found by itself.

A threshold that follows a row's largest input leaves the row's bulk few spikes wherever an outlier stretches it. One
that follows the row's root mean square, with T as range alone, lets the outliers spend some spikes more and keeps the
bulk's step.
"""

from spike_compressor.coding.statistics.base import (
    STATISTICS,
    Statistic,
    available_statistics,
    candidate_scales,
    geometric_ratios,
    get_statistic,
    register_statistic,
)
from spike_compressor.registry import import_folder

__all__ = [
    "STATISTICS",
    "Statistic",
    "available_statistics",
    "candidate_scales",
    "geometric_ratios",
    "get_statistic",
    "register_statistic",
]

import_folder(__name__, __path__)
