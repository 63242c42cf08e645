"""spike_tiler: all tiles of a job, in order, with their true sizes."""

import cocotb
from cocotb.triggers import RisingEdge
from unit import rng, start


@cocotb.test()
@cocotb.parametrize(size=[(1, 1), (8, 16), (9, 17), (24, 47), (7, 33), (1, 100), (100, 1)])
async def tiles(dut, size):
    """Rows x columns of tiles; the last column tile of each row tile is marked; taken at a random pace, twice."""
    M, N = size
    generator = rng(dut)
    R, C = int(dut.Rows.value), int(dut.Columns.value)
    await start(dut, start_i=0, next_i=0, rows_i=M, outputs_i=N)
    for _ in range(2):
        assert not dut.valid_o.value
        dut.start_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.start_i.value = 0
        seen = []
        while True:
            take = generator.random() < 0.5
            dut.next_i.value = 0
            await RisingEdge(dut.clk_i)
            if not dut.valid_o.value:
                break
            if take:
                seen.append(
                    tuple(int(getattr(dut, n).value) for n in ("rows_o", "columns_o", "row_tile_last_o", "one_o"))
                )
                dut.next_i.value = 1
                await RisingEdge(dut.clk_i)
        want = [
            (min(R, M - m), min(C, N - n), int(n + C >= N), int(min(R, M - m) == 1))
            for m in range(0, M, R)
            for n in range(0, N, C)
        ]
        assert seen == want
