"""spike_pe: sums of signed weights at every spike and exponent, back to back, against integers."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from unit import pack, rng, start


@cocotb.test()
@cocotb.parametrize(kind=["random", "extreme"])
async def sums(dut, kind):
    """Groups of operations in a pipeline with gaps; the accumulator after each group."""
    generator = rng(dut)
    lanes, bits, tmax = (int(getattr(dut, name).value) for name in ("Lanes", "WeightBits", "Tmax"))
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    await start(dut, sum_en_i=0, acc_en_i=0)
    expected, seen, pending, total = [], [], None, 0
    operations = []
    for _ in range(60):
        for i in range(size := int(generator.integers(1, 12))):
            operations.append((i == 0, i == size - 1))
    finished = False
    for first, last in [*operations, (None, None), (None, None)]:
        gap = first is None
        if kind == "extreme":
            spikes = np.full(lanes, generator.choice([-1, 1]))
            weights = np.full(lanes, generator.choice([low, high]))
            exponent = tmax
        else:
            spikes = generator.integers(-1, 2, lanes)
            weights = generator.integers(low, high + 1, lanes)
            exponent = int(generator.integers(0, tmax + 1))
        dut.sum_en_i.value = int(not gap)
        dut.spikes_i.value = pack(spikes, 2)
        dut.weights_i.value = pack(weights, bits)
        dut.acc_en_i.value = int(pending is not None)
        if pending is not None:
            dut.first_i.value, dut.exponent_i.value = int(pending[0]), pending[2]
        await RisingEdge(dut.clk_i)
        if finished:
            seen.append(dut.acc_o.value.to_signed())
        finished = pending is not None and pending[1]
        if gap:
            pending = None
            continue
        pending = (first, last, exponent)
        total = (0 if first else total) + int(np.dot(spikes, weights)) * 2**exponent
        if last:
            expected.append(total)
    await RisingEdge(dut.clk_i)
    if finished:
        seen.append(dut.acc_o.value.to_signed())
    assert len(expected) == 60
    assert seen == expected, next((i, e, s) for i, (e, s) in enumerate(zip(expected, seen, strict=False)) if e != s)
