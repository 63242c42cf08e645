"""spike_weight_loader: every weight into its lane, slot and half, at full pace; TLAST and range errors are reported."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from unit import Source, pack, reset, rng, start, total, unpack


class Loader:
    """A job for the loader, and a model of the banks that it writes."""

    def __init__(self, dut, generator, M, N, groups, size):
        self.dut, self.generator = dut, generator
        names = ("Rows", "Columns", "Lanes", "Slots", "WeightInputs", "WeightBits")
        self.rows, self.columns, self.lanes, self.slots, self.inputs, self.bits = (
            int(getattr(dut, name).value) for name in names
        )
        self.M, self.N, self.groups, self.size = M, N, groups, size
        self.chunks = -(-size // self.lanes)
        self.blocks = -(-self.chunks // self.slots)
        self.passes = -(-M // self.rows) * -(-N // self.columns)
        half = 1 << self.bits - 1
        shape = (self.passes, groups, self.chunks, self.lanes, self.columns)
        self.weights = generator.integers(-half, half, shape)

    def job(self):
        """Values of the job ports."""
        return {
            "start_i": 0,
            "rows_i": self.M,
            "outputs_i": self.N,
            "group_blocks_i": self.blocks,
            "row_blocks_i": self.blocks * self.groups,
            "tail_chunks_i": (self.chunks - 1) % self.slots + 1,
            "tail_lanes_i": (self.size - 1) % self.lanes + 1,
            "weight_valid_i": 0,
            "bank_release_i": 0,
        }

    def beats(self):
        """The stream: [data, last]."""
        out = []
        for tile in self.weights:
            flat = tile.reshape(-1, self.inputs, self.columns)
            out += [[pack(beat.ravel(), 8), int(i == len(flat) - 1)] for i, beat in enumerate(flat)]
        return out

    def golden(self):
        """Blocks in order: [chunks, lanes, columns]."""
        for tile in self.weights:
            for group in tile:
                for b in range(self.blocks):
                    yield group[b * self.slots : (b + 1) * self.slots]

    async def go(self):
        """Start the job."""
        self.dut.start_i.value = 1
        await RisingEdge(self.dut.clk_i)
        self.dut.start_i.value = 0

    async def watch(self, pause, errors):
        """Write a model of the banks, compare each block when it is done, release it after a while."""
        dut, half, held = self.dut, 0, 0
        bank = np.zeros((2, self.slots, self.lanes, self.columns), int)
        want = list(self.golden())
        seen = 0
        while seen < len(want) or held:
            await FallingEdge(dut.clk_i)
            release = held and self.generator.random() >= pause
            dut.bank_release_i.value = int(bool(release))
            await RisingEdge(dut.clk_i)
            held -= bool(release)
            errors["last"] += int(dut.error_last_o.value)
            errors["range"] += int(dut.error_range_o.value)
            address, we = int(dut.bank_addr_o.value), int(dut.bank_we_o.value)
            if we:
                data = unpack(int(dut.bank_data_o.value), self.bits, self.lanes * self.columns)
                data = np.array(data).reshape(self.lanes, self.columns) - (1 << self.bits - 1)
                for lane in range(self.lanes):
                    if we >> lane & 1:
                        assert address // self.slots == half
                        bank[half, address % self.slots, lane] = data[lane]
            if dut.bank_done_o.value:
                block = want[seen]
                np.testing.assert_array_equal(bank[half, : len(block)], block, f"block {seen}")
                seen, half, held = seen + 1, 1 - half, held + 1
                assert held <= 2, "a third block was loaded while two are in use"
        dut.bank_release_i.value = 0
        await RisingEdge(dut.clk_i)
        assert dut.idle_o.value


@cocotb.test()
@cocotb.parametrize(
    pace=[(0.0, 0.0), (0.5, 0.0), (0.0, 0.9)], shape=[(1, 1, 1, 1), (3, 7, 2, 13), (9, 3, 1, 80), (2, 5, 3, 33)]
)
async def order(dut, pace, shape):
    """Blocks arrive whole, in order, in alternating halves, and nothing is reported."""
    loader = Loader(dut, rng(dut), *shape)
    await start(dut, **loader.job())
    source = Source(dut, "weight_valid_i", "weight_ready_o", ["weight_data_i", "weight_last_i"], pace[0])
    cocotb.start_soon(source.send(loader.beats()))
    await loader.go()
    errors = {"last": 0, "range": 0}
    await loader.watch(pace[1], errors)
    assert errors == {"last": 0, "range": 0}


@cocotb.test()
async def misplaced_last(dut):
    """TLAST missing, too early, or on a beat inside a chunk: each reported."""
    loader = Loader(dut, rng(dut), 1, 3 * int(dut.Columns.value), 1, 20)
    beats = loader.beats()
    per_pass = len(beats) // 3
    beats[per_pass - 1][1] = 0
    beats[per_pass][1] = 1
    beats[2 * per_pass + 1][1] = 1
    await start(dut, **loader.job())
    source = Source(dut, "weight_valid_i", "weight_ready_o", ["weight_data_i", "weight_last_i"], 0.2)
    cocotb.start_soon(source.send(beats))
    await loader.go()
    errors = {"last": 0, "range": 0}
    await loader.watch(0.2, errors)
    assert errors == {"last": 3, "range": 0}


@cocotb.test()
async def out_of_range(dut):
    """A weight that does not fit is reported where it counts, and ignored in the padding."""
    lanes, columns, bits = (int(getattr(dut, n).value) for n in ("Lanes", "Columns", "WeightBits"))
    await start(dut, start_i=0)
    for place, counts in (
        ((0, 0, 0, 0, 0), True),
        ((0, 0, 0, lanes - 1, 0), True),
        ((0, 0, 1, 0, columns - 1), columns == 1),  # one column less than the tile has
        ((0, 0, 1, lanes - 1, 0), False),  # one input less than the chunk has
        ((0, 0, 1, lanes - 2, 0), True),
    ):
        loader = Loader(dut, rng(dut), 1, max(columns - 1, 1), 1, 2 * lanes - 1)
        for value in (127, -128):
            loader.weights[:] = 0
            flat = loader.beats()
            loader.weights[place] = value
            beats = loader.beats()
            assert beats != flat
            await reset(dut, **loader.job())
            seen: dict[str, int] = {}
            task = cocotb.start_soon(total(dut, "error_range_o", seen))
            source = Source(dut, "weight_valid_i", "weight_ready_o", ["weight_data_i", "weight_last_i"], 0.0)
            cocotb.start_soon(source.send(beats))
            await loader.go()
            await RisingEdge(dut.clk_i)
            while not dut.idle_o.value:
                await RisingEdge(dut.clk_i)
            task.cancel()
            assert seen["error_range_o"] == int(counts and bits < 8), (place, value)


@cocotb.test()
async def throughput(dut):
    """With a patient stream and banks that are released at once, every cycle takes a beat."""
    loader = Loader(dut, rng(dut), 1, 4 * int(dut.Columns.value), 1, 64)
    await start(dut, **loader.job())
    source = Source(dut, "weight_valid_i", "weight_ready_o", ["weight_data_i", "weight_last_i"], 0.0)
    beats = loader.beats()
    cocotb.start_soon(source.send(beats))
    await loader.go()
    task = cocotb.start_soon(loader.watch(0.0, {"last": 0, "range": 0}))
    cycles = 0
    while not dut.idle_o.value or cycles == 0:
        await RisingEdge(dut.clk_i)
        cycles += 1
    assert cycles <= len(beats) + 8, f"{cycles} cycles for {len(beats)} beats"
    await task
