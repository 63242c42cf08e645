"""Counting spikes and operations of a spiking model while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from spike_compressor.coding import get_coding, quantize_rows, spikes_from_codes
from spike_compressor.modality import MODALITIES, TokenRows
from spike_compressor.runtime import LayerSpikes, SpikingLinear, spiking_state

_OFFSET = 256  # what a neuron spells lies in -255 .. 255


def _cpu_attention_flops(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Both products of softmax attention, of shapes [B, H, Lq, D], [B, *, Lk, D] and [B, *, Lk, Dv]."""
    B, heads, length, D = query
    return int(2 * B * heads * length * key[-2] * (D + value[-1]))


#: The CPU's fused attention, which PyTorch's counter passes over.
_UNCOUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention_flops}


@dataclass
class LayerRecord:
    """Counts of one layer and modality.

    Attributes:
        timesteps: nominal T.
        steps: timesteps that the coding really takes.
        in_features, out_features: K and N.
        rows: token rows, padding left out.
        histogram: int64 [513], how often index - 256 was spelled: codes, or levels (code + zero point) where spikes are
            unsigned.
        ends: how many codes were at an end of the range that T allows.
    """

    timesteps: int
    steps: int
    coding: str
    in_features: int
    out_features: int
    rows: int = 0
    histogram: Tensor = field(default_factory=lambda: torch.zeros(2 * _OFFSET + 1, dtype=torch.int64), repr=False)
    ends: int = 0

    def spikes_by_step(self) -> list[int]:
        """Spikes fired in each timestep, first step first."""
        live = self.histogram.nonzero().squeeze(1)
        if not len(live):
            return [0] * self.steps
        spelled = (live - _OFFSET).to(torch.int16)
        if get_coding(self.coding).signed:
            train = spikes_from_codes(spelled, self.timesteps, self.coding)
        else:  # a level is what every zero point spells it as
            middle = 1 << self.timesteps
            train = spikes_from_codes(spelled - middle, self.timesteps, self.coding, zero_point=middle)
        fired = train.spikes.ne(0).to(torch.int64) * self.histogram[live]
        return [int(count) for count in fired.sum(dim=1)]

    @property
    def spikes(self) -> int:
        """Spikes fired."""
        return sum(self.spikes_by_step())

    @property
    def neurons(self) -> int:
        """Neuron evaluations: rows x K."""
        return self.rows * self.in_features

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the same product done densely: rows x K x N."""
        return self.neurons * self.out_features

    @property
    def sops(self) -> int:
        """Synaptic operations: every spike adds one weight into each of N accumulators."""
        return self.spikes * self.out_features

    @property
    def firing_rate(self) -> float:
        """Spikes per neuron and timestep."""
        return self.spikes / (self.neurons * self.steps) if self.neurons else 0.0

    @property
    def at_limit(self) -> float:
        """Share of codes at an end of the range that T allows."""
        return self.ends / self.neurons if self.neurons else 0.0


@dataclass
class SpikeRecord:
    """What happened inside one `record_spikes` block.

    Attributes:
        layers: record by (module name, modality).
        tokens: tokens of the language model by modality, padding left out.
        other_macs: multiply-accumulates outside spiking layers (attention products, convolutions, ignored Linears).
        saturated: codes cut off at the limit, all layers.
        dead: by module name, how many of its K inputs never fired.
    """

    layers: dict[tuple[str, str], LayerRecord] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 0))
    other_macs: int = 0
    saturated: int = 0
    silent: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def _of(self, modality: str | None) -> list[LayerRecord]:
        return [record for (_, name), record in self.layers.items() if modality in (None, name) and record.rows]

    @property
    def dead(self) -> dict[str, int]:
        return {name: int(never.sum()) for name, never in self.silent.items()}

    def firing_rate(self, modality: str | None = None) -> float:
        """Spikes per neuron and timestep over all layers, of one modality or of all."""
        records = self._of(modality)
        slots = sum(record.neurons * record.steps for record in records)
        return sum(record.spikes for record in records) / slots if slots else 0.0

    def spikes_per_neuron(self, modality: str | None = None) -> float:
        """Spikes per neuron evaluation (per element of a layer's input)."""
        records = self._of(modality)
        neurons = sum(record.neurons for record in records)
        return sum(record.spikes for record in records) / neurons if neurons else 0.0

    def sops_per_token(self, modality: str | None = None) -> float:
        """Synaptic operations per token of the language model.

        What the vision tower and the projector spend counts for the vision tokens that they make.
        """
        tokens = sum(self.tokens.values()) if modality is None else self.tokens[modality]
        return sum(record.sops for record in self._of(modality)) / tokens if tokens else 0.0

    def mean_timesteps(self, modality: str | None = None, weighted: bool = True) -> float:
        """The spike budget: mean T over layers, weighted by rows x MACs or not at all."""
        records = self._of(modality)
        weights = [record.macs if weighted else 1 for record in records]
        total = sum(weights)
        pairs = zip(weights, records, strict=True)
        return sum(weight * record.timesteps for weight, record in pairs) / total if total else 0.0

    def coverage(self) -> float:
        """Share of all multiply-accumulates of the model that spiking layers do."""
        spiking = sum(record.macs for record in self.layers.values())
        return spiking / (spiking + self.other_macs) if spiking else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Totals, for reports: plain numbers by modality."""
        seen = [name for name in MODALITIES if self._of(name)]
        return {
            "tokens": dict(self.tokens),
            "timesteps": {name: self.mean_timesteps(name) for name in seen},
            "firing_rate": {name: self.firing_rate(name) for name in seen},
            "spikes_per_neuron": {name: self.spikes_per_neuron(name) for name in seen},
            "sops_per_token": {name: self.sops_per_token(name) for name in seen},
            "mean_timesteps": {
                "weighted": self.mean_timesteps(),
                "unweighted": self.mean_timesteps(weighted=False),
            },
            "coverage": self.coverage(),
            "saturated": self.saturated,
        }


class _Counter:
    """Observer of spiking layers that fills a `SpikeRecord`."""

    def __init__(self, record: SpikeRecord) -> None:
        self.record = record

    def __call__(self, layer: SpikingLinear, event: LayerSpikes) -> None:
        codes, modality, timesteps, zero_point = event.codes, event.modality, event.timesteps, event.zero_point
        saturated = event.saturated
        if event.valid is not None and not bool(event.valid.all()):
            valid = event.valid
            codes, modality, timesteps = codes[valid], modality[valid], timesteps[valid]
            zero_point = None if zero_point is None else zero_point[valid]
            if saturated:
                _, saturated = quantize_rows(
                    event.x[valid], event.scale[valid], timesteps, layer.spec.coding, zero_point=zero_point
                )
        self.record.saturated += saturated
        spelled, ends = self._spelled(layer, codes, timesteps, zero_point)
        never = ~spelled.ne(0).any(dim=0).cpu()
        before = self.record.silent.get(event.name)
        self.record.silent[event.name] = never if before is None else never & before
        for code, name in enumerate(MODALITIES):
            rows = modality == code
            count = int(rows.sum())
            if not count:
                continue
            key = (event.name, name)
            if key not in self.record.layers:
                T, coding = layer.spec.timesteps[name], layer.spec.coding
                steps = get_coding(coding).steps(T)
                self.record.layers[key] = LayerRecord(T, steps, coding, layer.in_features, layer.out_features)
            entry = self.record.layers[key]
            entry.rows += count
            entry.ends += int(ends[rows].sum())
            indices = spelled[rows].reshape(-1).to(torch.int64) + _OFFSET
            entry.histogram += torch.bincount(indices, minlength=2 * _OFFSET + 1).cpu()

    def _spelled(
        self, layer: SpikingLinear, codes: Tensor, timesteps: Tensor, zero_point: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What the spikes of each neuron spell, int16 [M, K], and where a code is at an end of its range, bool."""
        T = timesteps.unsqueeze(1)
        limit = (1 << T) - 1
        codes = codes.to(torch.int16)
        if get_coding(layer.spec.coding).signed:
            return codes, codes.abs() == limit
        levels = codes + ((1 << T) if zero_point is None else zero_point.unsqueeze(1)).to(torch.int16)
        ends = codes.abs() == limit if zero_point is None else (levels == 0) | (levels == 2 * limit + 1)
        if layer.silenced is not None:
            levels = levels.masked_fill(layer.silenced, 0)  # no level at all: these neurons do not fire
        return levels, ends


@contextlib.contextmanager
def record_spikes(model: nn.Module) -> Iterator[SpikeRecord]:
    """Count everything that spikes in `model` within the block.

    Counting reads every code once more; it slows a model down and changes none of its results.

    Raises:
        InputError: the model does not spike.
    """
    state = spiking_state(model)
    record = SpikeRecord()
    counter = _Counter(record)

    def count_tokens(rows: TokenRows) -> None:
        for name, count in rows.counts().items():
            record.tokens[name] += count

    previous = state.tracker.on_rows
    state.tracker.on_rows = count_tokens
    for layer in state.layers.values():
        layer.observers.append(counter)
    flops = FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)
    try:
        with flops:
            yield record
    finally:
        record.other_macs = _other_macs(flops, model, state.layers)
        state.tracker.on_rows = previous
        for layer in state.layers.values():
            layer.observers.remove(counter)


def _other_macs(flops: FlopCounterMode, model: nn.Module, layers: Iterable[str]) -> int:
    """Multiply-accumulates of everything but the spiking layers, whose own products are left out."""
    counts = flops.get_flop_counts()
    total = sum(counts.get("Global", {}).values())
    inside = sum(sum(counts.get(f"{type(model).__name__}.{name}", {}).values()) for name in layers)
    return (total - inside) // 2
