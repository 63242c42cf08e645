"""What models are judged by: one file an evaluation, and the statistics that all share."""

from spike_compressor.evaluations import benchmarks, lm_eval, text
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
from spike_compressor.evaluations.perplexity import Perplexity, perplexity

__all__ = [
    "Evaluation",
    "Interval",
    "Metric",
    "Perplexity",
    "accuracy_difference",
    "accuracy_interval",
    "available_evaluations",
    "benchmarks",
    "lm_eval",
    "parse_evaluation",
    "perplexity",
    "perplexity_interval",
    "perplexity_ratio",
    "register_evaluation",
    "require_disjoint",
    "shingles",
    "text",
]
