"""The group core computes what the golden model of group coding says: bit for bit, in several shapes."""

import pytest
from regression import GROUP_SHAPES, SEED, group

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in list(GROUP_SHAPES)[1:]]


@pytest.mark.parametrize("name", [next(iter(GROUP_SHAPES)), *SLOW])
def test_group(name):
    """Random and extreme jobs give the golden spikes and accumulators."""
    print(f"SEED={SEED}")
    group(name)
