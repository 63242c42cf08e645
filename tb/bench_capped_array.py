"""spike_neuron_array that caps: the store gets the golden model's capped codes, bit for bit."""

import cocotb
import numpy as np
from bench_neuron_array import EVENTS, LOW, MASKS, STREAM, WRITES, hesitate, run_job
from cocotb.triggers import RisingEdge
from spike_compressor.trace.golden_capped import BLOCK, capped_codes
from unit import Monitor, Source, pack, reset, rng, start, total, unpack

KINDS = 8


def membranes(generator, timesteps, frac_bits, width):
    """Rows int64 [M, width] of all kinds: like activations, of ties, of one or two full lanes, silent, at both ends."""
    M = len(timesteps)
    limit = 2.0 ** (timesteps[:, None] + frac_bits)
    quarter = 2.0 ** (frac_bits - 2)
    lower = 2.0 ** np.maximum(frac_bits - generator.choice([3, 4, 3, 4, 8, 16], (M, width)), 0)  # half of one, and less
    kinds = [
        generator.normal(size=(M, width)) * limit / generator.choice([2, 4, 16], (M, 1)),
        generator.laplace(size=(M, width)) * limit / 8,
        generator.integers(-9, 10, (M, width)) * quarter + generator.integers(-1, 2, (M, width)) * lower,
        generator.choice([2, 3, 6, -2, -4, 10, 13], (M, 1)) * quarter * np.ones(width),
        np.where(np.arange(width) % 8 == 3, limit, generator.normal(size=(M, width)) * limit / 12),
        np.where(np.arange(width) % 4 == 3, limit * generator.choice([-1, 0.3, 0.7, 1, 1.3], (M, width)), 0),
        np.zeros((M, width)),
        generator.integers(-(2**31), 2**31, (M, width)),
    ]
    drawn = np.stack(kinds)[generator.permutation(np.arange(M) % KINDS), np.arange(M)]
    return np.clip(np.rint(drawn), -(2**31), 2**31 - 1).astype(np.int64)


