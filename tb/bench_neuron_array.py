"""spike_neuron_array: rows from the stream are fired, stored and copied out; bad headers and TLAST are reported."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from spike_compressor.trace import codes_from_membranes, fire, steps_of
from unit import Monitor, Sink, Source, pack, rng, start, unpack

F = 6
SPIKE = {0: 0, 1: 1, 3: -1}
WRITES = ["store_row_o", "store_chunk_o", "store_exponent_o", "store_spikes_o"]
MASKS = ["store_row_o", "store_chunk_o", "store_mask_o"]


class Bench:
    """One job: G groups of S inputs, some rows of random T."""

    def __init__(self, dut, generator, coding, rows, groups, size):
        self.dut, self.coding, self.rows, self.groups, self.size = dut, coding, rows, groups, size
        self.lanes, self.tmax = int(dut.Lanes.value), int(dut.Tmax.value)
        self.chunks = -(-size // self.lanes)
        self.timesteps = generator.integers(1, self.tmax + 1, rows)
        limit = 1 << self.timesteps + F
        K = groups * size
        self.membrane = (generator.normal(size=(rows, K)) * limit[:, None] / 3).astype(np.int32)
        self.padded = generator.integers(-(2**31), 2**31, (rows, groups, self.chunks * self.lanes))
        self.padded[:, :, :size] = self.membrane.reshape(rows, groups, size)
        self.generator = generator

    def inputs(self):
        """Values of the job ports."""
        tail = self.size % self.lanes or self.lanes
        return {
            "coding_i": ("tc_lif", "csd").index(self.coding),
            "frac_bits_i": F,
            "spike_stream_i": 1,
            "group_chunks_i": self.chunks,
            "tail_lanes_i": tail,
            "row_chunks_i": self.chunks * self.groups,
            "rows_i": self.rows,
            "start_i": 0,
            "membrane_valid_i": 0,
            "spike_ready_i": 0,
        }

    def beats(self):
        """The membrane stream: (data, last)."""
        for m in range(self.rows):
            noise = self.generator.integers(-(2**31), 2**31, self.lanes)
            noise[0] = (noise[0] & ~0xFF) | self.timesteps[m]
            yield pack(noise, 32), 0
            chunks = self.padded[m].reshape(-1, self.lanes)
            for i, chunk in enumerate(chunks):
                yield pack(chunk, 32), int(i == len(chunks) - 1)

    def golden(self):
        """Spikes in the stream's order: (row, chunk, exponent, values), last of the row."""
        spikes = fire(self.membrane, self.timesteps, F, self.coding)
        for m in range(self.rows):
            steps = steps_of(int(self.timesteps[m]), self.coding)
            for c in range(self.chunks * self.groups):
                g, i = divmod(c, self.chunks)
                low = g * self.size + i * self.lanes
                high = min(low + self.lanes, (g + 1) * self.size)
                for t in range(steps):
                    values = np.zeros(self.lanes, int)
                    values[: high - low] = spikes[t, m, low:high]
                    last = t == steps - 1 and c == self.chunks * self.groups - 1
                    yield m, c, steps - 1 - t, tuple(values), last

    async def go(self):
        """Start the tile; returns when it is done."""
        self.dut.start_i.value = 1
        await RisingEdge(self.dut.clk_i)
        self.dut.start_i.value = 0
        await RisingEdge(self.dut.clk_i)
        while self.dut.busy_o.value:
            await RisingEdge(self.dut.clk_i)


async def total(dut, signal, sums):
    """Add up an event port while the test runs."""
    while True:
        await RisingEdge(dut.clk_i)
        sums[signal] = sums.get(signal, 0) + int(getattr(dut, signal).value)


