"""What models are judged by: one file an evaluation, and the statistics that all share.

A new file here that registers an evaluation is found by itself.
"""

from importlib import import_module
from pkgutil import iter_modules

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

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
