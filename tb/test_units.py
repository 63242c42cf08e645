"""Every module of the core on its own bench."""

import pytest
from regression import SEED, UNITS, unit


@pytest.mark.parametrize(("bench", "module", "parameters"), UNITS, ids=lambda value: str(value))
def test_unit(bench, module, parameters):
    """The module's cocotb tests pass."""
    print(f"SEED={SEED}")
    unit(bench, module, parameters)
