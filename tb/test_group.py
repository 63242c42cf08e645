"""The group core computes what the golden model of group coding says: bit for bit, in several shapes."""

import pytest
from bins import merged, missing
from regression import GROUP_SHAPES, SEED, group

#: The smallest, which has every kind of job, too.
QUICK = "group bytes"


@pytest.mark.parametrize(
    "name", [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in GROUP_SHAPES]
)
def test_group(name):
    """Random and directed jobs give the golden spikes and accumulators, and everything illegal is reported."""
    print(f"SEED={SEED}")
    group(name)


@pytest.mark.slow
def test_the_regression_covers_all_it_defines(tmp_path):
    """Functional coverage over all shapes is 100 %, whatever the seed."""
    counts = merged([group(name) / "functional.yaml" for name in GROUP_SHAPES], tmp_path / "functional.yaml")
    assert sum(len(bins) for bins in counts.values()) > 400
    assert missing(counts) == []


def test_bins_that_nothing_hit_are_named(tmp_path):
    """One shape cannot see what others were built for."""
    found = missing(merged([group(QUICK) / "functional.yaml"], tmp_path / "functional.yaml"))
    assert "group.events.error: weight_range" in found
    assert "group.steps: 7" in found
    assert "group.events.error: timesteps" not in found