class Job:
    """Rows of mixed T of one group of `width` inputs."""

    def __init__(self, dut, generator, width, frac_bits, rows=2 * KINDS):
        self.lanes, self.slots, self.tmax, self.tile = (
            int(getattr(dut, name).value) for name in ("Lanes", "Slots", "Tmax", "Rows")
        )
        assert self.lanes * self.slots == BLOCK
        csd = int(dut.Csd.value)
        self.planes = self.tmax + csd
        self.signs = (self.planes + 1) // 2 if csd else 1
        self.dut, self.generator, self.width, self.frac_bits = dut, generator, width, frac_bits
        self.timesteps = generator.integers(1, self.tmax + 1, rows)
        self.membrane = membranes(generator, self.timesteps, frac_bits, width)
        self.codes = capped_codes(self.membrane, self.timesteps, frac_bits, self.lanes).astype(np.int64)
        self.chunks = -(-width // self.lanes)

    def inputs(self):
        """Values of the job ports."""
        return {
            "coding_i": 0,
            "capped_i": 1,
            "frac_bits_i": self.frac_bits,
            "spike_stream_i": 0,
            "rows_i": len(self.timesteps),
            "group_blocks_i": -(-self.chunks // self.slots),
            "row_blocks_i": -(-self.chunks // self.slots),
            "tail_chunks_i": (self.chunks - 1) % self.slots + 1,
            "tail_lanes_i": (self.width - 1) % self.lanes + 1,
        }

    def beats(self):
        """The membrane stream; where a chunk has no input there is noise."""
        for row, T in zip(self.membrane, self.timesteps, strict=True):
            noise = self.generator.integers(-(2**31), 2**31, self.lanes)
            noise[0] = (noise[0] & ~0xFF) | T
            yield pack(noise, 32), 0, 0
            for c in range(self.chunks):
                part = self.generator.integers(-(2**31), 2**31, self.lanes)
                inputs = row[c * self.lanes : (c + 1) * self.lanes]
                part[: len(inputs)] = inputs
                yield pack(part, 32), 0, int(c == self.chunks - 1)

    async def run(self):
        """From start to idle."""
        for name, value in self.inputs().items():
            getattr(self.dut, name).value = value
        await run_job(self.dut)

    def check(self, writes, low, masks):
        """What the store was told, in order: all planes of each code, signs, masks, ends of row tiles."""
        rows, lanes = len(self.timesteps), self.lanes
        padded = np.zeros((rows, self.chunks * lanes), np.int64)
        padded[:, : self.width] = self.codes
        places = [(m, c) for m in range(rows) for c in range(self.chunks)]
        ends = [c == self.chunks - 1 and (m == rows - 1 or m % self.tile == self.tile - 1) for m, c in places]
        where = [(m % self.tile, c // self.slots, c % self.slots) for m, c in places]
        for seen in (writes, low):
            assert [tuple(one[:3]) for one in seen] == where
            assert [bool(one[-1]) for one in seen] == ends
        got = np.zeros((len(places), lanes), np.int64)
        neg = np.zeros((len(places), lanes), bool)
        for i, (upper, lowest) in enumerate(zip(writes, low, strict=True)):
            planes = np.array(unpack(upper[3], 1, self.planes * lanes)).reshape(self.planes, lanes)
            planes[0] = unpack(lowest[3], 1, lanes)
            got[i] = (planes << np.arange(self.planes)[:, None]).sum(axis=0)
            neg[i] = np.array(unpack(upper[4], 1, self.signs * lanes)).reshape(self.signs, lanes).any(axis=0)
        got = np.where(neg, -got, got).reshape(padded.shape)
        wrong = np.argwhere(got != padded)
        assert not len(wrong), f"F={self.frac_bits}, T={self.timesteps[wrong[0][0]]}: {wrong[0]} of {len(wrong)}"
        bits: dict[tuple[int, int], int] = {}
        for (m, c), codes in zip(places, np.abs(padded).reshape(-1, lanes), strict=True):
            place = m, c // self.slots
            bits[place] = bits.get(place, 0) | int(np.bitwise_or.reduce(codes))
        assert [tuple(one) for one in masks] == [(m % self.tile, b, mask) for (m, b), mask in bits.items()]


@cocotb.test()
@cocotb.parametrize(pace=[0.0, 0.5], width=[64, 5, 149, 192])
async def codes(dut, pace, width):
    """Every code of rows of mixed T, short last blocks and chunks, with and without pauses; and what is counted."""
    generator = rng(dut)
    await start(dut, start_i=0, store_ready_i=1, membrane_valid_i=0, spike_ready_i=1)
    if pace:
        cocotb.start_soon(hesitate(dut, generator))
    for frac_bits in (2, 3, 8, 23, 30):
        job = Job(dut, generator, width, frac_bits)
        sums: dict[str, int] = {}
        monitors = [
            Monitor(dut, "store_we_o", WRITES),
            Monitor(dut, "store_low_we_o", LOW),
            Monitor(dut, "store_mask_we_o", MASKS),
        ]
        tasks = [cocotb.start_soon(total(dut, signal, sums)) for signal in EVENTS]
        source = Source(dut, "membrane_valid_i", "membrane_ready_o", STREAM, pace)
        tasks.append(cocotb.start_soon(source.send(job.beats())))
        await job.run()
        job.check(*(monitor.seen for monitor in monitors))
        spikes = int(sum(np.abs(job.codes) >> e & 1 for e in range(7)).sum())
        assert sums["spikes_o"] == spikes
        assert sums["skipped_o"] == int(job.timesteps.sum()) * width - spikes
        assert sums["error_timesteps_o"] == sums["error_last_o"] == 0
        for task in [*tasks, *(monitor.task for monitor in monitors)]:
            task.cancel()


@cocotb.test()
@cocotb.parametrize(width=[64, 8])
async def throughput(dut, width):
    """Of blocks of one length all but one cycle a block bring a chunk, beside the header of a row."""
    generator = rng(dut)
    await start(dut, start_i=0, store_ready_i=1, membrane_valid_i=0, spike_ready_i=1)
    job = Job(dut, generator, width, 8, rows=30)
    writes = Monitor(dut, "store_we_o", WRITES)
    cocotb.start_soon(Source(dut, "membrane_valid_i", "membrane_ready_o", STREAM, 0.0).send(job.beats()))
    cycles = 0
    task = cocotb.start_soon(job.run())
    while not task.done():
        await RisingEdge(dut.clk_i)
        cycles += 1
    assert len(writes.seen) == 30 * job.chunks
    # per row: header, chunks, and a cycle in which the block is judged and none of the next can come in
    assert cycles <= 30 * (job.chunks + 2) + job.chunks + 8, f"{cycles} cycles for {len(writes.seen)} chunks"


@cocotb.test()
async def reset_in_a_block(dut):
    """A reset forgets a block that is not complete, and one that is leaving."""
    generator = rng(dut)
    await start(dut, start_i=0, store_ready_i=1, membrane_valid_i=0, spike_ready_i=1)
    job = Job(dut, generator, 3 * BLOCK, 8, rows=4)
    sent = cocotb.start_soon(Source(dut, "membrane_valid_i", "membrane_ready_o", STREAM, 0.0).send(job.beats()))
    running = cocotb.start_soon(job.run())
    low = Monitor(dut, "store_low_we_o", LOW)
    while len(low.seen) < job.slots + 2:
        await RisingEdge(dut.clk_i)
    sent.cancel()
    running.cancel()
    low.task.cancel()
    await reset(dut, membrane_valid_i=0)
    assert dut.idle_o.value
    assert not dut.store_low_we_o.value
    monitors = [
        Monitor(dut, "store_we_o", WRITES),
        Monitor(dut, "store_low_we_o", LOW),
        Monitor(dut, "store_mask_we_o", MASKS),
    ]
    cocotb.start_soon(Source(dut, "membrane_valid_i", "membrane_ready_o", STREAM, 0.2).send(job.beats()))
    await job.run()
    job.check(*(monitor.seen for monitor in monitors))


@cocotb.test()
async def drops(dut):
    """What is tested is there: all classes of loss drop, in part and whole, and lanes have too few spikes to drop."""
    generator = rng(dut)
    lanes = int(dut.Lanes.value)
    timesteps = generator.integers(1, int(dut.Tmax.value) + 1, 40 * KINDS)
    rows = membranes(generator, timesteps, 8, BLOCK)
    size = np.minimum((np.abs(rows) >> 6) + 2, (4 << timesteps[:, None]) - 1)
    kept = np.abs(capped_codes(rows, timesteps, 8, lanes)).reshape(-1, BLOCK // lanes, lanes)
    size = size.reshape(kept.shape)
    odd, dropped = size >> 2 & 1 == 1, (size >> 2) != kept
    for loss in range(4):
        inside = odd & (size & 3 == loss)
        some, every = (dropped & inside).any(axis=1), (dropped | ~inside).all(axis=1)
        for whole in (every, ~every):
            assert (some & whole).any(), f"class {loss}"
    ones = sum(kept >> e & 1 for e in range(7)).sum(axis=1)
    before = sum(size >> 2 + e & 1 for e in range(7)).sum(axis=(1, 2))
    assert (ones > -(-before[:, None] // lanes)).any()
