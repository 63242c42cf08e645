"""Every module of the core on its own bench."""

import os

import pytest
from toolchain import BUILD, build, simulate

SEED = int(os.environ.get("SEED", "1"))

UNITS = [
    ("fifo", "spike_fifo", {"Depth": 5}),
    ("neuron", "spike_neuron", {}),
    ("neuron", "spike_neuron", {"Tmax": 3, "Csd": 0}),
    ("neuron_array", "spike_neuron_array", {"Rows": 4, "Lanes": 8, "Slots": 4}),
    ("neuron_array", "spike_neuron_array", {"Rows": 3, "Lanes": 4, "Slots": 2, "Tmax": 4, "Csd": 0}),
    ("store", "spike_store", {"Rows": 3, "Lanes": 4, "Slots": 2, "Blocks": 5, "Tmax": 4}),
    ("store", "spike_store", {"Rows": 1, "Lanes": 4, "Slots": 4, "Blocks": 1, "Tmax": 3, "Csd": 0}),
    ("tiler", "spike_tiler", {}),
    ("walker", "spike_walker", {"Rows": 3, "Columns": 5, "Lanes": 4, "Slots": 4, "Blocks": 16, "Tmax": 4}),
    ("lane", "spike_lane", {"Slots": 16}),
    ("lane", "spike_lane", {"Slots": 1}),
    ("picker", "spike_picker", {"Rows": 3, "Columns": 5, "Lanes": 8, "Slots": 8}),
    ("weight_loader", "spike_weight_loader", {"Rows": 2, "Columns": 3, "Lanes": 8, "Slots": 4, "WeightInputs": 8}),
    (
        "weight_loader",
        "spike_weight_loader",
        {"Rows": 2, "Columns": 2, "Lanes": 8, "Slots": 2, "WeightInputs": 2, "WeightBits": 4},
    ),
    ("csa", "spike_csa", {"Operands": 17, "Width": 10}),
    ("csa", "spike_csa", {"Operands": 5, "Width": 7}),
    ("column", "spike_column", {"Lanes": 8, "WeightBits": 4, "SumWidth": 9, "AccWidth": 20}),
    ("array", "spike_array", {"Rows": 3, "Columns": 4, "Lanes": 8, "Slots": 4, "WeightBits": 4, "Tmax": 4}),
    ("accumulator", "spike_accumulator", {"Rows": 3, "Columns": 4, "HalfWidth": 20}),
    ("accumulator", "spike_accumulator", {"Rows": 3, "Columns": 4, "HalfWidth": 20, "SumBits": 21}),
    ("sequencer", "spike_sequencer", {"Lanes": 8, "Slots": 4, "Blocks": 16}),
    ("sequencer", "spike_sequencer", {"Lanes": 4, "Slots": 1, "Blocks": 64, "Csd": 0}),
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
