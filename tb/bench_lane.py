"""spike_lane: every spike of two planes is given away once, the present plane first, lowest slot first."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge
from unit import rng, start


@cocotb.test()
async def planes(dut):
    """Random planes and a random picker, against sets of slots."""
    generator = rng(dut)
    slots = int(dut.Slots.value)
    await start(dut, next_load_i=0, move_i=0, issue_i=0, present_i=0, ahead_i=0)
    present, following = None, None  # slot -> sign
    given = 0
    for _ in range(3000):
        await FallingEdge(dut.clk_i)
        issue = present is not None and generator.random() < 0.8
        ahead = following is not None and present is not None and generator.random() < 0.7
        dut.present_i.value, dut.ahead_i.value, dut.issue_i.value = int(present is not None), int(ahead), int(issue)
        source = present if present else following if ahead else None
        want = min(source) if source else None
        through = present is not None and len(present) <= 1
        move = following is not None and (present is None or (issue and through))
        load = following is None or move
        density = generator.random()
        plane = {s: bool(generator.random() < 0.5) for s in range(slots) if generator.random() < density}
        dut.move_i.value, dut.next_load_i.value = int(move), int(load)
        dut.next_fire_i.value = sum(1 << s for s in plane)
        noise = int(generator.integers(0, 1 << min(slots, 62)))
        held = sum(1 << s for s in plane)
        dut.next_neg_i.value = sum(1 << s for s, neg in plane.items() if neg) | (noise & ~held)
        await RisingEdge(dut.clk_i)
        if present is not None:
            assert bool(dut.through_o.value) == through
            assert bool(dut.valid_o.value) == (want is not None)
            if want is not None:
                assert int(dut.slot_o.value) == want
                assert bool(dut.neg_o.value) == source[want]
                assert bool(dut.next_o.value) == (source is not present)
        if issue and want is not None:
            del source[want]
            given += 1
        if move:
            present = following
        elif issue and through and following is None:
            present = None
        if load:
            following = plane
    assert given > 500
