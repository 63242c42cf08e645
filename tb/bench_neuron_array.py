"""spike_neuron_array: rows from the stream are fired, stored and copied out; bad headers and TLAST are reported."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from spike_compressor.trace import fire, steps_of
from unit import Monitor, Sink, Source, pack, reset, rng, start, total, unpack

F = 6
SPIKE = {0: 0, 1: 1, 3: -1}
WRITES = ["store_row_o", "store_block_o", "store_slot_o", "store_fire_o", "store_neg_o", "store_end_o"]
LOW = ["store_low_row_o", "store_low_block_o", "store_low_slot_o", "store_fire_o", "store_done_o"]
MASKS = ["store_low_row_o", "store_low_block_o", "store_mask_o"]
STREAM = ["membrane_data_i", "membrane_user_i", "membrane_last_i"]
EVENTS = ("spikes_o", "skipped_o", "saturated_o", "error_timesteps_o", "error_last_o")


class Bench:
    """One job: G groups of S inputs, some rows of random T."""

    def __init__(self, dut, generator, coding, rows, groups, size):
        self.dut, self.coding, self.rows, self.groups, self.size = dut, coding, rows, groups, size
        self.lanes, self.slots, self.tmax, self.tile = (
            int(getattr(dut, name).value) for name in ("Lanes", "Slots", "Tmax", "Rows")
        )
        self.csd, self.user = bool(int(dut.Csd.value)), bool(int(dut.UserTimesteps.value))
        self.planes = self.tmax + self.csd
        self.chunks = -(-size // self.lanes)
        self.blocks = -(-self.chunks // self.slots)
        self.timesteps = generator.integers(1, self.tmax + 1, rows)
        limit = 1 << self.timesteps + F
        K = groups * size
        self.membrane = (generator.normal(size=(rows, K)) * limit[:, None] / 3).astype(np.int32)
        self.padded = generator.integers(-(2**31), 2**31, (rows, groups, self.chunks * self.lanes))
        self.padded[:, :, :size] = self.membrane.reshape(rows, groups, size)
        self.generator = generator

    def inputs(self):
        """Values of the job ports."""
        return {
            "coding_i": ("tc_lif", "csd").index(self.coding),
            "capped_i": 0,
            "frac_bits_i": F,
            "spike_stream_i": 1,
            "rows_i": self.rows,
            "group_blocks_i": self.blocks,
            "row_blocks_i": self.blocks * self.groups,
            "tail_chunks_i": (self.chunks - 1) % self.slots + 1,
            "tail_lanes_i": (self.size - 1) % self.lanes + 1,
            "start_i": 0,
            "store_ready_i": 1,
            "membrane_valid_i": 0,
            "spike_ready_i": 0,
        }

    def beats(self):
        """The membrane stream: (data, T beside them, last)."""
        for m in range(self.rows):
            noise = self.generator.integers(-(2**31), 2**31, self.lanes)
            beside = int(self.timesteps[m]) if self.user else int(noise[1]) & 0xFF
            if not self.user:
                noise[0] = (noise[0] & ~0xFF) | self.timesteps[m]
                yield pack(noise, 32), beside, 0
            chunks = self.padded[m].reshape(-1, self.lanes)
            for i, chunk in enumerate(chunks):
                yield pack(chunk, 32), beside, int(i == len(chunks) - 1)

    def golden(self):
        """For every chunk: row, block, slot, spikes [planes, lanes] exponent 0 first, steps, ends of row and block."""
        spikes = fire(self.membrane, self.timesteps, F, self.coding)
        for m in range(self.rows):
            steps = steps_of(int(self.timesteps[m]), self.coding)
            for c in range(self.chunks * self.groups):
                g, i = divmod(c, self.chunks)
                low = g * self.size + i * self.lanes
                high = min(low + self.lanes, (g + 1) * self.size)
                values = np.zeros((self.planes, self.lanes), int)
                values[:steps, : high - low] = spikes[:steps, m, low:high][::-1]
                ends = (c == self.chunks * self.groups - 1, i % self.slots == self.slots - 1 or i == self.chunks - 1)
                yield m, g * self.blocks + i // self.slots, i % self.slots, values, steps, *ends

    def stored(self, values):
        """The words that the store gets for a chunk: fire of each plane, and the signs."""
        sign_planes = (self.planes + 1) // 2 if self.csd else 1
        neg = np.zeros((sign_planes, self.lanes), int)
        for e in range(self.planes):
            neg[e // 2 if self.csd else 0] |= values[e] < 0
        return pack((values != 0).ravel(), 1), pack(neg.ravel(), 1)

    async def go(self):
        """Start the job; returns when it is done."""
        await run_job(self.dut)


async def run_job(dut):
    """Start the job at the ports; returns when it is done and counted."""
    dut.start_i.value = 1
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0
    await RisingEdge(dut.clk_i)
    while not dut.idle_o.value:
        await RisingEdge(dut.clk_i)
    for _ in range(2):  # events come late
        await RisingEdge(dut.clk_i)


async def hesitate(dut, generator):
    """A store that has room only now and then."""
    while True:
        dut.store_ready_i.value = int(generator.random() < 0.2)
        await RisingEdge(dut.clk_i)


@cocotb.test()
@cocotb.parametrize(
    pace=[(0.0, 0.0), (0.5, 0.5)], stream=[0, 1], shape=[(1, 1, 1), (3, 2, 13), (9, 1, 64), (5, 4, 3), (4, 2, 41)]
)
async def rows(dut, pace, stream, shape):
    """Every spike, in the store and on the stream, with masks, counts, row ends and tile ends."""
    generator = rng(dut)
    await start(dut, start_i=0)
    for coding in ("tc_lif", "csd") if int(dut.Csd.value) else ("tc_lif",):
        bench = Bench(dut, generator, coding, *shape)
        await reset(dut, **{**bench.inputs(), "spike_stream_i": stream})
        sums: dict[str, int] = {}
        tasks = [cocotb.start_soon(total(dut, signal, sums)) for signal in EVENTS]
        writes, masks = Monitor(dut, "store_we_o", WRITES), Monitor(dut, "store_mask_we_o", MASKS)
        low = Monitor(dut, "store_low_we_o", LOW)
        done = Monitor(dut, "row_done_o", ["row_done_o"])
        sink = Sink(dut, "spike_valid_o", "spike_ready_i", ["spike_data_o", "spike_last_o"], pace[1])
        source = Source(dut, "membrane_valid_i", "membrane_ready_o", STREAM, pace[0])
        tasks.append(cocotb.start_soon(source.send(bench.beats())))
        if pace[0]:
            tasks.append(cocotb.start_soon(hesitate(dut, generator)))
        await bench.go()
        chunks = list(bench.golden())
        tile, last_row = bench.tile, bench.rows - 1
        want = [
            (m % tile, b, s, *bench.stored(v), int(row_end and (m % tile == tile - 1 or m == last_row)))
            for m, b, s, v, _, row_end, _ in chunks
        ]
        assert writes.seen == want
        assert low.seen == [(*place, fire, end) for *place, fire, _, end in want]  # at the same time
        bits: dict[tuple[int, int], int] = {}
        for m, b, _, values, *_ in chunks:
            bits[m, b] = bits.get((m, b), 0) | pack(values.any(axis=1), 1)
        assert masks.seen == [(m % tile, b, mask) for (m, b), mask in bits.items()]
        beats = [
            (tuple(values[e]), row_end and e == 0)
            for _, _, _, values, steps, row_end, _ in chunks
            for e in reversed(range(steps))
        ]
        lanes = bench.lanes
        if stream:
            await sink.expect(len(beats))
            got = [(tuple(SPIKE[v] for v in unpack(data, 2, lanes)), bool(last)) for data, last in sink.beats]
            assert got == beats
        else:
            assert not sink.beats
        fired = sum(np.count_nonzero(c[3]) for c in chunks)
        steps = np.array([steps_of(int(t), coding) for t in bench.timesteps])
        beyond = np.abs(bench.membrane) + (1 << F - 1) >> F >= 1 << bench.timesteps[:, None]
        assert sums["spikes_o"] == fired
        assert sums["skipped_o"] == steps.sum() * bench.groups * bench.size - fired
        assert sums["saturated_o"] == beyond.sum()
        assert [d for (d,) in done.seen] == [1 << int(t) - 1 for t in bench.timesteps]
        assert sums["error_timesteps_o"] == sums["error_last_o"] == 0
        for task in [*tasks, writes.task, low.task, masks.task, done.task, sink.task]:
            task.cancel()


@cocotb.test()
async def room(dut):
    """Without room in the store no row tile begins; the first one to be taken is counted as waiting."""
    bench = Bench(dut, rng(dut), "tc_lif", 2, 1, 16)
    await start(dut, **{**bench.inputs(), "store_ready_i": 0})
    source = Source(dut, "membrane_valid_i", "membrane_ready_o", STREAM, 0.0)
    cocotb.start_soon(source.send(bench.beats()))
    sink = Sink(dut, "spike_valid_o", "spike_ready_i", ["spike_data_o", "spike_last_o"], 0.0)
    cocotb.start_soon(bench.go())
    for _ in range(4):
        await RisingEdge(dut.clk_i)
    for _ in range(30):
        await RisingEdge(dut.clk_i)
        assert not dut.membrane_ready_o.value
        assert dut.stall_store_o.value
    dut.store_ready_i.value = 1
    await sink.expect(1)


@cocotb.test()
@cocotb.parametrize(raw=[0, 8, 255, "tmax"])
async def bad_timesteps(dut, raw):
    """A T of 0 or beyond Tmax is reported and clamped: the job still ends. Tmax itself is fine."""
    bench = Bench(dut, rng(dut), "tc_lif", 1, 1, 16)
    bench.timesteps[0] = bench.tmax if raw == "tmax" else raw
    await start(dut, **bench.inputs())
    sums: dict[str, int] = {}
    cocotb.start_soon(total(dut, "error_timesteps_o", sums))
    done = Monitor(dut, "row_done_o", ["row_done_o"])
    Sink(dut, "spike_valid_o", "spike_ready_i", ["spike_data_o", "spike_last_o"], 0.0)
    source = Source(dut, "membrane_valid_i", "membrane_ready_o", STREAM, 0.0)
    cocotb.start_soon(source.send(bench.beats()))
    await bench.go()
    assert sums["error_timesteps_o"] == (raw != "tmax")
    assert done.seen == [(1 if raw == 0 else 1 << bench.tmax - 1,)]


@cocotb.test()
@cocotb.parametrize(fault=["header", "early", "missing"])
async def misplaced_last(dut, fault):
    """TLAST on a header (without: on the first chunk), before the end of a row, or not at its end: reported."""
    bench = Bench(dut, rng(dut), "tc_lif", 2, 1, 40)
    beats = [list(beat) for beat in bench.beats()]
    row = len(beats) // 2
    beats[{"header": row, "early": row + 1, "missing": row - 1}[fault]][2] ^= 1
    await start(dut, **bench.inputs())
    sums: dict[str, int] = {}
    cocotb.start_soon(total(dut, "error_last_o", sums))
    Sink(dut, "spike_valid_o", "spike_ready_i", ["spike_data_o", "spike_last_o"], 0.0)
    source = Source(dut, "membrane_valid_i", "membrane_ready_o", STREAM, 0.3)
    cocotb.start_soon(source.send(beats))
    await bench.go()
    assert sums["error_last_o"] == 1


@cocotb.test()
@cocotb.parametrize(stream=[0, 1])
async def throughput(dut, stream):
    """When nobody pauses, a chunk takes one cycle, with the spike stream one cycle a step."""
    bench = Bench(dut, rng(dut), "tc_lif", 8, 1, 128)
    await start(dut, **{**bench.inputs(), "spike_stream_i": stream})
    Sink(dut, "spike_valid_o", "spike_ready_i", ["spike_data_o", "spike_last_o"], 0.0)
    source = Source(dut, "membrane_valid_i", "membrane_ready_o", STREAM, 0.0)
    idle: dict[str, int] = {}
    cocotb.start_soon(source.send(bench.beats()))
    await RisingEdge(dut.clk_i)
    cocotb.start_soon(total(dut, "stall_membrane_o", idle))
    writes = Monitor(dut, "store_we_o", WRITES)
    cycles = 0
    dut.start_i.value = 1
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0
    while len(writes.seen) < bench.rows * bench.chunks:
        await RisingEdge(dut.clk_i)
        cycles += 1
    ideal = (int(sum(bench.timesteps)) if stream else bench.rows) * bench.chunks
    assert cycles <= ideal + 3 * bench.rows + 6, f"{cycles} cycles, {ideal} would be ideal"
