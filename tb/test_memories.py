"""Every memory of the core and of the dense baseline may be built of what a library has: see `rtl/spike_ram.sv`.

The variant `single_port` is a model, too: of macros whose output is lost when they are written.
"""

import pytest
from regression import SEED, core, dense

OTHERS = [
    pytest.param(*case, marks=pytest.mark.slow)
    for case in (("odd", "single_port"), ("lean", "single_port"), ("slim", "single_port"))
]
LATCHES = pytest.param("odd", "latches", marks=pytest.mark.slow)
CAPPED = pytest.param("capped", "latches", marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "variant"), [("capped", "single_port"), CAPPED, LATCHES, *OTHERS])
def test_core(name, variant):
    """No result depends on what a macro shows after a write, however the streams pause."""
    print(f"SEED={SEED}")
    core(name, variant=variant)


@pytest.mark.parametrize(("name", "variant"), [("odd", "single_port"), LATCHES])
def test_dense(name, variant):
    """The same in the baseline."""
    dense(name, variant=variant)
