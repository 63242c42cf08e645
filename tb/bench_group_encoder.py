"""group_encoder: every spike of every group equals the golden beam's, ties included."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from spike_compressor.trace.golden_groups import fire_groups
from unit import pack, rng, start, unpack

BEAM = 4
GROUPS = 200


def membranes(generator, steps, count):
    """Groups int64 [count, 4]: like activations, at the ends of the range, and full of ties."""
    top = (3**steps - 2**steps) << (8 - steps)
    kinds = [
        generator.normal(size=(count, 4)) * 128 * generator.choice([0.5, 1, 2, 5, 12], (count, 1)),
        generator.laplace(size=(count, 4)) * 128 * generator.choice([0.5, 1, 2, 5], (count, 1)),
        generator.integers(-top, top + 1, (count, 4)),
        generator.integers(-3, 4, (count, 4)) + generator.choice([0, 64, 96, 128, 160, 256, 400], (count, 1)),
        generator.choice([0, 1, 63, 64, 65, 128, 192, 288, 320, -64, -128, top, -top], (count, 4)),
        np.repeat(generator.integers(0, top + 1, (count, 1)), 4, axis=1) * generator.choice([-1, 1], (count, 4)),
    ]
    drawn = np.stack(kinds)[generator.integers(0, len(kinds), count), np.arange(count)]
    return np.clip(np.rint(drawn), -top, top).astype(np.int64)


@cocotb.test()
async def beams(dut):
    """For each number of steps: groups without a pause, then with pauses; a slot is free again at once."""
    generator = rng(dut)
    most = int(dut.Steps.value)
    await start(dut, valid_i=0)
    for steps in range(1, most + 1):
        drive = membranes(generator, steps, GROUPS)
        wanted = fire_groups(drive.reshape(1, -1).astype(np.int32), np.array([steps], np.uint8), BEAM)
        wanted = wanted.reshape(steps, GROUPS, 4)
        sent, seen = 0, []
        while len(seen) < GROUPS:
            offer = sent < GROUPS and (sent < GROUPS // 2 or generator.random() < 0.5)
            await FallingEdge(dut.clk_i)
            offer = offer and bool(dut.ready_o.value)
            dut.valid_i.value = int(offer)
            if offer:
                dut.magnitudes_i.value = pack(np.abs(drive[sent]), 13)
                dut.neg_i.value = pack(drive[sent] < 0, 1)
                dut.left_i.value = steps - 1
                sent += 1
            if dut.valid_o.value:
                seen.append(unpack(int(dut.spikes_o.value), 4, most))
            await RisingEdge(dut.clk_i)
        dut.valid_i.value = 0
        spikes = np.zeros((steps, GROUPS, 4), np.int8)
        for g, fired in enumerate(seen):
            for t in range(steps):
                spike = fired[steps - 1 - t]
                fire, neg, index = spike >> 3, spike >> 2 & 1, spike & 3
                if fire:
                    spikes[t, g, index] = -1 if neg else 1
        wrong = np.argwhere((spikes != wanted).any(axis=(0, 2)))
        assert not len(wrong), f"{steps} steps: {len(wrong)} groups differ, the first is {drive[wrong[0][0]]}"
