"""group_front: the spikes of every row are the golden ones, in the store and on the stream; bad rows are named."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from spike_compressor.trace.golden_groups import fire_groups
from unit import Sink, Source, pack, rng, start, total

EVENTS = ("spikes_o", "stall_membrane_o", "stall_store_o", "stall_spike_o", "error_timesteps_o", "error_last_o")


def told(data):
    """What groups do, four bits each, as they say it: sign and input of one that does not fire are of no meaning."""
    fires = data & int("8" * 64, 16)
    return data & (fires | fires >> 1 | fires >> 2 | fires >> 3)


class Job:
    """Rows of a job: membranes, their steps, and what fires."""

    def __init__(self, dut, generator, M, groups, size, told=None):
        self.dut = dut
        self.rows, self.in_chunk, self.steps, self.units = (
            int(getattr(dut, n).value) for n in ("Rows", "Groups", "Steps", "Units")
        )
        self.user = bool(int(dut.UserTimesteps.value))
        self.M, self.groups, self.size = M, groups, size
        own = generator.integers(1, self.steps + 1, M)
        self.told = own if told is None else np.full(M, told)
        self.own = np.clip(self.told, 1, self.steps).astype(np.uint8)
        drawn = generator.normal(size=(M, groups, size)) * 128 * generator.choice([0.5, 2, 8, 200], (M, 1, 1))
        self.membranes = drawn.astype(np.int64)
        top = ((3 ** self.own.astype(np.int64) - 2 ** self.own.astype(np.int64)) << 8 - self.own)[:, None]
        padded = np.zeros((M, groups, -(-size // 4) * 4), np.int64)
        padded[..., :size] = self.membranes
        flat = np.clip(padded.reshape(M, -1), -top, top).astype(np.int32)
        fired = fire_groups(flat, self.own, 4).reshape(-1, M, groups, padded.shape[2] // 4, 4)
        index = np.abs(fired).argmax(-1)
        value = np.take_along_axis(fired, index[..., None], -1)[..., 0]
        #: What each group does: int [steps of the longest row, M, scale groups, groups of four].
        self.words = np.where(value, 8 + 4 * (value < 0) + index, 0)

    def unit(self, m, g, u, step):
        """What the groups of a unit do in a step of a row; those beyond the scale group nothing."""
        found = self.words[step, m, g, u * self.units : (u + 1) * self.units]
        return [*map(int, found), *[0] * (self.units - len(found))]

    @property
    def group_units(self):
        """Units of a scale group."""
        return -(-self.size // (4 * self.units))

    def beats(self, generator, wrong_last=False):
        """Units of the membrane stream: (data, TUSER, TLAST); what is ignored holds noise."""
        for m in range(self.M):
            noise = generator.integers(0, 1 << 31, 4 * self.units)
            if not self.user:
                yield pack([int(noise[0]) & ~0xFF | int(self.told[m]), *noise[1:]], 32), 0, int(wrong_last)
            for g in range(self.groups):
                for u in range(self.group_units):
                    part = self.membranes[m, g, 4 * self.units * u : 4 * self.units * (u + 1)]
                    last = g == self.groups - 1 and u == self.group_units - 1
                    yield pack([*part, *noise[len(part) :]], 32), int(self.told[m]), int(last != wrong_last)

    def writes(self):
        """Words of the store in order: (row, chunk, part, steps that follow, what the groups do)."""
        parts = self.in_chunk // self.units
        chunks = -(-self.group_units // parts)
        for m in range(self.M):
            own = int(self.own[m])
            for g in range(self.groups):
                for u in range(self.group_units):
                    for t in range(own):
                        place = (m % self.rows, g * chunks + u // parts, u % parts, own - 1 - t)
                        yield (*place, pack(self.unit(m, g, u, t), 4))

    def copies(self):
        """Units of the spike stream: (data, TLAST)."""
        for m in range(self.M):
            own = int(self.own[m])
            for g in range(self.groups):
                for u in range(self.group_units):
                    steps = np.array([self.unit(m, g, u, t) for t in reversed(range(own))])  # the last one lowest
                    data = pack([pack(one, 4) for one in steps.T], 32)
                    yield data, int(g == self.groups - 1 and u == self.group_units - 1)


class Store:
    """Room for two row tiles, one of which is free again now and then; keeps what is written and said."""

    def __init__(self, dut, generator, pause):
        self.dut, self.generator, self.pause = dut, generator, pause
        self.writes, self.rows, self.tiles, self.held = [], [], 0, 0
        self.task = cocotb.start_soon(self._run())

    async def _run(self):
        dut, steps = self.dut, int(self.dut.Steps.value)
        while True:
            dut.store_ready_i.value = int(self.held < 2)
            await RisingEdge(dut.clk_i)
            if dut.store_we_o.value:
                address, part = int(dut.store_addr_o.value), int(dut.store_part_o.value)
                assert part.bit_count() == 1
                place = (int(dut.store_row_o.value), address // steps, part.bit_length() - 1, address % steps)
                self.writes.append((*place, told(int(dut.store_spikes_o.value))))
            if dut.store_row_done_o.value:
                done = int(dut.row_done_o.value)
                assert done == 1 << int(dut.store_left_o.value)
                self.rows.append(int(dut.store_left_o.value))
            if dut.store_open_o.value:
                assert self.held < 2
                self.held += 1
            if dut.store_done_o.value:
                self.tiles += 1
            elif self.held and self.tiles and self.generator.random() >= self.pause:
                self.held, self.tiles = self.held - 1, self.tiles - 1


async def run(dut, generator, job, stalls, stream=True, wrong_last=False):
    """A job with pauses of (membranes, store, spike stream); returns the events."""
    membrane, store, spike = stalls
    for name, value in (("rows_i", job.M), ("groups_i", job.groups), ("group_inputs_i", job.size)):
        getattr(dut, name).value = value
    dut.spike_stream_i.value = int(stream)
    events = {}
    tasks = [cocotb.start_soon(total(dut, name, events)) for name in EVENTS]
    kept = Store(dut, generator, store)
    sink = Sink(dut, "spike_valid_o", "spike_ready_i", ["spike_data_o", "spike_last_o"], spike)
    data = ["membrane_data_i", "membrane_user_i", "membrane_last_i"]
    source = Source(dut, "membrane_valid_i", "membrane_ready_o", data, membrane)
    dut.start_i.value = 1
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0
    await source.send(job.beats(generator, wrong_last))
    want = list(job.writes())
    for _ in range(20_000):
        await RisingEdge(dut.clk_i)
        if dut.idle_o.value and len(kept.writes) >= len(want):
            break
    assert kept.writes == want
    assert kept.rows == [int(s) - 1 for s in job.own]
    copies = list(job.copies()) if stream else []
    assert [(told(data), last) for data, last in sink.beats] == copies
    assert events["spikes_o"] == sum(int(word).bit_count() for *_, word in ((x & 0x88888888,) for *_, x in want))
    for task in (*tasks, sink.task, kept.task):
        task.cancel()
    return events


IDLE = {"start_i": 0, "membrane_valid_i": 0, "membrane_last_i": 0, "store_ready_i": 0, "spike_ready_i": 0}


@cocotb.test()
async def rows(dut):
    """Jobs of any size, one after the other: scale groups, mixed steps, part-full units, pauses on every side."""
    generator = rng(dut)
    await start(dut, **IDLE, spike_stream_i=0, rows_i=1, groups_i=1, group_inputs_i=1)
    lanes = 4 * int(dut.Groups.value)
    sizes = [(1, 1, 1), (5, 2, lanes), (4, 1, lanes + 5), (7, 2, 4), (9, 1, 2 * lanes), (3, 2, lanes - 4)]
    for i, size in enumerate(sizes * 2):
        stalls = [(0, 0, 0), (0.5, 0, 0), (0, 0.98, 0), (0, 0, 0.9), (0.3, 0.5, 0.5)][i % 5]
        events = await run(dut, generator, Job(dut, generator, *size), stalls, stream=i % 3 != 2)
        assert events["error_timesteps_o"] == events["error_last_o"] == 0


@cocotb.test()
async def bad_rows(dut):
    """Steps of 0 or too many are clamped and named, once a row; so is each TLAST that is elsewhere."""
    generator = rng(dut)
    await start(dut, **IDLE, spike_stream_i=0, rows_i=1, groups_i=1, group_inputs_i=1)
    for told in (0, int(dut.Steps.value) + 1, 255):
        job = Job(dut, generator, 3, 1, 9, told)
        events = await run(dut, generator, job, (0, 0, 0))
        assert events["error_timesteps_o"] == 3
        assert events["error_last_o"] == 0
    job = Job(dut, generator, 3, 1, 9)
    events = await run(dut, generator, job, (0, 0, 0), wrong_last=True)
    assert events["error_last_o"] == len(list(job.beats(generator)))
    assert events["error_timesteps_o"] == 0
