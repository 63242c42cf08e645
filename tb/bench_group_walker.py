"""group_walker: every step of every chunk and tile, in order, with its place; rows of fewer steps join in later."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge
from unit import pack, rng, start


class Job:
    """A job, and what the walker has to make of it."""

    def __init__(self, dut, generator, M, N, groups, size):
        self.dut, self.generator = dut, generator
        self.rows, self.columns, self.groups, self.steps = (
            int(getattr(dut, n).value) for n in ("Rows", "Columns", "Groups", "Steps")
        )
        lanes = 4 * self.groups
        self.M, self.N, self.scale_groups = M, N, groups
        self.group_chunks = -(-size // lanes)
        self.chunks = groups * self.group_chunks
        self.tail = size - (self.group_chunks - 1) * lanes
        tiles = -(-M // self.rows)
        self.left = [
            [int(s) for s in generator.integers(0, self.steps, min(self.rows, M - t * self.rows))] for t in range(tiles)
        ]

    def ports(self):
        """Values of the job's ports."""
        return {
            "enable_i": 1,
            "start_i": 0,
            "rows_i": self.M,
            "outputs_i": self.N,
            "group_chunks_i": self.group_chunks,
            "row_chunks_i": self.chunks,
            "tail_lanes_i": self.tail,
            "store_done_i": 0,
            "store_left_i": 0,
            "store_most_i": 0,
            "weight_valid_i": 0,
        }

    def golden(self):
        """Steps in order: half, address, works, filled, place (of step_t, as it stands there), rows, columns."""
        for tile, left in enumerate(self.left):
            for n in range(0, self.N, self.columns):
                for c in range(self.chunks):
                    begins, ends = c % self.group_chunks == 0, (c + 1) % self.group_chunks == 0
                    for s in reversed(range(max(left) + 1)):
                        works = pack([s <= own for own in left], 1)
                        filled = pack([not ends or 4 * g < self.tail for g in range(self.groups)], 1)
                        over = c == self.chunks - 1 and n + self.columns >= self.N
                        place = (s == max(left), s == 0, begins, ends, over)
                        size = (len(left), min(self.columns, self.N - n))
                        yield (tile % 2, c * self.steps + s, works, filled, *place, *size)

    async def store(self, pause):
        """Fills row tiles, two of them at a time; what it has read is there a cycle later."""
        dut, self.given, self.freed = self.dut, 0, 0
        told, most = [0, 0], [0, 0]
        while True:
            give = self.given < len(self.left) and self.given - self.freed < 2 and self.generator.random() >= pause
            if give:
                half = self.given % 2
                told[half], most[half] = pack(self.left[self.given], 3), max(self.left[self.given])
            dut.store_done_i.value = int(give)
            await RisingEdge(dut.clk_i)
            if give:  # the store's registers change with the end of the tile
                dut.store_left_i.value = pack(told, 3 * self.rows)
                dut.store_most_i.value = pack(most, 3)
                self.given += 1


@cocotb.test()
@cocotb.parametrize(
    pause=[0.0, 0.5], shape=[(1, 1, 1, 1), (3, 7, 2, 12), (8, 5, 1, 50), (7, 11, 3, 20), (4, 3, 1, 64), (13, 2, 4, 16)]
)
async def steps(dut, pause, shape):
    """Order and place of every step, with an array, a store and weights that take their time."""
    job = Job(dut, rng(dut), *shape)
    await start(dut, **job.ports())
    cocotb.start_soon(job.store(pause))
    dut.start_i.value = 1
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0
    reads, loads, fired, stalls = [], [], 0, 0
    want = list(job.golden())
    for _ in range(200 * len(want) + 200):
        await FallingEdge(dut.clk_i)
        dut.weight_valid_i.value = int(job.generator.random() >= pause)
        dut.enable_i.value = int(job.generator.random() >= pause)
        await RisingEdge(dut.clk_i)
        stalls += int(dut.wait_weight_o.value)
        assert not (dut.wait_weight_o.value and dut.weight_valid_i.value)
        if dut.op_valid_o.value and dut.enable_i.value:
            first, last, begins, ends, over = (int(dut.op_o.value) >> bit & 1 for bit in reversed(range(5)))
            step = (
                *loads.pop(0),
                first,
                last,
                begins,
                ends,
                over,
                int(dut.op_rows_o.value),
                int(dut.op_columns_o.value),
            )
            # rows that the tile has not are of no interest
            step = (*step[:2], step[2] & (1 << step[-2]) - 1, *step[3:])
            assert step == want[fired], (fired, step, want[fired])
            fired += 1
            if over and last:
                job.freed += 1
        if dut.load_o.value:
            loads.append((*reads.pop(0), int(dut.load_works_o.value), int(dut.load_filled_o.value)))
        if dut.store_re_o.value:
            reads.append((int(dut.store_half_o.value), int(dut.store_addr_o.value)))
        if fired == len(want):
            break
    assert fired == len(want)
    for _ in range(5):
        await RisingEdge(dut.clk_i)
        assert not dut.op_valid_o.value
    assert dut.idle_o.value
    assert not reads
    assert not loads
    assert bool(stalls) == bool(pause) or not pause or fired < 4
