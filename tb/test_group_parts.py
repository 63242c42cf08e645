"""Parts of the group core: what an encoder has to show cycle by cycle, and that its netlist is held to it."""

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from toolchain import RTL

sys.path.insert(0, str(RTL / "synth"))

import group_parts
import sta
import synth
import technology
from ladder import mapped

needs_library = pytest.mark.skipif(not synth.LIBRARY.is_file(), reason=synth.LIBRARY_REMEDY)
needs_sta = pytest.mark.skipif(shutil.which("sta") is None, reason=sta.REMEDY)
RUNG = replace(next(iter(group_parts.GROUPS.values())), steps=(2, 3))


@pytest.mark.parametrize(
    ("membranes", "fired", "spikes"),
    [
        ([300, -10, 5, 0], [[1, 0, 0, 0], [1, 0, 0, 0]], 0x88),
        ([0, 0, -200, 0], [[0, 0, -1, 0], [0, 0, 0, 0]], 0xE3),
        ([0, 0, 0, 5], [[0, 0, 0, 0], [0, 0, 0, 0]], 0x22),  # of three that are as small, the last
    ],
)
def test_outputs_of_a_group(membranes, fired, spikes):
    """Steps of 192 and 128: who fires, with which sign; where nobody does, who is last."""
    assert group_parts.spikes_of(np.array(membranes), np.array(fired, np.int8)) == spikes


def test_groups_come_out_in_the_cycle_that_the_encoder_takes():
    """Five groups at a time, each complete 5 S - 1 cycles behind its start; no more come in until turns are free."""
    cycles = [frame for counts, frame in group_parts.frames(RUNG, np.random.default_rng(1), 3)]
    begun = [at for at, frame in enumerate(cycles) if frame["valid_i"]]
    assert len(begun) == group_parts.TURNS * group_parts.LENGTH
    assert [at for at, frame in enumerate(cycles) if frame["valid_o"]] == [at + 14 for at in begun]
    assert all(cycles[at]["ready_o"] for at in begun)
    assert begun[:6] == [3, 4, 5, 6, 7, 18]


@pytest.mark.slow
@needs_library
@needs_sta
def test_the_netlist_is_held_to_the_beam(tmp_path):
    """An encoder of three steps gives every spike; one that is expected wrongly stops the replay."""
    cells, toggle = technology.find([synth.LIBRARY]), synth.simulator(tmp_path)
    block = mapped("group_encoder", {"Steps": 3}, (), cells, tmp_path)
    for steps in RUNG.steps:
        cycles = list(group_parts.frames(RUNG, np.random.default_rng(1), steps))
        assert group_parts.replay(block, cycles, steps, toggle) > 0
    at = next(at for at, (_, frame) in enumerate(cycles) if frame["valid_o"])
    cycles[at] = (True, cycles[at][1] | {"spikes_o": cycles[at][1]["spikes_o"] ^ 8})
    with pytest.raises(AssertionError, match="netlist and NumPy differ"):
        group_parts.replay(block, cycles, 3, toggle)
