"""Every module of the core on its own bench."""

import pytest
from regression import SEED, UNITS, unit

#: Modules of the group core that `tb/test_group.py` runs in every job, too: their own benches are for `make test-full`.
SLOW = {"group_array", "group_core", "group_drain", "group_front", "group_store", "group_walker"}
CASES = [pytest.param(*one, marks=pytest.mark.slow) if one[1] in SLOW else one for one in UNITS]


@pytest.mark.parametrize(("bench", "module", "parameters"), CASES, ids=lambda value: str(value))
def test_unit(bench, module, parameters):
    """The module's cocotb tests pass."""
    print(f"SEED={SEED}")
    unit(bench, module, parameters)
