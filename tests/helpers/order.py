"""The order in which files of tests run: those that take longest first, the rest as they were collected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

#: Files with compilations, sweeps, or processes of their own. Nothing depends on this list but the time of a run.
LONGEST = (
    "tests/test_installed.py",
    "tb/test_core.py",
    "tests/benchmarks/test_benchmarks.py",
    "tests/comparison/test_sweep.py",
    "tests/test_contributing.py",
    "tests/modifiers/test_distributed.py",
    "tb/test_run_trace.py",
    "tb/test_units.py",
    "tb/test_dense.py",
    "tb/test_synth.py",
    "tests/test_examples.py",
    "tb/test_campaign.py",
    "tests/kernels/test_levels.py",
    "tests/integrations/test_lm_eval.py",
    "tests/modifiers/test_recipes.py",
    "tests/recipes/test_shipped.py",
    "tests/cli/test_demo.py",
    "tests/test_architecture_table.py",
    "tests/checkpoint/test_architectures.py",
    "tests/test_docs.py",
)
ROOT = Path(__file__).parents[2]


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The same tests, file by file; a file's own tests keep their order."""
    place = {ROOT / name: number for number, name in enumerate(LONGEST)}
    return sorted(items, key=lambda item: place.get(item.path, len(place)))
