"""Comparing recipes: one set of quantized weights under many spike settings, measured with intervals."""

import sys
from types import ModuleType
from typing import Any

from spike_compressor.compare.benchmarks import FileBenchmark
from spike_compressor.compare.bootstrap import (
    Interval,
    accuracy_difference,
    accuracy_interval,
    perplexity_interval,
    perplexity_ratio,
)
from spike_compressor.compare.budget import SpikeBudget
from spike_compressor.compare.cells import Cells, digest, digest_of_batches, digest_of_source, versions
from spike_compressor.compare.disjoint import require_disjoint, shingles
from spike_compressor.compare.evaluation import (
    Evaluation,
    Figure,
    available_evaluations,
    parse_evaluation,
    register_evaluation,
)
from spike_compressor.compare.hardware import read_hardware
from spike_compressor.compare.harness_task import HarnessTask
from spike_compressor.compare.perplexity import Perplexity, perplexity
from spike_compressor.compare.recipe import SplitRecipe
from spike_compressor.compare.sweep import compare
from spike_compressor.compare.workbench import Workbench

__all__ = [
    "Cells",
    "Evaluation",
    "Figure",
    "FileBenchmark",
    "HarnessTask",
    "Interval",
    "Perplexity",
    "SpikeBudget",
    "SplitRecipe",
    "Workbench",
    "accuracy_difference",
    "accuracy_interval",
    "available_evaluations",
    "compare",
    "digest",
    "digest_of_batches",
    "digest_of_source",
    "parse_evaluation",
    "perplexity",
    "perplexity_interval",
    "perplexity_ratio",
    "read_hardware",
    "register_evaluation",
    "require_disjoint",
    "shingles",
    "versions",
]


class _Callable(ModuleType):
    """`spike_compressor.compare` is this room and the function: importing the one must not hide the other."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return compare(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
