"""The whole core, built in several shapes; together they see every kind of job that is defined."""

import pytest
from bins import merged, missing
from regression import SEED, SHAPES, core


@pytest.mark.parametrize("name", SHAPES)
def test_core(name):
    """Random and directed jobs are reproduced bit for bit, and everything illegal is reported."""
    print(f"SEED={SEED}")
    core(name)


def test_the_regression_covers_all_it_defines(tmp_path):
    """Functional coverage over all shapes is 100 %, whatever the seed."""
    counts = merged([core(name) / "functional.yaml" for name in SHAPES], tmp_path / "functional.yaml")
    assert sum(len(bins) for bins in counts.values()) > 800
    assert missing(counts) == []


def test_bins_that_nothing_hit_are_named(tmp_path):
    """One shape cannot see what others were built for."""
    counts = merged([core("default") / "functional.yaml"], tmp_path / "functional.yaml")
    left = set(missing(counts))
    capped = {name for name in left if "capped" in name}
    assert left - capped == {"events.error: weight_range"}
    assert {"capped.row: (4, 'usual', 'one')", "settings.sequence: csd after capped"} <= capped
