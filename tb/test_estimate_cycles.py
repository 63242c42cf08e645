"""The cycle model of `spike-compressor estimate` against Verilator, on generated layers that nothing was fitted on."""

import re

import cycle_fit
import pytest
from estimate_cycles import GENERATED, generated, measure
from spike_compressor.estimate.accelerator import constants

#: Small enough to simulate in seconds; one row, one row tile, several.
CHOSEN = (0, 3, 5)


@pytest.mark.slow
def test_generated_layers_take_the_cycles_that_the_model_says(tmp_path):
    bundle = generated(tmp_path / "generated", max(CHOSEN) + 1)
    names = [bundle.infos[index].name for index in CHOSEN]
    assert [int(re.findall(r"\d+", name)[-3]) for name in names] == [GENERATED[index][0] for index in CHOSEN]
    shapes = ["event 64x16, 4 weights a beat", "dense 8x16x8"]
    for layer in measure(bundle, names, shapes):
        assert set(layer["shapes"]) == set(shapes)
        for shape, one in layer["shapes"].items():
            for mode, cycles in cycle_fit.predictions(layer, shape, constants()).items():
                assert cycles == pytest.approx(one["cycles"], rel=0.05), (layer["layer"], shape, mode)
