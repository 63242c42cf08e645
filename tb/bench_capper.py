"""spike_capper: full lanes of a block drop spikes of plane 0, those first that lose least, of equal ones the first."""

import cocotb
from cocotb.triggers import RisingEdge
from unit import Monitor, Source, pack, reset, rng, start

IN = ["fire_i", "loss_i", "last_i", "data_i"]
OUT = ["slot_o", "fire_o", "last_o", "data_o"]


def blocks(dut, generator, lengths):
    """Spikes bool [length, Tmax, Lanes], losses [length, Lanes] and a number for blocks of so many chunks."""
    lanes, tmax, width = (int(getattr(dut, name).value) for name in ("Lanes", "Tmax", "Width"))
    for length in lengths:
        share = generator.choice([0.1, 0.5, 0.9]) * generator.choice([0.2, 1, 1], lanes)
        fire = generator.random((length, tmax, lanes)) < share
        fire[:, 0] |= generator.random((length, lanes)) < 0.4
        loss = generator.choice(4, (length, lanes), p=generator.choice([[0.25] * 4, [0.7, 0, 0, 0.3], [0, 0, 0, 1]]))
        yield fire, loss, int(generator.integers(1 << width))


def beats(found):
    """The chunks of blocks, one after the other; what goes with a block is noise but for the last."""
    for fire, loss, data in found:
        for s in range(len(fire)):
            last = s == len(fire) - 1
            yield pack(fire[s].ravel(), 1), pack(loss[s], 2), int(last), data if last else data ^ 1


def expected(found):
    """What leaves: slot, plane 0, end of the block, its number."""
    for fire, loss, data in found:
        lanes = fire.shape[2]
        kept = fire[:, 0].copy()
        ones = fire.sum(axis=(0, 1))
        over = ones + (-ones.sum() // lanes)
        for lane in range(lanes):
            ranked = sorted((loss[s, lane], s) for s in range(len(fire)) if kept[s, lane])
            for _, s in ranked[: max(0, over[lane])]:
                kept[s, lane] = False
        for s in range(len(fire)):
            yield s, pack(kept[s], 1), int(s == len(fire) - 1), data


def lengths(dut, generator, kind, count):
    """Chunks of each block."""
    slots = int(dut.Slots.value)
    if kind == "whole":
        return [slots] * count
    if kind == "short":
        return [1] * count
    return [int(n) for n in generator.choice([1, slots // 2 or 1, slots], count)]


@cocotb.test()
@cocotb.parametrize(pace=[0.0, 0.4], kind=["whole", "short", "mixed"])
async def spikes(dut, pace, kind):
    """Every spike of blocks of every length, in any order of lengths."""
    generator = rng(dut)
    await start(dut, valid_i=0)
    found = list(blocks(dut, generator, lengths(dut, generator, kind, 60)))
    out = Monitor(dut, "valid_o", OUT)
    await Source(dut, "valid_i", "ready_o", IN, pace).send(beats(found))
    await RisingEdge(dut.clk_i)
    while not dut.idle_o.value:
        await RisingEdge(dut.clk_i)
    want = list(expected(found))
    assert out.seen == want
    assert any(one[1] != pack(f, 1) for one, f in zip(want, (f[0] for fire, *_ in found for f in fire), strict=True))


@cocotb.test()
async def throughput(dut):
    """A block takes a cycle more than it has chunks."""
    generator = rng(dut)
    slots = int(dut.Slots.value)
    await start(dut, valid_i=0)
    found = list(blocks(dut, generator, [slots] * 20))
    sent = cocotb.start_soon(Source(dut, "valid_i", "ready_o", IN, 0.0).send(beats(found)))
    cycles = 0
    while not sent.done():
        await RisingEdge(dut.clk_i)
        cycles += 1
    assert cycles <= 20 * (slots + 1) + 2


@cocotb.test()
async def idle_and_reset(dut):
    """Idle means that nothing waits, not even chunks of a block that goes on; a reset forgets them."""
    generator = rng(dut)
    slots = int(dut.Slots.value)
    await start(dut, valid_i=0)
    assert dut.idle_o.value
    one, two, three = blocks(dut, generator, [slots, slots, slots])
    await Source(dut, "valid_i", "ready_o", IN, 0.0).send(beats([one]))
    await Source(dut, "valid_i", "ready_o", IN, 0.0).send(list(beats([two]))[:-1])
    await RisingEdge(dut.clk_i)
    assert not dut.idle_o.value
    await reset(dut, valid_i=0)
    assert dut.idle_o.value
    assert not dut.valid_o.value
    out = Monitor(dut, "valid_o", OUT)
    await Source(dut, "valid_i", "ready_o", IN, 0.0).send(beats([three]))
    await RisingEdge(dut.clk_i)
    while not dut.idle_o.value:
        await RisingEdge(dut.clk_i)
    assert out.seen == list(expected([three]))
