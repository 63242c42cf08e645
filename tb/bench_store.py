"""spike_store: what was written is read, chunk by chunk in and plane by plane out, half by half."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from unit import pack, rng, start


async def pulse(dut, name):
    """One cycle of a control."""
    getattr(dut, name).value = 1
    await RisingEdge(dut.clk_i)
    getattr(dut, name).value = 0
    await RisingEdge(dut.clk_i)


IDLE = dict.fromkeys(
    ("we_i", "low_we_i", "mask_we_i", "open_i", "end_i", "done_i", "release_i", "mask_re_i", "plane_re_i"), 0
)


class Tile:
    """A row tile of random planes, signs and masks."""

    def __init__(self, dut, generator):
        self.rows, self.lanes, self.slots, self.blocks = (
            int(getattr(dut, n).value) for n in ("Rows", "Lanes", "Slots", "Blocks")
        )
        self.csd = int(dut.Csd.value)
        self.planes = int(dut.Tmax.value) + self.csd
        self.generator = generator
        shape = (self.rows, self.blocks, self.slots)
        self.masks = generator.integers(0, 1 << self.planes, shape[:2])
        self.fire = generator.integers(0, 2, (*shape, self.planes, self.lanes))
        self.neg = generator.integers(0, 2, (*shape, (self.planes + 1) // 2 if self.csd else 1, self.lanes))

    def chunks(self):
        """Places, the slots of a block in any order, with whether one is the last."""
        places = [(r, b, int(s)) for r in range(self.rows) for b in range(self.blocks)
                  for s in self.generator.permutation(self.slots)]  # fmt: skip
        return [(place, i == len(places) - 1) for i, place in enumerate(places)]

    def upper(self, place, last):
        """Inputs that write a chunk but for its plane 0."""
        names = ("row_i", "block_i", "slot_i")
        return {
            "we_i": 1,
            **dict(zip(names, place, strict=True)),
            "neg_i": pack(self.neg[place].ravel(), 1),
            "end_i": int(last),
        }

    def low(self, place, last):
        """Inputs that write its plane 0, and the mask of its block."""
        names = ("low_row_i", "low_block_i", "low_slot_i")
        return {
            "low_we_i": 1,
            "mask_we_i": 1,
            **dict(zip(names, place, strict=True)),
            "mask_i": int(self.masks[place[:2]]),
            "done_i": int(last),
        }

    def planes_of(self, place):
        """All planes of a chunk."""
        return self.fire[place].copy()


async def write(dut, tile, upper, low_tile=None, low=None):
    """One cycle of writes: of a chunk's upper planes, of another's plane 0, or of both."""
    inputs, fire = {}, 0
    if upper is not None:
        inputs |= tile.upper(*upper)
        fire = tile.planes_of(upper[0])
    if low is not None:
        inputs |= low_tile.low(*low)
        fire = low_tile.planes_of(low[0]) if upper is None else fire
        fire[0] = low_tile.planes_of(low[0])[0]
    for name, value in ({"we_i": 0, "low_we_i": 0, "mask_we_i": 0, "end_i": 0, "done_i": 0} | inputs).items():
        getattr(dut, name).value = value
    dut.fire_i.value = pack(fire.ravel(), 1)
    await RisingEdge(dut.clk_i)
    for name in ("we_i", "low_we_i", "mask_we_i", "end_i", "done_i"):
        getattr(dut, name).value = 0


async def read(dut, tile, half):
    """Every plane and mask of a half, in any order; what was read stays until the next read."""
    generator = tile.generator
    for r, b in generator.permutation([(r, b) for r in range(tile.rows) for b in range(tile.blocks)]):
        for e in generator.permutation(tile.planes):
            dut.mask_re_i.value = dut.plane_re_i.value = 1
            dut.mask_half_i.value = dut.plane_half_i.value = half
            dut.mask_row_i.value = dut.plane_row_i.value = int(r)
            dut.mask_block_i.value = dut.plane_block_i.value = int(b)
            dut.plane_exponent_i.value = int(e)
            await RisingEdge(dut.clk_i)
            dut.mask_re_i.value = dut.plane_re_i.value = 0
            dut.plane_exponent_i.value = int(generator.integers(tile.planes))
            for _ in range(2):
                await RisingEdge(dut.clk_i)
                assert int(dut.fire_o.value) == pack(tile.fire[r, b][:, e].ravel(), 1)
                assert int(dut.neg_o.value) == pack(tile.neg[r, b][:, e // 2 if tile.csd else 0].ravel(), 1)
                assert int(dut.mask_o.value) == tile.masks[r, b]


@cocotb.test()
async def words(dut):
    """Row tiles into both halves; every plane and mask comes out, read independently, and stays until the next read."""
    generator = rng(dut)
    await start(dut, **IDLE)
    for number in range(4):
        tile = Tile(dut, generator)
        assert dut.ready_o.value
        await pulse(dut, "open_i")
        for chunk in tile.chunks():
            await write(dut, tile, chunk, tile, chunk)
        await read(dut, tile, number % 2)
        if number > 0:
            await pulse(dut, "release_i")


@cocotb.test()
async def late_planes(dut):
    """With Capped plane 0 and masks of a row tile come while the next one's other planes do."""
    if not int(dut.Capped.value):
        return
    generator = rng(dut)
    await start(dut, **IDLE)
    before = None
    for number in range(6):
        tile = Tile(dut, generator)
        while not dut.ready_o.value:
            await RisingEdge(dut.clk_i)
        await pulse(dut, "open_i")
        upper = [*tile.chunks()]
        low = [*before.chunks()] if before else []
        while upper or low:
            for_upper = upper.pop(0) if upper and (not low or generator.random() < 0.6) else None
            for_low = low.pop(0) if low and (for_upper is None or generator.random() < 0.5) else None
            await write(dut, tile, for_upper, before, for_low)
        if before:
            await read(dut, before, (number - 1) % 2)
            await pulse(dut, "release_i")
        before = tile


@cocotb.test()
async def halves(dut):
    """Two tiles fit; there is room again as soon as one is released; both at once change nothing."""
    await start(dut, **IDLE)
    held = 0
    for action in np.random.default_rng(1).choice(["open", "release", "both"], 200):
        if (
            (action != "release" and held == 2)
            or (action == "release" and held == 0)
            or (action == "both" and not held)
        ):
            continue
        dut.open_i.value = int(action in ("open", "both"))
        dut.release_i.value = int(action in ("release", "both"))
        held += {"open": 1, "release": -1, "both": 0}[action]
        await RisingEdge(dut.clk_i)
        dut.open_i.value = dut.release_i.value = 0
        await RisingEdge(dut.clk_i)
        assert bool(dut.ready_o.value) == (held < 2)
