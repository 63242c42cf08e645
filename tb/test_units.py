"""Every module of the core on its own bench."""

import os

import pytest
from toolchain import BUILD, build, simulate

SEED = int(os.environ.get("SEED", "1"))

UNITS = [
    ("fifo", "spike_fifo", {"Depth": 5}),
    ("neuron", "spike_neuron", {}),
    ("neuron", "spike_neuron", {"Tmax": 3}),
    ("neuron_array", "spike_neuron_array", {}),
    ("store", "spike_store", {"Rows": 3, "Lanes": 4, "Tmax": 4, "Chunks": 5}),
    ("scheduler", "spike_scheduler", {"Rows": 3, "Columns": 5, "Lanes": 4, "Tmax": 4, "Chunks": 16}),
    ("weight_loader", "spike_weight_loader", {"Columns": 3}),
    ("weight_loader", "spike_weight_loader", {"Columns": 2, "Lanes": 8, "WeightInputs": 2, "WeightBits": 4}),
    ("pe", "spike_pe", {"Lanes": 5, "WeightBits": 4, "Tmax": 4}),
    ("array", "spike_array", {"Rows": 3, "Columns": 4, "Lanes": 8, "WeightBits": 8}),
    ("drain", "spike_drain", {"Rows": 3, "Columns": 4}),
    ("sequencer", "spike_sequencer", {"Chunks": 16}),
    ("counters", "spike_counters", {}),
    ("regs", "regs_harness", {}),
]


@pytest.mark.parametrize(("bench", "module", "parameters"), UNITS, ids=lambda value: str(value))
def test_unit(bench, module, parameters):
    """The module's cocotb tests pass."""
    print(f"SEED={SEED}")
    folder = build(module, parameters)
    name = "-".join([bench, *(f"{key}{value}" for key, value in parameters.items())])
    simulate(folder, module, f"bench_{bench}", BUILD / "units" / name, seed=SEED)
