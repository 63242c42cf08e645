"""spike_picker: words that hold every spike of a row once, in its place, as few of them as the rule allows."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from cycle_model import words_of
from unit import pack, rng, start, unpack


@cocotb.test()
@cocotb.parametrize(pause=[(0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (0.3, 0.3)], density=[0.05, 0.3, 1.0])
async def rows(dut, pause, density):
    """Random rows; the words are added up with random weights and must give codes times weights."""
    generator = rng(dut)
    names = ("Rows", "Columns", "Lanes", "Slots")
    R, _, lanes, slots = (int(getattr(dut, n).value) for n in names)
    width = max(1, (slots - 1).bit_length())
    await start(dut, plane_valid_i=0, enable_i=0)
    weights = generator.integers(-100, 100, (slots, lanes))
    jobs = []
    for i in range(60):
        planes = int(generator.integers(1, 8))
        fire = generator.random((planes, slots, lanes)) < density * generator.random((planes, 1, 1))
        some = fire.any(axis=(1, 2))
        fire = fire[int(some.argmax()) if some.any() else -1 :]  # a row begins with its first plane that has a spike
        neg = generator.random(fire.shape) < 0.5
        tag = {
            "row": int(generator.integers(R)) if generator.random() < 0.8 or not jobs else jobs[-1][2]["row"],
            "columns": int(generator.integers(1, 4)),
            "place": int(generator.integers(8)),
            "bank": i % 2,
            "release": int(generator.random() < 0.5),
        }
        jobs.append((fire, neg, tag))

    async def feed():
        for fire, neg, tag in jobs:
            planes = len(fire)
            for p in range(planes):  # highest exponent first
                while generator.random() < pause[0]:
                    dut.plane_valid_i.value = 0
                    await FallingEdge(dut.clk_i)
                dut.plane_valid_i.value = 1
                dut.plane_fire_i.value = pack(fire[p].ravel(), 1)
                dut.plane_neg_i.value = pack(neg[p].ravel(), 1)
                dut.plane_last_i.value = int(p == planes - 1)
                dut.plane_release_i.value = int(p == planes - 1 and tag["release"])
                dut.plane_bank_i.value, dut.plane_row_i.value = tag["bank"], tag["row"]
                dut.plane_columns_i.value, dut.plane_place_i.value = tag["columns"], tag["place"]
                while True:
                    await RisingEdge(dut.clk_i)
                    took = bool(dut.plane_take_o.value)
                    await FallingEdge(dut.clk_i)
                    if took:
                        break
        dut.plane_valid_i.value = 0

    await FallingEdge(dut.clk_i)
    cocotb.start_soon(feed())
    before = False
    for number, (fire, neg, tag) in enumerate(jobs):
        signs = np.where(neg, -1, 1) * fire
        exponents = np.arange(len(fire))[::-1]
        want = int((signs * weights * (1 << exponents)[:, None, None]).sum())
        total, words, spikes = 0, 0, 0
        for _ in range(5000):
            await FallingEdge(dut.clk_i)
            enable = generator.random() >= pause[1]
            dut.enable_i.value = int(enable)
            await RisingEdge(dut.clk_i)
            if not dut.word_valid_o.value:
                before = before and not enable
                continue
            assert enable, "a word was given that nobody takes"
            words += 1
            assert bool(dut.word_first_o.value) == (words == 1), number
            total = 0 if dut.word_first_o.value else total << int(dut.word_shift_o.value)
            present, after, sign = (int(getattr(dut, f"word_{n}_o").value) for n in ("lanes", "next", "neg"))
            slot = unpack(int(dut.word_slot_o.value), width, lanes)
            for lane in range(lanes):
                if present >> lane & 1:
                    spikes += 1
                    value = int(weights[slot[lane], lane]) * (1 if after >> lane & 1 else 2)
                    total += -value if sign >> lane & 1 else value
            got = {
                "row": int(dut.word_row_o.value),
                "columns": int(dut.word_columns_o.value),
                "place": int(dut.word_place_o.value),
                "bank": int(dut.word_bank_o.value),
            }
            assert got == {key: tag[key] for key in got}
            last = bool(dut.word_last_o.value)
            if last:
                assert not before, "two sums in two cycles"
                before = True
                assert int(dut.word_release_o.value) == tag["release"]
                break
            before = False
            assert not dut.word_release_o.value
        else:
            raise AssertionError(f"row {number} did not end")
        assert total == 2 * want, number
        assert spikes == fire.sum(), number
        if not pause[0]:  # with planes that come late the lanes cannot run ahead
            assert words == max(words_of(fire.sum(axis=1)[None])[0], 1), number
    await RisingEdge(dut.clk_i)
    await RisingEdge(dut.clk_i)
    assert dut.idle_o.value
