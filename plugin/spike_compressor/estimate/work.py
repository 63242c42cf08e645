"""What a model computes while it reads a prompt and while it answers: rows, layers, attention, bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from spike_compressor.errors import InputError
from spike_compressor.estimate.models import Linear, ModelFields, linears
from spike_compressor.estimate.statistics import Spikes

#: What computes no spikes, whatever the plan: see docs/hardware.md.
DENSE_KINDS = ("lm_head",)


@dataclass(frozen=True)
class Load:
    """What is asked of a model.

    Attributes:
        batch: sequences at once.
        image_tokens: of each sequence's pictures.
        text_tokens: of each prompt.
        new_tokens: that each answer has.
        head_bits, kv_bits: of the weights of `lm_head`, and of keys and values.
    """

    batch: int = 1
    image_tokens: int = 0
    text_tokens: int = 64
    new_tokens: int = 128
    head_bits: int = 8
    kv_bits: int = 8

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("image_tokens", 0), ("text_tokens", 1), ("new_tokens", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("head_bits", "kv_bits"):
            if not 2 <= getattr(self, name) <= 16:
                raise InputError(f"{name} is {getattr(self, name)}; it must be from 2 to 16")

    @property
    def prompt(self) -> int:
        """Tokens of a prompt."""
        return self.image_tokens + self.text_tokens


@dataclass(frozen=True)
class Plan:
    """Spikes of each kind of layer and modality.

    Attributes:
        spikes: by (kind, modality); where a kind is missing, that of (`""`, modality).
    """

    spikes: Mapping[tuple[str, str], Spikes]

    def of(self, kind: str, modality: str) -> Spikes:
        """How rows of a modality fire in a kind of layer."""
        found = self.spikes.get((kind, modality)) or self.spikes.get(("", modality))
        if found is None:
            raise InputError(f"nothing is known of how {modality} rows fire; give --spikes or a trace with such rows")
        return found

    @property
    def most_timesteps(self) -> int:
        """The largest T."""
        return max(one.timesteps for one in self.spikes.values())

    def scaled(self, factor: float) -> Plan:
        """The same with so many times the spikes."""
        return replace(self, spikes={key: one.scaled(factor) for key, one in self.spikes.items()})


@dataclass(frozen=True)
class Work:
    """Linears of one shape in one phase, and the attention that follows them.

    Attributes:
        linear: the shape.
        rows: by modality.
        attention_macs: products with keys and values beside each of them, of all rows.
        cache_bits: keys and values read for it.
    """

    linear: Linear
    rows: Mapping[str, int]
    attention_macs: float = 0.0
    cache_bits: float = 0.0

    @property
    def all_rows(self) -> int:
        """Of every modality."""
        return sum(self.rows.values())

    @property
    def macs(self) -> float:
        """Of one layer, attention left out."""
        return float(self.all_rows) * self.linear.inputs * self.linear.outputs


def prefill(model: ModelFields, load: Load) -> Iterator[Work]:
    """Reading the prompts of a batch, pictures included."""
    patches = load.image_tokens * model.patches_per_token * load.batch
    rows: dict[str, dict[str, int]] = {
        "patch": {"vision": patches},
        "image token": {"vision": load.image_tokens * load.batch},
        "token": {"vision": load.image_tokens * load.batch, "text": load.text_tokens * load.batch},
        "last": {"text": load.batch},
    }
    tower = model.vision
    for one in linears(model):
        present = {name: count for name, count in rows[one.rows].items() if count}
        if not present:
            continue
        macs = 0.0
        if one.kind == "q/k/v":  # half of the pairs, as a token sees those before it
            macs = model.decoder.heads * model.decoder.head_dim * float(load.prompt) ** 2 * load.batch
        elif one.kind == "vision tower" and tower and one.outputs == 3 * tower.hidden:
            own = load.image_tokens * model.patches_per_token
            macs = 2.0 * tower.hidden * own * min(own, model.patches_together or own) * load.batch
        yield Work(one, present, macs)


def decode(model: ModelFields, load: Load) -> Iterator[Work]:
    """One token of each sequence of a batch, in the middle of the answer."""
    text, context = model.decoder, load.prompt + load.new_tokens / 2
    for one in linears(model):
        if one.rows not in ("token", "last"):
            continue
        attention = one.kind == "q/k/v"
        yield Work(
            one,
            {"text": load.batch},
            2.0 * text.heads * text.head_dim * context * load.batch if attention else 0.0,
            2.0 * text.kv_heads * text.head_dim * context * load.batch * load.kv_bits if attention else 0.0,
        )


def weight_bits(one: Linear, spiking: int, load: Load) -> int:
    """Bits of a layer's weights."""
    return load.head_bits if one.kind in DENSE_KINDS else spiking


def cache_bytes(model: ModelFields, load: Load) -> float:
    """Keys and values of a whole batch at the end of its answers."""
    text = model.decoder
    each = 2.0 * text.layers * text.kv_heads * text.head_dim * load.kv_bits / 8
    return each * (load.prompt + load.new_tokens) * load.batch


def weight_bytes(model: ModelFields, spiking: int, load: Load) -> float:
    """All weights that a model keeps in DRAM; of embeddings a few rows are read, and all are kept."""
    total = sum(one.weights * weight_bits(one, spiking, load) for one in linears(model)) / 8
    embeddings = 0 if model.decoder.tied else model.decoder.vocabulary * model.decoder.hidden * load.head_bits / 8
    return total + embeddings