@cocotb.test()
@cocotb.parametrize(
    coding=["tc_lif", "csd"], pace=[(0.0, 0.0), (0.5, 0.5)], shape=[(1, 1, 1), (3, 2, 13), (8, 1, 24), (5, 4, 3)]
)
async def rows(dut, coding, pace, shape):
    """Every spike, in the store and on the stream, with masks, counts and row ends."""
    bench = Bench(dut, rng(dut), coding, *shape)
    await start(dut, **bench.inputs())
    sums: dict[str, int] = {}
    for signal in ("spikes_o", "saturated_o", "row_done_o", "error_timesteps_o", "error_last_o"):
        cocotb.start_soon(total(dut, signal, sums))
    writes, masks = Monitor(dut, "store_we_o", WRITES), Monitor(dut, "store_mask_we_o", MASKS)
    sink = Sink(dut, "spike_valid_o", "spike_ready_i", ["spike_data_o", "spike_last_o"], pace[1])
    source = Source(dut, "membrane_valid_i", "membrane_ready_o", ["membrane_data_i", "membrane_last_i"], pace[0])
    cocotb.start_soon(source.send(bench.beats()))
    await bench.go()
    want = list(bench.golden())
    await sink.expect(len(want))
    lanes = bench.lanes
    got = [(r, c, e, tuple(SPIKE[v] for v in unpack(s, 2, lanes))) for r, c, e, s in writes.seen]
    assert got == [w[:4] for w in want]
    stream = [(tuple(SPIKE[v] for v in unpack(data, 2, lanes)), bool(last)) for data, last in sink.beats]
    assert stream == [w[3:] for w in want]
    bits: dict[tuple[int, int], int] = {}
    for r, c, e, values, _ in want:
        bits[r, c] = bits.get((r, c), 0) | any(values) << e
    assert masks.seen == [(r, c, mask) for (r, c), mask in bits.items()]
    steps = [steps_of(int(t), coding) for t in bench.timesteps]
    assert int(dut.planes_o.value) == max(steps)
    codes = codes_from_membranes(bench.membrane, bench.timesteps, F)
    beyond = np.abs(bench.membrane) + (1 << F - 1) >> F >= 1 << bench.timesteps[:, None]
    assert sums["spikes_o"] == sum(np.count_nonzero(w[3]) for w in want)
    assert sums["saturated_o"] == beyond.sum()
    assert codes[beyond].size == beyond.sum()
    assert sums["row_done_o"] == bench.rows
    assert sums["error_timesteps_o"] == sums["error_last_o"] == 0


@cocotb.test()
async def quiet_stream(dut):
    """Without the spike stream nothing waits for it."""
    bench = Bench(dut, rng(dut), "tc_lif", 4, 1, 16)
    await start(dut, **{**bench.inputs(), "spike_stream_i": 0})
    writes = Monitor(dut, "store_we_o", WRITES)
    source = Source(dut, "membrane_valid_i", "membrane_ready_o", ["membrane_data_i", "membrane_last_i"], 0.0)
    cocotb.start_soon(source.send(bench.beats()))
    await bench.go()
    assert len(writes.seen) == len(list(bench.golden()))
    assert not dut.spike_valid_o.value


@cocotb.test()
@cocotb.parametrize(raw=[0, 8, 255, "tmax"])
async def bad_timesteps(dut, raw):
    """A T of 0 or beyond Tmax is reported and clamped: the job still ends. Tmax itself is fine."""
    bench = Bench(dut, rng(dut), "tc_lif", 1, 1, 16)
    bench.timesteps[0] = bench.tmax if raw == "tmax" else raw
    await start(dut, **bench.inputs())
    sums: dict[str, int] = {}
    cocotb.start_soon(total(dut, "error_timesteps_o", sums))
    Sink(dut, "spike_valid_o", "spike_ready_i", ["spike_data_o", "spike_last_o"], 0.0)
    source = Source(dut, "membrane_valid_i", "membrane_ready_o", ["membrane_data_i", "membrane_last_i"], 0.0)
    cocotb.start_soon(source.send(bench.beats()))
    await bench.go()
    assert sums["error_timesteps_o"] == (raw != "tmax")
    assert int(dut.planes_o.value) == (1 if raw == 0 else bench.tmax)


@cocotb.test()
@cocotb.parametrize(fault=["header", "early", "missing"])
async def misplaced_last(dut, fault):
    """TLAST on a header, before the end of a row, or not at its end: reported."""
    bench = Bench(dut, rng(dut), "tc_lif", 2, 1, 24)
    beats = [list(beat) for beat in bench.beats()]
    row = len(beats) // 2
    beats[{"header": row, "early": row + 1, "missing": row - 1}[fault]][1] ^= 1
    await start(dut, **bench.inputs())
    sums: dict[str, int] = {}
    cocotb.start_soon(total(dut, "error_last_o", sums))
    Sink(dut, "spike_valid_o", "spike_ready_i", ["spike_data_o", "spike_last_o"], 0.0)
    source = Source(dut, "membrane_valid_i", "membrane_ready_o", ["membrane_data_i", "membrane_last_i"], 0.3)
    cocotb.start_soon(source.send(beats))
    await bench.go()
    assert sums["error_last_o"] == 1


@cocotb.test()
async def throughput(dut):
    """A chunk takes one cycle a step when nobody pauses."""
    bench = Bench(dut, rng(dut), "tc_lif", 4, 1, 64)
    await start(dut, **bench.inputs())
    Sink(dut, "spike_valid_o", "spike_ready_i", ["spike_data_o", "spike_last_o"], 0.0)
    source = Source(dut, "membrane_valid_i", "membrane_ready_o", ["membrane_data_i", "membrane_last_i"], 0.0)
    cycles = {}
    cocotb.start_soon(total(dut, "busy_o", cycles))
    cocotb.start_soon(source.send(bench.beats()))
    await bench.go()
    ideal = int(sum(bench.timesteps)) * bench.chunks
    assert cycles["busy_o"] <= ideal + 2 * bench.rows + 6, f"{cycles['busy_o']} cycles, {ideal} would be ideal"
