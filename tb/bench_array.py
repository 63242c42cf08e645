"""spike_array: banks that are written and read, words in the pipeline, sums with the place of their own word."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from unit import pack, rng, start, unpack


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.4], stop=[0.0, 0.3])
async def words(dut, pause, stop):
    """Random words, back to back or with gaps, in an array that stops now and then; banks change halves on the way."""
    generator = rng(dut)
    names = ("Rows", "Columns", "Lanes", "Slots", "WeightBits", "HalfWidth")
    rows, columns, lanes, slots, bits, width = (int(getattr(dut, n).value) for n in names)
    base, slot_bits = 1 << bits - 1, max(1, (slots - 1).bit_length())
    await start(dut, enable_i=1, word_valid_i=0, bank_we_i=0)
    banks = np.zeros((2, slots, lanes, columns), int)

    async def load(half):
        banks[half] = generator.integers(-base, base, (slots, lanes, columns))
        for s in range(slots):
            for parts in (1, -2):  # odd and even lanes on their own
                dut.bank_we_i.value = (0x55555555 << (parts == 1)) & ((1 << lanes) - 1)
                dut.bank_addr_i.value = half * slots + s
                dut.bank_data_i.value = pack((banks[half, s] + base).ravel(), bits)
                await FallingEdge(dut.clk_i)
        dut.bank_we_i.value = 0

    seen, released = [], 0

    async def watch():
        nonlocal released
        while True:
            await RisingEdge(dut.clk_i)
            released += int(dut.bank_release_o.value)
            if dut.done_o.value and dut.enable_i.value:
                sums = unpack(int(dut.sums_o.value), width, columns, signed=True)
                seen.append((sums, *(int(getattr(dut, n).value) for n in ("row_o", "columns_o", "place_o"))))

    await FallingEdge(dut.clk_i)
    cocotb.start_soon(watch())
    want, frees = [], 0
    for group in range(40):
        half = group // 10 % 2
        if group % 10 == 0:
            dut.enable_i.value, dut.word_valid_i.value = 1, 0
            await load(half)
        total = np.zeros(columns, int)
        row, live, place = (
            int(generator.integers(rows)),
            int(generator.integers(1, columns + 1)),
            int(generator.integers(8)),
        )
        size = int(generator.integers(1, 6))
        for i in range(size):
            while generator.random() < pause:
                dut.word_valid_i.value = 0
                await FallingEdge(dut.clk_i)
            state = generator.choice([0, 1, 2], lanes)
            neg = generator.random(lanes) < 0.5
            slot = generator.integers(0, slots, lanes)
            shift = int(i > 0 and generator.random() < 0.4)
            picked = banks[half, slot, np.arange(lanes)]
            total = (total << shift) + ((np.where(neg, -1, 1) * state)[:, None] * picked).sum(axis=0)
            dut.word_valid_i.value = 1
            dut.word_lanes_i.value, dut.word_next_i.value = pack(state > 0, 1), pack(state == 1, 1)
            dut.word_neg_i.value, dut.word_slot_i.value = pack(neg, 1), pack(slot, slot_bits)
            dut.word_bank_i.value = half
            dut.word_first_i.value, dut.word_shift_i.value = int(i == 0), shift
            dut.word_last_i.value = int(i == size - 1)
            dut.word_release_i.value = int(i == size - 1 and group % 10 == 9)
            dut.word_row_i.value, dut.word_columns_i.value, dut.word_place_i.value = row, live, place
            while generator.random() < stop:
                dut.enable_i.value = 0
                await FallingEdge(dut.clk_i)
            dut.enable_i.value = 1
            await FallingEdge(dut.clk_i)
        frees += group % 10 == 9
        want.append((total.tolist(), row, live, place))
    dut.word_valid_i.value = 0
    for _ in range(7):
        await FallingEdge(dut.clk_i)
    assert seen == want
    assert released == frees
    assert dut.idle_o.value
