"""group_column: chunks of steps against plain integers, one right behind the other and with pauses."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from group_model import accumulated, excess, picks, random_spikes, step_sums
from unit import pack, rng, start


@cocotb.test()
async def planes(dut):
    """With `Dual`: chunks of TC-LIF, an input of each group after the other, plane by plane; the highest ones first."""
    if len(dut.fresh_i) == 1:
        return
    generator = rng(dut)
    groups, bits, most = int(dut.Groups.value), int(dut.WeightBits.value), int(dut.Steps.value)
    half, width, planes = 1 << bits - 1, int(dut.AccWidth.value), most - 3
    names = ("tree_en_i", "sum_en_i", "step_en_i", "first_i", "flush_i", "fresh_i")
    await start(dut, enable_i=1, **dict.fromkeys(names, 0))
    for case in range(6):
        count = int(generator.integers(1, 4))
        codes = generator.integers(-(1 << planes) + 1, 1 << planes, (count, groups, 4))
        weights = generator.integers(-half, half, (count, groups, 4))
        if case == 0:  # the largest sums there are
            codes[:], weights[:] = (1 << planes) - 1, half - 1
        spikes = np.zeros((count, planes, 4, groups, 4), np.int8)
        for p in range(planes):
            for j in range(4):
                spikes[:, p, j, :, j] = np.sign(codes[..., j]) * (np.abs(codes[..., j]) >> (planes - 1 - p) & 1)
        steps = spikes.reshape(count, 4 * planes, groups, 4)
        flat = [(c, s) for c in range(count) for s in range(4 * planes)]
        for cycle in range(len(flat) + 3):
            tree, total, step, flush = (flat[cycle - d] if 0 <= cycle - d < len(flat) else None for d in range(4))
            last = flush is not None and flush[1] == 4 * planes - 1
            dut.tree_en_i.value, dut.sum_en_i.value = int(tree is not None), int(total is not None)
            dut.step_en_i.value = int(step is not None)
            dut.first_i.value = int(step is not None and step[1] == 0)
            dut.flush_i.value = int(last)
            plain = 2 + int(step is not None and step[1] % 4 == 0)
            dut.fresh_i.value = int(flush[0] == 0) if last else plain
            if tree is not None:
                pick, neg = picks(steps[tree])
                dut.pick_i.value, dut.neg_i.value = pack(pick, 4), pack(neg, 1)
                dut.weights_i.value = pack((weights[tree[0]] + half).reshape(-1), bits)
            await RisingEdge(dut.clk_i)
        for name in names:
            getattr(dut, name).value = 0
        await RisingEdge(dut.clk_i)
        worth = 2 ** (planes - 1 - np.arange(planes))[:, None]
        added = step_sums(spikes, weights[:, None, None], bits)
        acc = int(dut.acc_o.value)
        assert acc == (int((added * worth).sum()) << (most - 1)) % (1 << width), case
        too_much = int((excess(spikes, bits) * worth).sum())
        assert (acc - (too_much + int((codes * weights).sum()) << (most - 1))) % (1 << width) == 0, case


@cocotb.test()
async def chunks(dut):
    """Rows of chunks, random and extreme, of any number of steps; a cycle without enable changes nothing."""
    generator = rng(dut)
    groups, bits, most = int(dut.Groups.value), int(dut.WeightBits.value), int(dut.Steps.value)
    half, width = 1 << bits - 1, int(dut.AccWidth.value)
    names = ("tree_en_i", "sum_en_i", "step_en_i", "first_i", "flush_i", "fresh_i")
    await start(dut, enable_i=1, **dict.fromkeys(names, 0))
    for case in range(12):
        steps, count = int(generator.integers(1, most + 1)), int(generator.integers(1, 4))
        pause = 0.3 * (case % 2)
        spikes = np.stack([random_spikes(generator, steps, groups) for _ in range(count)])
        weights = generator.integers(-half, half, (count, groups, 4))
        if case % 5 == 0:  # the largest sums there are
            spikes = np.abs(random_spikes(generator, count * steps, groups, 1.0)).reshape(spikes.shape)
            weights[:] = half - 1
        sums = step_sums(spikes, weights[:, None], bits)
        # every step goes through three stages; behind the last of a chunk comes its flush
        waiting = [{"chunk": c, "step": t} for c in range(count) for t in range(steps)]
        stages: list[dict | None] = [None, None, None, None]
        while waiting or any(stages):
            if generator.random() < pause:
                dut.enable_i.value = 0
                await RisingEdge(dut.clk_i)
            dut.enable_i.value = 1
            taken = waiting.pop(0) if waiting and generator.random() >= pause else None
            stages = [taken, *stages[:3]]
            tree, total, step, flush = stages
            dut.tree_en_i.value = int(tree is not None)
            dut.sum_en_i.value = int(total is not None)
            dut.step_en_i.value = int(step is not None)
            dut.first_i.value = int(step is not None and step["step"] == 0)
            dut.flush_i.value = int(flush is not None and flush["step"] == steps - 1)
            dut.fresh_i.value = int(flush is not None and flush["chunk"] == 0)
            if tree is not None:
                pick, neg = picks(spikes[tree["chunk"], tree["step"]])
                dut.pick_i.value, dut.neg_i.value = pack(pick, 4), pack(neg, 1)
                dut.weights_i.value = pack((weights[tree["chunk"]] + half).reshape(-1), bits)
            await RisingEdge(dut.clk_i)
        for name in names:
            getattr(dut, name).value = 0
        await RisingEdge(dut.clk_i)
        acc = int(dut.acc_o.value)
        assert acc == accumulated(sums, most) % (1 << width), (case, steps, count)
        # what it is about: the picked weights, once what it adds too much is taken away
        codes = np.tensordot(spikes, 3 ** (steps - 1 - np.arange(steps)) * 2 ** np.arange(steps), ([1], [0]))
        true = int((codes * weights).sum()) << (most - steps)
        assert (acc - accumulated(excess(spikes, bits), most) - true) % (1 << width) == 0, case
