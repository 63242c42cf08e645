"""group_array: sums of chunks of steps in all rows and columns are those of picked weights, whatever pauses."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from group_model import picks, random_spikes, step_weights
from unit import pack, rng, start, unpack


def word(spikes):
    """What groups do, 4 bits each, of spikes int8 [groups, 4]."""
    pick, neg = picks(spikes)
    return [8 | 4 * int(n) | int(p).bit_length() - 1 if p else 0 for p, n in zip(pick, neg, strict=True)]


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.4])
async def tiles(dut, pause):
    """Rows of different steps, chunks of several scale groups, the last one part full; each sum is there once."""
    generator = rng(dut)
    names = ("Rows", "Columns", "Groups", "WeightBits", "Steps", "AccBits")
    rows, columns, groups, bits, most, width = (int(getattr(dut, n).value) for n in names)
    await start(dut, enable_i=1, load_i=0, op_valid_i=0)
    waiting, want = [], []
    for _ in range(12):
        own = generator.integers(1, most + 1, rows)
        count, end = int(generator.integers(1, 4)), int(generator.integers(2))
        size, used = int(generator.integers(1, rows + 1)), int(generator.integers(1, columns + 1))
        true = np.zeros((rows, columns), np.int64)
        for c in range(count):
            filled = generator.random(groups) < 0.8 if c == count - 1 else np.ones(groups, bool)
            weights = generator.integers(-(1 << bits - 1), 1 << bits - 1, (groups, 4, columns))
            spikes = np.stack([random_spikes(generator, own.max(), groups) for _ in range(rows)])
            for s in reversed(range(own.max())):  # steps that follow
                works = own > s
                flags = (s == own.max() - 1, s == 0, c == 0, c == count - 1, end)
                waiting.append((spikes[:, s], works, filled, weights, pack(reversed(flags), 1), size, used))
                for r in np.flatnonzero(works):
                    fired = (spikes[r, s] * filled[:, None])[..., None]
                    # the steps of a row weigh what follows them says, with the fraction of the longest row there can be
                    worth = int(step_weights(most)[most - 1 - s])
                    true[r] += worth * (fired * weights).sum((0, 1))
        want.append((true, size, used, end))
    seen, loaded = 0, None
    for _ in range(40 * len(waiting)):
        enable = generator.random() >= pause
        valid = loaded is not None and generator.random() >= pause
        take = bool(waiting) and (loaded is None or (valid and enable))
        dut.enable_i.value, dut.op_valid_i.value, dut.load_i.value = int(enable), int(valid), int(take)
        if loaded is not None:
            _, _, _, weights, flags, size, used = loaded
            dut.op_i.value, dut.op_rows_i.value, dut.op_columns_i.value = flags, size, used
            dut.weights_i.value = pack((weights + (1 << bits - 1)).ravel(), bits)
        if take:
            spikes, works, filled, *_ = waiting[0]
            dut.spikes_i.value = pack([field for row in spikes for field in word(row)], 4)
            dut.load_works_i.value, dut.load_filled_i.value = pack(works, 1), pack(filled, 1)
        await RisingEdge(dut.clk_i)
        if dut.valid_o.value and enable:
            true, size, used, end = want[seen]
            acc = np.array(unpack(int(dut.acc_o.value), width, rows * columns)).reshape(rows, columns)
            excess = np.array(unpack(int(dut.excess_o.value), width, rows))
            assert ((acc - excess[:, None] - true) % (1 << width) == 0).all(), seen
            assert (int(dut.rows_o.value), int(dut.columns_o.value), int(dut.tile_end_o.value)) == (size, used, end)
            seen += 1
        if take:
            loaded = waiting.pop(0)
        elif valid and enable:
            loaded = None
        if seen == len(want):
            break
    assert seen == len(want)
    dut.op_valid_i.value, dut.enable_i.value = 0, 1
    for _ in range(5):
        await RisingEdge(dut.clk_i)
    assert dut.idle_o.value
