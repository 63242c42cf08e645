"""A service on many chips: tensor parallel over links, batches, and what a million tokens cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil, log2

from spike_compressor.errors import InputError
from spike_compressor.estimate.accelerator import Chip
from spike_compressor.estimate.models import Linear, ModelFields
from spike_compressor.estimate.phases import Phase, phase
from spike_compressor.estimate.work import Load, Plan, Work, cache_bytes, decode, prefill, weight_bytes

#: Share of DRAM that weights and caches may fill.
FILLED = 0.9
#: Bits of what chips add up between them.
REDUCED_BITS = 16
SECONDS_A_DAY = 86400


@dataclass(frozen=True)
class Prices:
    """What a service costs beside its chips' energy. All assumed; see docs/hardware.md.

    Attributes:
        chip_usd: a chip with its memory, and its share of board, host and network.
        years: that it is written off in.
        kwh_usd: electricity.
        pue: what the building takes, over what its machines take.
        busy: share of the day's capacity that is used.
    """

    chip_usd: float = 5000.0
    years: float = 4.0
    kwh_usd: float = 0.08
    pue: float = 1.3
    busy: float = 0.6


@dataclass(frozen=True)
class Group:
    """Chips that hold one model together.

    Attributes:
        chips: how many.
        batch: sequences at once.
        prefill, decode: of one chip; all do the same.
        prefill_link, decode_link: seconds in which chips wait for links.
        load: what is asked.
        link_joules: of a whole batch of requests, all chips.
    """

    chips: int
    batch: int
    prefill: Phase
    decode: Phase
    prefill_link: float
    decode_link: float
    load: Load
    link_joules: float

    @property
    def step(self) -> float:
        """Seconds of one token of every sequence."""
        return self.decode.seconds + self.decode_link

    @property
    def seconds(self) -> float:
        """Of a batch of requests, prompts and answers."""
        return self.prefill.seconds + self.prefill_link + self.load.new_tokens * self.step

    @property
    def tokens_per_s(self) -> float:
        """Of answers, prompts in the account."""
        return self.batch * self.load.new_tokens / self.seconds

    @property
    def joules_per_token(self) -> float:
        """Of answers, prompts in the account, all chips."""
        once = self.prefill.joules + self.load.new_tokens * self.decode.joules
        return (self.chips * once + self.link_joules) / (self.batch * self.load.new_tokens)

    @property
    def link_share(self) -> float:
        """Of a decode step."""
        return self.decode_link / self.step


def split(work: Iterable[Work], chips: int, kv_heads: int) -> Iterator[Work]:
    """One chip's part: a layer that widens is cut by outputs, one that narrows by inputs; heads are shared out."""
    for one in work:
        linear = one.linear
        if linear.outputs >= linear.inputs and linear.kind != "o":
            own = replace(linear, outputs=ceil(linear.outputs / chips))
        else:
            own = replace(linear, inputs=ceil(linear.inputs / chips))
        yield replace(
            one,
            linear=own,
            attention_macs=one.attention_macs / chips,
            cache_bits=one.cache_bits / min(chips, kv_heads),
        )


def group(chip: Chip, model: ModelFields, plan: Plan, load: Load, chips: int) -> Group:
    """A batch on chips that hold a model together.

    Raises:
        InputError: weights and caches do not fit their memory.
    """
    needed = weight_bytes(model, chip.fields.weight_bits, load) + cache_bytes(model, load)
    room = chips * chip.fields.dram.gib * 2**30 * FILLED
    if needed > room:
        raise InputError(
            f"{model.name} with {load.batch} sequences takes {needed / 2**30:.0f} GiB; {chips} x "
            f"{chip.fields.dram.gib:g} GiB hold {room / 2**30:.0f}"
        )
    heads = model.decoder.kv_heads
    first, step = list(prefill(model, load)), list(decode(model, load))
    reduced_first, reduced_step = _reduced(first), _reduced(step)
    return Group(
        chips,
        load.batch,
        phase(chip, plan, split(first, chips, heads), load, load.prompt * load.batch),
        phase(chip, plan, split(step, chips, heads), load, load.batch),
        _link_seconds(chip, chips, *reduced_first),
        _link_seconds(chip, chips, *reduced_step),
        load,
        _link_bits(chips, reduced_first[0] + load.new_tokens * reduced_step[0]) * chip.fields.link.pj_per_bit * 1e-12,
    )


def _reduced(work: Iterable[Work]) -> tuple[float, int]:
    """Bits that are added up over chips, and how many times: where a layer is cut by inputs."""
    bits, times = 0.0, 0
    for one in work:
        if _cut_by_inputs(one.linear):
            bits += float(one.all_rows) * one.linear.outputs * REDUCED_BITS * one.linear.count
            times += one.linear.count
    return bits, times


def _cut_by_inputs(linear: Linear) -> bool:
    return linear.outputs < linear.inputs or linear.kind == "o"


def _link_bits(chips: int, bits: float) -> float:
    """Bits that leave all chips while they add up: a ring of all-reduce."""
    return 2 * (chips - 1) * bits


def _link_seconds(chip: Chip, chips: int, bits: float, times: int) -> float:
    if chips == 1:
        return 0.0
    link = chip.fields.link
    each = _link_bits(chips, bits) / chips / 8 / (link.gb_per_s * 1e9)
    return each + times * 2 * ceil(log2(chips)) * link.us * 1e-6


def largest_batch(chip: Chip, model: ModelFields, plan: Plan, load: Load, chips: int, step_ms: float) -> Group | None:
    """The group with the largest batch, in powers of two, that fits and gives each sequence a token in time.

    Returns:
        None if not even one sequence does.
    """
    best, batch = None, 1
    while batch <= 1024:
        try:
            found = group(chip, model, plan, replace(load, batch=batch), chips)
        except InputError:
            break
        if found.step * 1e3 > step_ms:
            break
        best, batch = found, 2 * batch
    return best


@dataclass(frozen=True)
class Fleet:
    """Groups for a day's tokens.

    Attributes:
        groups: how many.
        chips: of all groups.
        watts: mean, the building in.
        kwh_a_day: likewise.
        energy_usd, chips_usd: of a million tokens.
    """

    groups: int
    chips: int
    watts: float
    kwh_a_day: float
    energy_usd: float
    chips_usd: float

    @property
    def usd(self) -> float:
        """Of a million tokens."""
        return self.energy_usd + self.chips_usd


def fleet(one: Group, tokens_a_day: float, prices: Prices) -> Fleet:
    """What it takes to answer so many tokens a day."""
    groups = ceil(tokens_a_day / SECONDS_A_DAY / (one.tokens_per_s * prices.busy))
    chips = groups * one.chips
    kwh = tokens_a_day * one.joules_per_token / 3.6e6 * prices.pue
    idle_usd = chips * prices.chip_usd / (prices.years * 365)
    return Fleet(
        groups,
        chips,
        kwh * 1000 / 24,
        kwh,
        kwh * prices.kwh_usd / tokens_a_day * 1e6,
        idle_usd / tokens_a_day * 1e6,
    )
