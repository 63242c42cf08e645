"""What models are judged by: one file an evaluation, and the statistics that all share.

A new file here that registers an evaluation is found by itself.
"""

from spike_compressor.evaluations.base import (
    Evaluation,
    Metric,
    available_evaluations,
    parse_evaluation,
    register_evaluation,
)
from spike_compressor.evaluations.bootstrap import (
    Interval,
    accuracy_difference,
    accuracy_interval,
    perplexity_interval,
    perplexity_ratio,
)
from spike_compressor.evaluations.disjoint import require_disjoint, shingles
from spike_compressor.evaluations.likelihood import Perplexity, perplexity
from spike_compressor.registry import import_folder

__all__ = [
    "Evaluation",
    "Interval",
    "Metric",
    "Perplexity",
    "accuracy_difference",
    "accuracy_interval",
    "available_evaluations",
    "parse_evaluation",
    "perplexity",
    "perplexity_interval",
    "perplexity_ratio",
    "register_evaluation",
    "require_disjoint",
    "shingles",
]

import_folder(__name__, __path__)
