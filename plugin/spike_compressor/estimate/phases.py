"""Time, power and energy of a phase on a chip: each layer waits for its arrays or for memory, whichever is slower."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil

from spike_compressor.errors import InputError
from spike_compressor.estimate.accelerator import Chip
from spike_compressor.estimate.organisations import Job, Organisation
from spike_compressor.estimate.work import DENSE_KINDS, Load, Plan, Work, weight_bits

#: Bits of an activation in the buffer: a membrane of the stream's narrow form.
MEMBRANE_BITS = 16
#: Bits of a sum.
SUM_BITS = 32
#: Products that the array for what does not spike finds work for.
SIDE_USE = 0.8


@dataclass
class Part:
    """What one kind of layer takes in a phase, all layers of the kind together. Seconds and joules.

    Attributes:
        seconds: of time; `array`, `dram`, `side` are those of each engine if it were alone.
        joules: by what takes it.
        bound: seconds by what the layers waited for.
    """

    seconds: float = 0.0
    array: float = 0.0
    dram: float = 0.0
    side: float = 0.0
    macs: float = 0.0
    dram_bytes: float = 0.0
    joules: dict[str, float] = field(default_factory=dict)
    bound: dict[str, float] = field(default_factory=dict)

    def add(self, other: Part) -> None:
        """Take another part in."""
        for name in ("seconds", "array", "dram", "side", "macs", "dram_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.joules, other.joules), (self.bound, other.bound)):
            for name, value in theirs.items():
                mine[name] = mine.get(name, 0.0) + value


@dataclass(frozen=True)
class Phase:
    """A phase on a chip.

    Attributes:
        parts: by kind of layer.
        tokens: that the phase reads or writes, of all sequences.
        static: seconds times static power, in J.
    """

    parts: Mapping[str, Part]
    tokens: int
    static: float

    @property
    def seconds(self) -> float:
        """Of time."""
        return sum(part.seconds for part in self.parts.values())

    @property
    def joules(self) -> float:
        """All energy, static power included."""
        return sum(sum(part.joules.values()) for part in self.parts.values()) + self.static

    @property
    def tokens_per_s(self) -> float:
        """Of all sequences."""
        return self.tokens / self.seconds

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds

    def energy_by(self) -> dict[str, float]:
        """J by what takes it."""
        total = Part()
        for part in self.parts.values():
            total.add(part)
        return {**total.joules, "static": self.static}

    def bound_by(self) -> dict[str, float]:
        """Share of the time that layers waited for each engine."""
        total = Part()
        for part in self.parts.values():
            total.add(part)
        return {name: value / total.seconds for name, value in sorted(total.bound.items())}


def phase(chip: Chip, plan: Plan, work: Iterable[Work], load: Load, tokens: int) -> Phase:
    """A phase's layers on a chip, one after the other.

    Args:
        chip: the accelerator.
        plan: how its layers spike.
        work: the phase's layers.
        load: what is asked, for the bits of what does not spike.
        tokens: that the phase reads or writes.
    """
    parts: dict[str, Part] = {}
    for one in work:
        found = _layer(chip, plan, one, load)
        parts.setdefault(one.linear.kind, Part()).add(found)
    seconds = sum(part.seconds for part in parts.values())
    return Phase(parts, tokens, seconds * chip.fields.static_w)


def _layer(chip: Chip, plan: Plan, work: Work, load: Load) -> Part:
    """All layers of one shape."""
    linear, rows = work.linear, work.all_rows
    bits = weight_bits(linear, chip.fields.weight_bits, load)
    weights = linear.inputs * linear.outputs * bits
    dram = (_dram_bits(chip, weights, rows, linear.inputs, linear.outputs) + work.cache_bits) / 8
    side_macs = work.attention_macs
    joules: dict[str, float] = {}
    array = sram = 0.0
    if linear.kind in DENSE_KINDS:
        side_macs += work.macs
        sram += weights + rows * (linear.inputs * MEMBRANE_BITS + linear.outputs * SUM_BITS)
    else:
        array, joules["array"], sram = _array(chip, plan, work, bits)
    joules["array for what does not spike"] = side_macs * chip.side_pj * 1e-12
    joules["buffer"] = (sram + work.cache_bits) * chip.sram_pj * 1e-12
    joules["DRAM"] = dram * 8 * chip.fields.dram.pj_per_bit * 1e-12
    times = {
        "array": array,
        "memory": dram / chip.dram_bytes_per_s,
        "array for what does not spike": side_macs / (chip.side_macs * chip.side_clock_hz * SIDE_USE),
    }
    # attention follows its layer: the two arrays do not overlap, memory does with both
    busy = times["array"] + times["array for what does not spike"]
    seconds = max(busy, times["memory"])
    slowest = "memory" if times["memory"] >= busy else max(times, key=lambda name: times[name] * (name != "memory"))
    n = linear.count
    return Part(
        n * seconds,
        n * times["array"],
        n * times["memory"],
        n * times["array for what does not spike"],
        n * (work.macs + work.attention_macs),
        n * dram,
        {name: n * value for name, value in joules.items()},
        {slowest: n * seconds},
    )


def _dram_bits(chip: Chip, weights: float, rows: int, inputs: int, outputs: int) -> float:
    """Bits to and from DRAM: weights once where activations wait in the buffer, else the cheaper of two orders."""
    room = chip.fields.sram.mib * 2**20 * 8 / 2
    read, written = rows * inputs * MEMBRANE_BITS, rows * outputs * MEMBRANE_BITS
    if read + written <= room:
        return float(weights)
    weights_outer = weights + read * ceil(weights / room) + written
    rows_outer = read + weights * ceil(read / room) + written
    return float(min(weights_outer, rows_outer))


@dataclass(frozen=True)
class Shared:
    """A layer shared out among cores.

    Attributes:
        cycles: of the core that has most to do.
        across, down: portions of outputs, and of rows.
        words, additions, macs: of all cores.
    """

    cycles: float
    across: int
    down: int
    words: float
    additions: float
    macs: float


@lru_cache(maxsize=1 << 16)
def shared_out(kind: Organisation, job: Job, cores: int) -> Shared:
    """A layer on so many cores: outputs and rows are cut into the portions that take least time."""
    tiles, row_tiles = ceil(job.outputs / kind.tile_outputs), ceil(job.rows / kind.tile_rows)
    best: tuple[float, int, int] | None = None
    # as many portions of outputs as give another size of the largest one
    for across in sorted({ceil(tiles / each) for each in range(1, tiles + 1)}):
        if across > cores:
            break
        down = min(cores // across, row_tiles)
        outputs = min(ceil(tiles / across) * kind.tile_outputs, job.outputs)
        share = min(1.0, ceil(row_tiles / down) * kind.tile_rows / job.rows)
        own = tuple((ceil(rows * share), spikes) for rows, spikes in job.mix)
        cycles = kind.cycles(Job(own, job.inputs, outputs, job.groups)).total
        if best is None or cycles < best[0]:
            best = cycles, across, down
    assert best is not None
    return Shared(*best, *kind.work(job))


def _array(chip: Chip, plan: Plan, work: Work, bits: int) -> tuple[float, float, float]:
    """Seconds and joules of one layer's cores, and bits that pass the buffer."""
    linear, kind = work.linear, chip.organisation
    mix = tuple((rows, plan.of(linear.kind, modality)) for modality, rows in work.rows.items())
    timesteps = max(spikes.timesteps for _, spikes in mix)
    if timesteps > chip.fields.max_timesteps:
        raise InputError(
            f"the plan has T = {timesteps} in {linear.kind}; {chip.fields.name} is built for up to "
            f"{chip.fields.max_timesteps} (max_timesteps)"
        )
    groups = ceil(linear.inputs / chip.fields.max_inputs)
    done = shared_out(kind, Job(mix, linear.inputs, linear.outputs, groups), chip.cores)
    busy = done.cycles * done.across * done.down
    events = {"cycle": busy, "word": done.words, "addition": done.additions, "mac": done.macs}
    joules = sum(chip.core.pj.get(event, 0.0) * count for event, count in events.items()) * 1e-12
    sram = ceil(work.all_rows / kind.tile_rows) * linear.inputs * linear.outputs * bits
    sram += work.all_rows * linear.inputs * MEMBRANE_BITS * done.across
    sram += work.all_rows * linear.outputs * SUM_BITS * (2 * groups - 1)  # parts of a sum are added up there
    return done.cycles / chip.clock_hz, joules, float(sram)
