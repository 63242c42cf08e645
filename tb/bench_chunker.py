"""spike_chunker: all chunks of a row, in order, with what ends at each; row after row."""

import cocotb
from cocotb.triggers import RisingEdge
from unit import rng, start

NAMES = ("block_o", "slot_o", "first_block_o", "tail_block_o", "block_last_o", "group_last_o", "row_last_o")


@cocotb.test()
async def rows(dut):
    """Shapes of every kind, two rows of each, taken at a random pace."""
    generator = rng(dut)
    S, most = int(dut.Slots.value), int(dut.Blocks.value)
    await start(dut, start_i=0, next_i=0, group_blocks_i=1, row_blocks_i=1, tail_chunks_i=1)
    for group in (1, 2, 3, most):
        for groups in {1, 2, most // group} & set(range(1, most // group + 1)):
            for tail in {1, 2, S} & set(range(1, S + 1)):
                dut.group_blocks_i.value, dut.row_blocks_i.value, dut.tail_chunks_i.value = group, group * groups, tail
                want = []
                for b in range(group * groups):
                    first, last = b % group == 0, b % group == group - 1
                    chunks = tail if last else S
                    want += [
                        (b, s, first, last, s == chunks - 1, last and s == chunks - 1,
                         b == group * groups - 1 and s == chunks - 1)
                        for s in range(chunks)
                    ]  # fmt: skip
                dut.start_i.value = 1
                await RisingEdge(dut.clk_i)
                dut.start_i.value = 0
                seen = []
                while len(seen) < 2 * len(want):
                    dut.next_i.value = 0
                    await RisingEdge(dut.clk_i)
                    if generator.random() < 0.7:
                        seen.append(tuple(int(getattr(dut, name).value) for name in NAMES))
                        dut.next_i.value = 1
                        await RisingEdge(dut.clk_i)
                dut.next_i.value = 0
                assert seen == 2 * want, (group, groups, tail)
