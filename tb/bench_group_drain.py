"""group_drain: every row of every tile leaves once, in order, without its excess and its fraction, whatever waits."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from unit import Sink, pack, rng, start, unpack


class Array:
    """Complete sums as the array gives them: known a cycle ahead, there until the next ones, still while it stops."""

    def __init__(self, dut, generator, row_tiles):
        self.dut, self.generator = dut, generator
        self.rows, self.columns, self.steps, self.bits = (
            int(getattr(dut, n).value) for n in ("Rows", "Columns", "Steps", "AccBits")
        )
        self.left = generator.integers(0, self.steps, (row_tiles, self.rows))
        self.tiles = []
        for t in range(row_tiles):
            rows = self.rows if t < row_tiles - 1 else int(generator.integers(1, self.rows + 1))
            count = int(generator.integers(1, 4))
            self.tiles += [
                (t, rows, int(generator.integers(1, self.columns + 1)), i == count - 1) for i in range(count)
            ]
        self.acc = generator.integers(0, 1 << self.bits, (len(self.tiles), self.rows, self.columns))
        self.excess = generator.integers(0, 1 << self.bits, (len(self.tiles), self.rows))

    def golden(self):
        """Beats in order: (sums of the columns, TLAST)."""
        wrap = 1 << self.bits
        for i, (t, rows, columns, _) in enumerate(self.tiles):
            for r in range(rows):
                sums = (self.acc[i, r] - self.excess[i, r] + wrap // 2) % wrap - wrap // 2
                sums = sums >> self.steps - 1 - self.left[t, r]
                yield [*map(int, sums[:columns]), *[0] * (self.columns - columns)], int(r == rows - 1)

    async def run(self, gaps):
        """Give all tiles, with a gap before a share of them; the steps of two row tiles are known at a time."""
        dut, soon, there, given, released = self.dut, None, None, 0, 0
        while True:
            halves = [self.left[min(t, len(self.left) - 1)] for t in (released, released + 1)]
            if released % 2:
                halves.reverse()
            dut.left_i.value = pack(np.concatenate(halves), 3)
            dut.soon_i.value, dut.valid_i.value = int(soon is not None), int(there is not None)
            if there is not None:
                _, rows, columns, over = self.tiles[there]
                dut.acc_i.value = pack(self.acc[there].ravel(), self.bits)
                dut.excess_i.value = pack(self.excess[there], self.bits)
                dut.rows_i.value, dut.columns_i.value, dut.tile_end_i.value = rows, columns, int(over)
            await RisingEdge(dut.clk_i)
            released += int(dut.release_o.value)
            if dut.enable_o.value:
                there, soon = soon, None
                if given < len(self.tiles) and self.generator.random() >= gaps:
                    soon, given = given, given + 1
            elif there is None:
                raise AssertionError("the array was stopped for nothing")


@cocotb.test()
@cocotb.parametrize(gaps=[0.0, 0.3, 0.9], stall=[0.0, 0.3, 0.8])
async def rows(dut, gaps, stall):
    """Tiles one right behind the other and with gaps, to one who takes them at once or seldom."""
    array = Array(dut, rng(dut), 12)
    await start(dut, soon_i=0, valid_i=0, rows_i=0, columns_i=0, tile_end_i=0, left_i=0)
    assert dut.idle_o.value
    sink = Sink(dut, "acc_valid_o", "acc_ready_i", ["acc_data_o", "acc_last_o"], stall)
    cocotb.start_soon(array.run(gaps))
    want = list(array.golden())
    for i, (data, last) in enumerate(await sink.expect(len(want))):
        assert (unpack(data, 32, array.columns, signed=True), last) == want[i], i
    for _ in range(4):
        await FallingEdge(dut.clk_i)
    assert dut.idle_o.value
    assert len(sink.beats) == len(want)
