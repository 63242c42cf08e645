"""Comparing recipes: one set of quantized weights under many spike settings, measured with intervals."""

from spike_compressor.compare.bootstrap import (
    Interval,
    accuracy_difference,
    accuracy_interval,
    perplexity_interval,
    perplexity_ratio,
)
from spike_compressor.compare.cells import Cells, digest, digest_of_batches, digest_of_source, versions
from spike_compressor.compare.disjoint import require_disjoint, shingles
from spike_compressor.compare.perplexity import Perplexity, perplexity
from spike_compressor.compare.recipe import SplitRecipe
from spike_compressor.compare.workbench import Workbench

__all__ = [
    "Cells",
    "Interval",
    "Perplexity",
    "SplitRecipe",
    "Workbench",
    "accuracy_difference",
    "accuracy_interval",
    "digest",
    "digest_of_batches",
    "digest_of_source",
    "perplexity",
    "perplexity_interval",
    "perplexity_ratio",
    "require_disjoint",
    "shingles",
    "versions",
]
