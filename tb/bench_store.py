"""spike_store: what was written is read, row by row in and all rows out, and data stays until the next read."""

import cocotb
from cocotb.triggers import RisingEdge
from unit import pack, rng, start, unpack


@cocotb.test()
async def words(dut):
    """Random writes, then every word and mask; masks and planes are read independently."""
    generator = rng(dut)
    rows, lanes, chunks = int(dut.Rows.value), int(dut.Lanes.value), int(dut.Chunks.value)
    planes = int(dut.Tmax.value) + 1
    await start(dut, we_i=0, mask_we_i=0, mask_re_i=0, plane_re_i=0)
    model, masks = {}, {}
    for r in range(rows):
        for c in range(chunks):
            masks[r, c] = int(generator.integers(0, 1 << planes))
            for e in reversed(range(planes)):
                model[r, c, e] = pack(generator.choice([0, 1, 3], lanes), 2)
                dut.we_i.value, dut.mask_we_i.value = 1, int(e == 0)
                dut.row_i.value, dut.chunk_i.value, dut.exponent_i.value = r, c, e
                dut.spikes_i.value, dut.mask_i.value = model[r, c, e], masks[r, c]
                await RisingEdge(dut.clk_i)
    dut.we_i.value = dut.mask_we_i.value = 0
    held = None
    for c in generator.permutation(chunks):
        for e in generator.permutation(planes):
            dut.mask_re_i.value = dut.plane_re_i.value = 1
            dut.mask_chunk_i.value = dut.plane_chunk_i.value = int(c)
            dut.plane_exponent_i.value = int(e)
            await RisingEdge(dut.clk_i)
            if held is not None:
                assert int(dut.spikes_o.value) == held, "read data changed before the next read took effect"
            dut.mask_re_i.value = dut.plane_re_i.value = 0
            dut.plane_exponent_i.value = int(generator.integers(planes))
            for _ in range(2):
                await RisingEdge(dut.clk_i)
                words = unpack(int(dut.spikes_o.value), 2 * lanes, rows)
                assert words == [model[r, c, e] for r in range(rows)]
                assert unpack(int(dut.masks_o.value), planes, rows) == [masks[r, c] for r in range(rows)]
            held = int(dut.spikes_o.value)
