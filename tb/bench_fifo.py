"""spike_fifo: order, no loss, no duplication under any pace of both sides; full throughput."""

import cocotb
from cocotb.triggers import RisingEdge
from unit import Sink, Source, rng, start


@cocotb.test()
@cocotb.parametrize(pace=[(0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.5, 0.5)])
async def order(dut, pace):
    """What goes in comes out, in order."""
    generator = rng(dut)
    await start(dut, valid_i=0, ready_i=0)
    sink = Sink(dut, "valid_o", "ready_i", ["data_o"], pace[1])
    beats = [(int(v),) for v in generator.integers(0, 256, 300)]
    await Source(dut, "valid_i", "ready_o", ["data_i"], pace[0]).send(beats)
    assert await sink.expect(len(beats)) == beats


@cocotb.test()
async def throughput(dut):
    """A beat a cycle when nobody pauses, and `Depth` beats of room when nobody takes."""
    await start(dut, valid_i=0, ready_i=0)
    depth = int(dut.Depth.value)
    dut.valid_i.value = 1
    for i in range(depth):
        dut.data_i.value = i
        await RisingEdge(dut.clk_i)
        assert dut.ready_o.value, f"full after {i} of {depth} beats"
    await RisingEdge(dut.clk_i)
    assert not dut.ready_o.value, "accepts beyond its depth"
    dut.ready_i.value = 1
    taken = 0
    await RisingEdge(dut.clk_i)
    for _ in range(50):
        taken += bool(dut.valid_o.value)
        await RisingEdge(dut.clk_i)
    assert taken == 50
