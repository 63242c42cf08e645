"""spike_scheduler: visits each spike plane once and no other, in order, with the right weights and group marks."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from unit import pack, rng, start, unpack


class Store:
    """Answers the scheduler's reads as spike_store would, from arrays."""

    def __init__(self, dut, spikes):
        self.dut, self.spikes = dut, spikes  # [chunk, exponent, row, lane]
        self.masks = spikes.any(axis=3)
        cocotb.start_soon(self._run())

    async def _run(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk_i)
            if dut.mask_re_o.value:
                masks = self.masks[int(dut.mask_chunk_o.value)]  # [exponent, row]
                value = pack([pack(masks[:, r], 1) for r in range(masks.shape[1])], masks.shape[0])
                dut.masks_i.value = value
            if dut.plane_re_o.value:
                plane = self.spikes[int(dut.plane_chunk_o.value), int(dut.plane_exponent_o.value)]
                dut.spikes_i.value = pack(plane.ravel(), 2)


def golden(spikes, groups, rows, columns):
    """Operations of one pass: (first, last, exponent or None, spikes, columns), and pops as (chunk, pass_last)."""
    chunks = spikes.shape[0]
    size = chunks // groups
    for c in range(chunks):
        live = [e for e in reversed(range(spikes.shape[1])) if spikes[c, e, :rows].any()] or [None]
        for i, e in enumerate(live):
            plane = np.zeros(spikes.shape[2:], int)
            if e is not None:
                plane[:rows] = spikes[c, e, :rows]
            first = i == 0 and c % size == 0
            last = i == len(live) - 1 and c % size == size - 1
            yield first, last, e, tuple(plane.ravel()), columns, i == len(live) - 1, c == chunks - 1


@cocotb.test()
@cocotb.parametrize(density=[0.0, 0.02, 0.3], groups=[1, 3], pace=[(0.0, 0.0), (0.5, 0.4)])
async def walk(dut, density, groups, pace):
    """Three passes back to back over one stored tile."""
    generator = rng(dut)
    rows, lanes, planes = int(dut.Rows.value), int(dut.Lanes.value), int(dut.Tmax.value) + 1
    chunks = groups * 4
    size = (chunks, planes, rows, lanes)
    spikes = generator.choice([-1, 1], size) * (generator.random(size) < density)
    tail = 3
    await start(
        dut,
        group_chunks_i=chunks // groups,
        row_chunks_i=chunks,
        tail_lanes_i=tail,
        planes_i=planes,
        pass_valid_i=0,
        weight_valid_i=0,
        drain_free_i=0,
        masks_i=0,
        spikes_i=0,
    )
    Store(dut, spikes)
    live, columns = rows - 1, [int(c) for c in generator.integers(1, int(dut.Columns.value) + 1, 3)]
    want = [op for c in columns for op in golden(spikes, groups, live, c)]

    async def passes():
        for c in columns:
            dut.pass_rows_i.value, dut.pass_columns_i.value, dut.pass_valid_i.value = live, c, 1
            await RisingEdge(dut.clk_i)
            while not dut.pass_ready_o.value:
                await RisingEdge(dut.clk_i)
        dut.pass_valid_i.value = 0

    cocotb.start_soon(passes())
    skipped = visits = visited = 0
    got = []
    for _ in range(5000):
        await FallingEdge(dut.clk_i)
        dut.weight_valid_i.value = int(generator.random() >= pace[0])
        dut.drain_free_i.value = int(generator.random() >= pace[1])
        await RisingEdge(dut.clk_i)
        skipped += int(dut.skipped_o.value)
        visits += int(dut.visits_o.value)
        visited += int(dut.visited_o.value)
        if dut.op_valid_o.value:
            assert dut.weight_valid_i.value, "an operation without weights"
            plane = tuple(-1 if v == 3 else v for v in unpack(int(dut.op_spikes_o.value), 2, rows * lanes))
            pop = bool(dut.weight_pop_o.value)
            op = (bool(dut.op_first_o.value), bool(dut.op_last_o.value), int(dut.op_exponent_o.value))
            if not any(plane):
                op = (*op[:2], None)
            if op[1]:
                assert dut.drain_free_i.value, "a group was closed while the output buffer was taken"
            if pop:
                chunk = sum(earlier[5] for earlier in got) % chunks
                closes = (chunk + 1) % (chunks // groups) == 0
                assert int(dut.weight_lanes_o.value) == (tail if closes else lanes), f"lanes of chunk {chunk}"
                assert int(dut.weight_columns_o.value) == want[len(got)][4]
            got.append((*op, plane, int(dut.op_columns_o.value), pop, bool(dut.weight_last_o.value)))
        if len(got) == len(want):
            break
    assert got == want
    for _ in range(4):
        await RisingEdge(dut.clk_i)
    assert dut.idle_o.value
    used = [op for op in want if op[2] is not None]
    assert visited == len(used)
    assert skipped == 3 * chunks * planes - len(used)
    assert visits == 3 * np.count_nonzero(spikes[:, :, :live])


@cocotb.test()
async def throughput(dut):
    """With spikes in every chunk the array works in every cycle, across passes too; empty chunks take one cycle."""
    rows, lanes, planes = int(dut.Rows.value), int(dut.Lanes.value), int(dut.Tmax.value) + 1
    chunks = 16
    spikes = np.zeros((chunks, planes, rows, lanes), int)
    spikes[::2, 2] = 1
    spikes[::2, 0] = -1
    await start(
        dut,
        group_chunks_i=chunks,
        row_chunks_i=chunks,
        tail_lanes_i=lanes,
        planes_i=planes,
        pass_rows_i=rows,
        pass_columns_i=1,
        pass_valid_i=1,
        weight_valid_i=1,
        drain_free_i=1,
        masks_i=0,
        spikes_i=0,
    )
    Store(dut, spikes)
    while not dut.op_valid_o.value:
        await RisingEdge(dut.clk_i)
    busy = 0
    for _ in range(100):
        busy += int(dut.op_valid_o.value)
        await RisingEdge(dut.clk_i)
    assert busy == 100
