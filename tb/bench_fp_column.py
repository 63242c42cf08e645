"""fp_column: groups of random, extreme, subnormal and special numbers against NumPy's float32, to the bit."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from ladder_model import column, pattern
from unit import pack, rng, start

SPECIAL = {
    False: [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00],
    True: [0x0000, 0x8000, 0x0001, 0x807F, 0x0080, 0x8080, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7FC1],
}


def draw(generator, case, size, bf16):
    """Numbers of one kind: like activations, any bits, near cancellation, or special ones."""
    bits = generator.integers(0, 1 << 16, size).astype(np.uint16)
    kind = case % 5
    if kind == 0:
        values = generator.standard_normal(size).astype(np.float32)
        return (values.view(np.uint32) >> 16).astype(np.uint16) if bf16 else values.astype(np.float16).view(np.uint16)
    if kind == 1:  # no infinity, no NaN
        top = 0x7F80 if bf16 else 0x7C00
        return np.where((bits & top) == top, bits & 0x83FF, bits).astype(np.uint16)
    if kind == 2:  # few exponents
        base = 0x3F00 if bf16 else 0x3800
        return (base | (bits & (0x80FF if bf16 else 0x87FF))).astype(np.uint16)
    if kind == 3:  # small: subnormal, or products that become so
        return (bits & (0x9FFF if bf16 else 0x87FF)).astype(np.uint16)
    return generator.choice(np.array(SPECIAL[bf16], np.uint16), size)


@cocotb.test()
async def groups(dut):
    """Three series of groups in turn, none pausing; a cycle that is held back changes nothing."""
    generator = rng(dut)
    lanes, bf16 = int(dut.Lanes.value), int(dut.ExpBits.value) == 8
    to_sum = 3 * (lanes.bit_length() - 1) + 1  # cycles from a chunk's own to its first in the accumulator
    await start(dut, enable_i=0, first_i=0)
    series = [[], [], []]  # of activations, weights, whether first of a group, and the sum
    for case in range(360):
        size = (int(generator.integers(1, 9)), lanes)
        a, w = draw(generator, case, size, bf16), draw(generator, case + case // 5, size, bf16)
        if case % 7 == 3:  # products cancel to zero, or to almost
            a[:, 1::2], w[:, 1::2] = a[:, 0::2], w[:, 0::2] ^ np.uint16(0x8000)
            w[:, -1] ^= np.uint16(case % 2)
        sums = pattern(column(a, w, bf16=bf16))
        series[case % 3] += [(pack(a[i], 16), pack(w[i], 16), i == 0, int(sums[i])) for i in range(size[0])]
    beats = [one for turn in zip(*series, strict=False) for one in turn]
    for cycle in range(len(beats) + to_sum + 3):
        while generator.random() < 0.1:
            dut.enable_i.value = 0
            dut.activations_i.value = int(generator.integers(0, 1 << 16))
            await RisingEdge(dut.clk_i)
        dut.enable_i.value = 1
        if cycle < len(beats):
            dut.activations_i.value, dut.weights_i.value = beats[cycle][:2]
        chunk = cycle - to_sum
        dut.first_i.value = int(0 <= chunk < len(beats) and beats[chunk][2])
        await RisingEdge(dut.clk_i)
        done = cycle - to_sum - 3  # what the accumulator showed before this edge
        if done >= 0:
            found, expected = int(dut.acc_o.value), beats[done][3]
            assert found == expected, f"chunk {done}: {found:08x}, expected {expected:08x}"
