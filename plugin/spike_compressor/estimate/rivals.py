"""What spikes stand against: GPUs at their rooflines, and dense arrays of the ladder on a chip of the same area."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from spike_compressor.errors import InputError
from spike_compressor.estimate.accelerator import AROUND, Chip, constants
from spike_compressor.estimate.names import DATA
from spike_compressor.estimate.organisations import make
from spike_compressor.estimate.technology import Core, synthesis
from spike_compressor.estimate.work import Load, Work, weight_bits
from spike_compressor.yaml_files import read_yaml


@dataclass(frozen=True)
class Format:
    """What a GPU computes in.

    Attributes:
        weight_bits: of Linears but `lm_head`, which has as many as activations or, with integer weights, 8.
        activation_bits: of what it writes and reads.
        kv_bits: of keys and values.
        rate: which of the published rates counts.
    """

    weight_bits: int
    activation_bits: int
    kv_bits: int
    head_bits: int
    rate: str


FORMATS: Mapping[str, Format] = {
    "FP16": Format(16, 16, 16, 16, "fp16"),
    "INT8": Format(8, 8, 8, 8, "int8"),
    "W4A16": Format(4, 16, 8, 8, "fp16"),
}


@dataclass(frozen=True)
class Gpu:
    """Published figures of a GPU; see `data/gpus.yaml`."""

    name: str
    fp16: float
    int8: float
    gb_per_s: float
    gib: float
    watts: float
    mm2: float
    nm: float
    link_gb_per_s: float
    source: str


@dataclass(frozen=True)
class Roofline:
    """A phase on a GPU that reaches its published rates, whichever ends first.

    Attributes:
        seconds: at least.
        memory: share of them in which memory decides.
        tokens: of all sequences.
        watts: its power limit.
    """

    seconds: float
    memory: float
    tokens: int
    watts: float

    @property
    def tokens_per_s(self) -> float:
        """At most."""
        return self.tokens / self.seconds

    @property
    def joules_per_token(self) -> float:
        """At the power limit."""
        return self.seconds * self.watts / self.tokens


#: Share of its roofline that a GPU is known to reach in decode at batch 1, at the least: 43.5 tokens/s of an A800 with
#: FP16 (arXiv 2604.18610), of the 136 of its bandwidth.
REACHED = 0.32


@lru_cache
def gpus() -> dict[str, Gpu]:
    """All GPUs, by name."""
    return {name: Gpu(name, **one) for name, one in read_yaml(DATA / "gpus.yaml").items()}


def gpu(name: str) -> Gpu:
    """A GPU by name.

    Raises:
        InputError: there is none.
    """
    if name not in gpus():
        raise InputError(f"unknown GPU {name!r}; there are: {', '.join(gpus())}")
    return gpus()[name]


def roofline(one: Gpu, form: str, work: Iterable[Work], load: Load, tokens: int) -> Roofline:
    """A phase on a GPU; activations between layers are taken to stay in its caches.

    Args:
        one: the GPU.
        form: one of `FORMATS`.
        work: the phase's layers.
        load: what is asked.
        tokens: that the phase reads or writes.
    """
    kind = FORMATS[form]
    seconds = bound = 0.0
    rate = getattr(one, kind.rate) * 1e12 / 2
    own = replace(load, head_bits=kind.head_bits, kv_bits=kind.kv_bits)
    for layer in work:
        bits = weight_bits(layer.linear, kind.weight_bits, own)
        cache = layer.cache_bits * kind.kv_bits / load.kv_bits
        moved = (layer.linear.inputs * layer.linear.outputs * bits + cache) / 8 / (one.gb_per_s * 1e9)
        computed = (layer.macs + layer.attention_macs) / rate
        seconds += layer.linear.count * max(moved, computed)
        bound += layer.linear.count * moved * (moved >= computed)
    return Roofline(seconds, bound / seconds, tokens, one.watts)


#: Rungs of the ladder as dense arrays: bits of their weights, and the largest T whose codes they take.
RUNGS: Mapping[str, tuple[int, int]] = {
    "FP16 x FP16, FP32 add": (16, 7),
    "BF16 x BF16, FP32 add": (16, 7),
    "INT8 x INT8": (8, 7),
    "INT4 x INT8 (W4A8)": (4, 7),
    "INT4 x (sign + 4)": (4, 4),
}


def ladder(chip: Chip, timesteps: int) -> dict[str, Chip]:
    """Chips that differ from one in their arrays alone: those of each rung of the ladder, on the same area.

    Cycles are those of the dense organisation (8 x 16 accumulators, 8 inputs a cycle); area and energy around the
    columns, and the share of idle rows, as the dense core has them.

    Args:
        chip: whose arrays are replaced.
        timesteps: largest T of the plan; rungs that take no codes of it are left out.
    """
    shape = synthesis()["designs"]["dense 8x16x8"]["shape"]
    array = {"rows": shape["Rows"], "columns": shape["Columns"], "lanes": shape["Lanes"]}
    found = {}
    for rung, (bits, most) in RUNGS.items():
        if timesteps > most:
            continue
        figures = chip.process.rung(rung)
        area = figures["area_um2"] * AROUND / 1e6
        energy = figures["pj_per_mac"] * AROUND * chip.fields.energy_factor
        one = Core(area, 1e9 / figures["period_ns"], {"mac": energy})
        cores = max(1, int(chip.fields.area_mm2 / area))
        found[rung] = replace(
            chip,
            fields=chip.fields.model_copy(
                update={"name": rung, "organisation": "dense", "weight_bits": bits, "max_timesteps": most}
            ),
            organisation=make("dense", array, constants()),
            core=one,
            cores=cores,
            clock_hz=one.clock_hz * chip.fields.clock_derate,
        )
    return found
