"""spike_walker: every plane of every row, block and tile, in order, with its place; empty rows are passed over."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge
from unit import pack, rng, start


class Bench:
    """A spike store full of random planes, and what the walker must make of it."""

    def __init__(self, dut, generator, M, N, groups, size, density):
        self.dut, self.generator = dut, generator
        names = ("Rows", "Columns", "Lanes", "Slots", "Tmax")
        self.rows, self.columns, self.lanes, self.slots, tmax = (int(getattr(dut, n).value) for n in names)
        self.planes = tmax + int(dut.Csd.value)
        self.M, self.N, self.groups = M, N, groups
        self.chunks = -(-size // self.lanes)
        self.group_blocks = -(-self.chunks // self.slots)
        self.blocks = groups * self.group_blocks
        self.tail = (self.chunks - 1) % self.slots + 1
        shape = (M, self.blocks, self.planes, self.slots, self.lanes)
        self.fire = generator.random(shape) < density * generator.random((M, self.blocks, self.planes, 1, 1))
        self.neg = generator.random(shape) < 0.5
        self.live = self.fire.copy()
        for b in range(self.group_blocks - 1, self.blocks, self.group_blocks):
            self.live[:, b, :, self.tail :] = False  # what stands beyond the tail is stale
        self.mask = self.live.any(axis=(3, 4))

    def job(self):
        """Values of the ports."""
        return {
            "start_i": 0,
            "rows_i": self.M,
            "outputs_i": self.N,
            "group_blocks_i": self.group_blocks,
            "row_blocks_i": self.blocks,
            "tail_chunks_i": self.tail,
            "store_done_i": 0,
            "bank_done_i": 0,
            "plane_take_i": 0,
        }

    def golden(self):
        """Planes in order: (tile, row, block, exponent, columns, bank, release, acc_first, acc_last, tile_last)."""
        bank = 0
        for tile, first in enumerate(range(0, self.M, self.rows)):
            rows = range(first, min(first + self.rows, self.M))
            for n in range(0, self.N, self.columns):
                for b in range(self.blocks):
                    begins, ends = b % self.group_blocks == 0, b % self.group_blocks == self.group_blocks - 1
                    for m in rows:
                        last = m == rows[-1]
                        some = self.mask[m, b]
                        if not (some.any() or begins or ends or last):
                            continue
                        for e in reversed(range(int(some.nonzero()[0].max(initial=0)) + 1)):
                            place = (begins, ends, last)
                            columns = min(self.columns, self.N - n)
                            yield tile, m, b, e, columns, bank % 2, last and e == 0, place
                    bank += 1

    async def store(self):
        """Answers the walker's reads one cycle later."""
        dut = self.dut
        tiles = -(-self.M // self.rows)
        given = 0
        released = 0
        while True:
            give = given < tiles and given - released < 2 and self.generator.random() < 0.2
            dut.store_done_i.value = int(give)
            await RisingEdge(dut.clk_i)
            given += give
            reads = {}
            for kind in ("mask", "plane"):
                if getattr(dut, f"{kind}_re_o").value:
                    half, row, block = (int(getattr(dut, f"{kind}_{n}_o").value) for n in ("half", "row", "block"))
                    reads[kind] = half, row, block
            exponent = int(dut.plane_exponent_o.value)
            free = bool(dut.store_release_o.value)
            for kind, (half, row, block) in reads.items():
                tile = released if released % 2 == half else released + 1
                assert tile < given, "a row tile is read before it is there"
                m = tile * self.rows + row
                if kind == "mask":
                    dut.mask_i.value = pack(self.mask[m, block], 1)
                else:
                    dut.fire_i.value = pack(self.fire[m, block, exponent].ravel(), 1)
                    dut.neg_i.value = pack(self.neg[m, block, exponent].ravel(), 1)
            released += free

    async def banks(self, count):
        """Hands out blocks of weights now and then."""
        for _ in range(count):
            while self.generator.random() < self.pause:
                self.dut.bank_done_i.value = 0
                await RisingEdge(self.dut.clk_i)
            while self.credit >= 2:
                self.dut.bank_done_i.value = 0
                await RisingEdge(self.dut.clk_i)
            self.dut.bank_done_i.value = 1
            self.credit += 1
            await RisingEdge(self.dut.clk_i)
        self.dut.bank_done_i.value = 0


@cocotb.test()
@cocotb.parametrize(
    pause=[0.0, 0.6],
    shape=[(1, 1, 1, 1, 1.0), (3, 7, 2, 13, 0.3), (8, 5, 1, 50, 0.02), (7, 11, 3, 20, 0.1), (4, 3, 1, 64, 0.0)],
)
async def planes(dut, pause, shape):
    """Order, content and place of every plane, with a consumer, a store and weights that take their time."""
    bench = Bench(dut, rng(dut), *shape)
    bench.pause, bench.credit = pause, 0
    await start(dut, **bench.job())
    passes = -(-bench.M // bench.rows) * -(-bench.N // bench.columns)
    tasks = [cocotb.start_soon(bench.store()), cocotb.start_soon(bench.banks(passes * bench.blocks))]
    dut.start_i.value = 1
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0
    for want in bench.golden():
        _, m, b, e, columns, bank, release, place = want
        for _ in range(2000):
            await FallingEdge(dut.clk_i)
            take = bool(dut.plane_valid_o.value) and bench.generator.random() >= pause
            dut.plane_take_i.value = int(take)
            if take:
                got = (
                    int(dut.plane_tile_row_o.value),
                    int(dut.plane_columns_o.value),
                    int(dut.plane_bank_o.value),
                    int(dut.plane_last_o.value),
                    int(dut.plane_release_o.value),
                    int(dut.plane_place_o.value),
                )
                bits = place[0] << 2 | place[1] << 1 | place[2]
                assert got == (m % bench.rows, columns, bank, int(e == 0), int(release), bits), want
                fire = bench.live[m, b, e]
                assert int(dut.plane_fire_o.value) == pack(fire.ravel(), 1), want
                neg = int(dut.plane_neg_o.value) & pack(fire.ravel(), 1)
                assert neg == pack((fire & bench.neg[m, b, e]).ravel(), 1), want
                bench.credit -= release
                break
        else:
            raise AssertionError(f"the plane {want} did not come")
    await RisingEdge(dut.clk_i)
    dut.plane_take_i.value = 0
    for _ in range(4):
        await RisingEdge(dut.clk_i)
    assert dut.idle_o.value
    for task in tasks:
        task.cancel()


@cocotb.test()
async def throughput(dut):
    """When nobody waits, a plane a cycle, across rows and blocks."""
    bench = Bench(dut, rng(dut), int(dut.Rows.value), 1, 1, 60, 0.5)
    bench.pause, bench.credit = 0.0, 0
    await start(dut, **bench.job())
    cocotb.start_soon(bench.store())
    cocotb.start_soon(bench.banks(bench.blocks))
    dut.start_i.value = 1
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0
    dut.plane_take_i.value = 1
    gaps, got, want = 0, 0, len(list(bench.golden()))
    for _ in range(100 * want):
        await RisingEdge(dut.clk_i)
        valid = bool(dut.plane_valid_o.value)
        bench.credit -= int(valid and bool(dut.plane_release_o.value))
        gaps += int(got > 0 and not valid)
        got += valid
        if got == want:
            break
    assert got == want
    assert gaps <= 2 * bench.blocks, f"{gaps} gaps in {want} planes"
