"""spike_lane: every spike of two planes is given away once, the present plane first, lowest slot first."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge
from unit import rng, start


@cocotb.test()
async def planes(dut):
    """Random planes and a random picker, against sets of slots."""
    generator = rng(dut)
    slots = int(dut.Slots.value)
    await start(dut, next_step_i=0, next_turn_i=0, step_i=0, turn_i=0, present_i=0, ahead_i=0)
    present, following = None, None  # slot -> sign
    given = 0
    for _ in range(3000):
        await FallingEdge(dut.clk_i)
        issue = present is not None and generator.random() < 0.8
        ahead = following is not None and present is not None and generator.random() < 0.7
        dut.present_i.value, dut.ahead_i.value = int(present is not None), int(ahead)
        source = present if present else following if ahead else None
        want = min(source) if source else None
        through = present is not None and len(present) <= 1
        turn = present is None or (through and generator.random() < 0.8)  # other lanes may have spikes left
        step = issue or (present is None and following is not None)
        density = generator.random()
        plane = {s: bool(generator.random() < 0.5) for s in range(slots) if generator.random() < density}
        dut.step_i.value, dut.turn_i.value = int(step), int(turn)
        dut.next_step_i.value, dut.next_turn_i.value = int(step or following is None), int(turn or following is None)
        dut.next_fire_i.value = sum(1 << s for s in plane)
        noise = int(generator.integers(0, 1 << min(slots, 62)))
        held = sum(1 << s for s in plane)
        dut.next_neg_i.value = sum(1 << s for s, neg in plane.items() if neg) | (noise & ~held)
        await RisingEdge(dut.clk_i)
        said = bool(dut.through_o.value)
        if present is not None:
            assert bool(dut.valid_o.value) == (want is not None)
            if want is not None:
                assert int(dut.slot_o.value) == want
                assert bool(dut.neg_o.value) == source[want]
                assert bool(dut.next_o.value) == (source is not present)
        if issue and want is not None:
            del source[want]
            given += 1
        load = following is None or (step and turn)
        if step and turn:
            present = following
        if load:
            following = plane if generator.random() < 0.8 else None  # what comes in may be no plane
        if step and present is not None:
            assert said == (len(present) <= 1)
    assert given > 500
