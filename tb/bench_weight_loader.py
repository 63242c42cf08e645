"""spike_weight_loader: beats become chunks, in order, at full pace; misplaced TLAST and out-of-range weights show."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from unit import Source, pack, rng, start, unpack


class Loader:
    """The module's parameters and a consumer that pops chunks at random."""

    def __init__(self, dut, generator):
        self.dut, self.generator = dut, generator
        self.columns, self.lanes, self.inputs, self.bits = (
            int(getattr(dut, name).value) for name in ("Columns", "Lanes", "WeightInputs", "WeightBits")
        )
        self.beats = self.lanes // self.inputs

    def chunks(self, count):
        """Random weights [count, lanes, columns] that fit."""
        half = 1 << self.bits - 1
        return self.generator.integers(-half, half, (count, self.lanes, self.columns))

    def packets(self, chunks, lasts):
        """Beats (data, last) of chunks; TLAST on the last beat of the chunks in `lasts`."""
        for i, chunk in enumerate(chunks):
            for b in range(self.beats):
                part = chunk[b * self.inputs : (b + 1) * self.inputs].ravel()
                yield pack(part, 8), int(i in lasts and b == self.beats - 1)

    async def consume(self, lasts, lanes, columns, pause, count):
        """Pop `count` chunks; returns them and, for each, the error flags at the pop."""
        dut, out, flags = self.dut, [], []
        while len(out) < count:
            await FallingEdge(dut.clk_i)
            pop = bool(dut.chunk_valid_o.value) and self.generator.random() >= pause
            dut.chunk_pop_i.value = int(pop)
            dut.chunk_last_i.value = int(len(out) in lasts)
            dut.chunk_lanes_i.value = lanes[len(out)]
            dut.chunk_columns_i.value = columns[len(out)]
            await RisingEdge(dut.clk_i)
            if pop:
                fields = unpack(int(dut.chunk_weights_o.value), self.bits, self.lanes * self.columns, signed=True)
                out.append(np.array(fields).reshape(self.lanes, self.columns))
                flags.append((bool(dut.error_last_o.value), bool(dut.error_range_o.value)))
        dut.chunk_pop_i.value = 0
        return np.array(out), flags


@cocotb.test()
@cocotb.parametrize(pace=[(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4)])
async def order(dut, pace):
    """Chunks arrive whole and in order, and nothing is reported."""
    loader = Loader(dut, rng(dut))
    await start(dut, weight_valid_i=0, chunk_pop_i=0)
    chunks, lasts = loader.chunks(40), {9, 19, 20, 39}
    source = Source(dut, "weight_valid_i", "weight_ready_o", ["weight_data_i", "weight_last_i"], pace[0])
    task = cocotb.start_soon(source.send(loader.packets(chunks, lasts)))
    got, flags = await loader.consume(lasts, [loader.lanes] * 40, [loader.columns] * 40, pace[1], 40)
    await task
    np.testing.assert_array_equal(got, chunks)
    assert not any(map(any, flags))


@cocotb.test()
async def misplaced_last(dut):
    """TLAST missing, too early, or on a beat inside a chunk: reported with that chunk."""
    loader = Loader(dut, rng(dut))
    await start(dut, weight_valid_i=0, chunk_pop_i=0)
    beats = list(loader.packets(loader.chunks(6), {1, 3}))
    if loader.beats > 1:
        beats[5 * loader.beats] = (beats[5 * loader.beats][0], 1)  # first beat of chunk 5
    source = Source(dut, "weight_valid_i", "weight_ready_o", ["weight_data_i", "weight_last_i"], 0.2)
    cocotb.start_soon(source.send(beats))
    _, flags = await loader.consume({1, 4}, [loader.lanes] * 6, [loader.columns] * 6, 0.2, 6)
    want = [False, False, False, True, True, loader.beats > 1]
    assert [last for last, _ in flags] == want


@cocotb.test()
async def out_of_range(dut):
    """A weight that does not fit is reported where it counts, and ignored in the padding."""
    loader = Loader(dut, rng(dut))
    await start(dut, weight_valid_i=0, chunk_pop_i=0)
    chunks = loader.chunks(4)
    chunks[1, 0, 0] = -128
    chunks[2, loader.lanes - 1, loader.columns - 1] = 127
    chunks[3, loader.lanes - 1, 0] = 127
    lanes = [loader.lanes, loader.lanes, loader.lanes, loader.lanes - 1]
    source = Source(dut, "weight_valid_i", "weight_ready_o", ["weight_data_i", "weight_last_i"], 0.0)
    cocotb.start_soon(source.send(loader.packets(chunks, set())))
    _, flags = await loader.consume(set(), lanes, [loader.columns] * 4, 0.0, 4)
    narrow = loader.bits < 8
    assert [r for _, r in flags] == [False, narrow, narrow, False]


@cocotb.test()
async def throughput(dut):
    """With a patient stream and an eager consumer a chunk is ready every `beats` cycles."""
    loader = Loader(dut, rng(dut))
    await start(dut, weight_valid_i=0, chunk_pop_i=0, chunk_lanes_i=1, chunk_columns_i=1, chunk_last_i=0)
    dut.weight_last_i.value = 0
    dut.weight_data_i.value = 0
    dut.weight_valid_i.value = 1
    for _ in range(8):
        await RisingEdge(dut.clk_i)
    popped = 0
    for _ in range(40):
        await FallingEdge(dut.clk_i)
        dut.chunk_pop_i.value = int(dut.chunk_valid_o.value)
        popped += int(dut.chunk_valid_o.value)
        await RisingEdge(dut.clk_i)
    assert popped >= 40 // loader.beats, f"{popped} chunks in 40 cycles"
