"""What is known of a run: spikes, operations and tokens, by layer and modality."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from spike_compressor.coding import get_coding
from spike_compressor.errors import InputError
from spike_compressor.metrics.encoded import planes_of, spikes_of
from spike_compressor.modality import in_order


def _offset(coding: str, timesteps: int) -> int:
    """Index of code 0 in a histogram: 256 where what neurons encode lies in -255 .. 255, as it does if they round."""
    return max(256, get_coding(coding).largest(timesteps))


def _no_codes(offset: int) -> Tensor:
    return torch.zeros(2 * offset + 1, dtype=torch.int64)


def _histogram(encoded: Tensor, offset: int) -> Tensor:
    indices = encoded.reshape(-1).to(torch.int64) + offset
    return torch.bincount(indices, minlength=2 * offset + 1).cpu()


@dataclass
class LayerRecord:
    """Counts of one layer and modality.

    Attributes:
        timesteps: nominal T.
        steps: timesteps that the coding really takes.
        in_features: K.
        out_features: N.
        rows: token rows, padding left out.
        histogram: int64 [2 * offset + 1], how often index - offset was encoded: codes, or levels (code + zero point)
            where spikes are unsigned. The offset is 256, or the largest code where that is larger.
        ends: how many codes were at an end of the range that T allows.
        saturated: how many of them were clipped there, because the input was beyond it.
    """

    timesteps: int
    steps: int
    coding: str
    in_features: int
    out_features: int
    rows: int = 0
    histogram: Tensor = field(default=None, repr=False)  # type: ignore[assignment]
    ends: int = 0
    saturated: int = 0

    def __post_init__(self) -> None:
        if self.histogram is None:
            self.histogram = _no_codes(self._offset)

    @property
    def _offset(self) -> int:
        return _offset(self.coding, self.timesteps)

    def count_rows(self, encoded: Tensor, ends: int, saturated: int) -> None:
        """Add token rows.

        Args:
            encoded: integers [M, K] that the neurons encoded, codes or levels.
            ends: how many of them are at an end of the range that T allows.
            saturated: how many of those were clipped.
        """
        self.rows += encoded.shape[0]
        self.ends += ends
        self.saturated += saturated
        self.histogram += _histogram(encoded, self._offset)

    def spikes_by_step(self) -> list[int]:
        """Spikes fired in each timestep, first step first."""
        first, planes = planes_of(get_coding(self.coding), self.timesteps)
        counts = self.histogram[first + self._offset :][: planes.shape[1]]
        return [int(count) for count in (planes * counts).sum(dim=1)]

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
class ProductRecord(LayerRecord):
    """Counts of one operand of an attention's products and one modality of its tokens.

    Queries (`q`) spike into key codes, probabilities (`p`) into value codes. Keys and values (`k`, `v`) are coded once
    and are synapses from then on: they spike into nothing, and have no operations of their own. `rows` are tokens times
    heads; K and N change from call to call where they are a number of keys, and are those of the last call.

    Attributes:
        evaluated: neuron evaluations: no neuron stands for the probability of a key that the mask hides.
        dense: multiply-accumulates of the same product done densely, keys that the mask hides included.
        additions: synaptic operations: a query's spike adds one key code into the score of each key that it may attend
            to, a probability's spike one value code into each accumulator of its head.
    """

    evaluated: int = 0
    dense: int = 0
    additions: int = 0

    @property
    def neurons(self) -> int:
        return self.evaluated

    @property
    def macs(self) -> int:
        return self.dense

    @property
    def sops(self) -> int:
        return self.additions

    def count_operand(self, operand: str, codes: Tensor, attended: Tensor, out_features: int, saturated: int) -> None:
        """Add integer codes [M, K] of rows that may attend to `attended` [M] keys, and spike into N accumulators."""
        M, K = codes.shape
        codes = codes.to(torch.int64)
        spikes = spikes_of(codes, self.coding, self.timesteps)
        self.rows += M
        self.in_features, self.out_features = K, out_features
        live = int(attended.sum()) if operand == "p" else M * K
        self.evaluated += live
        self.dense += M * K * out_features
        self.additions += int((spikes * (attended if operand == "q" else out_features)).sum())
        self.ends += int((codes.abs() == get_coding(self.coding).largest(self.timesteps)).sum())
        self.saturated += saturated
        histogram = _histogram(codes, self._offset)
        histogram[self._offset] -= M * K - live  # hidden keys have the code 0
        self.histogram += histogram


@dataclass
class SpikeRecord:
    """What happened inside one `record_spikes` block.

    Attributes:
        layers: record by (module name, modality).
        attention: record by (module name, operand, modality), where attention products spike. Totals count them.
        tokens: tokens of the language model by modality, padding left out.
        other_macs: multiply-accumulates of what does not spike (attention where it is real, convolutions, `ignore`).
        passes: by module name, calls of the layer: its weights are read once for each.
        silent: by module name, bool [K], True where an input never fired.
        dead: by module name, how many of its K inputs never fired.
    """

    layers: dict[tuple[str, str], LayerRecord] = field(default_factory=dict)
    attention: dict[tuple[str, str, str], ProductRecord] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    other_macs: int = 0
    passes: dict[str, int] = field(default_factory=dict)
    silent: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def _records(self, modality: str | None) -> list[LayerRecord]:
        everything = (*self.layers.items(), *self.attention.items())
        return [record for key, record in everything if modality in (None, key[-1]) and record.rows]

    def product(self, key: tuple[str, str, str], timesteps: int, coding: str) -> ProductRecord:
        """The record of an attention's operand: (module name, operand, modality)."""
        if key not in self.attention:
            self.attention[key] = ProductRecord(timesteps, get_coding(coding).steps(timesteps), coding, 0, 0)
        return self.attention[key]

    @property
    def saturated(self) -> int:
        """Clipped codes of all layers and attention products."""
        return sum(record.saturated for record in self._records(None))

    @property
    def dead(self) -> dict[str, int]:
        return {name: int(never.sum()) for name, never in self.silent.items()}

    def firing_rate(self, modality: str | None = None) -> float:
        """Spikes per neuron and timestep over all layers, of one modality or of all."""
        records = self._records(modality)
        slots = sum(record.neurons * record.steps for record in records)
        return sum(record.spikes for record in records) / slots if slots else 0.0

    def spikes_per_neuron(self, modality: str | None = None) -> float:
        """Spikes per neuron evaluation (per element of a layer's input)."""
        records = self._records(modality)
        neurons = sum(record.neurons for record in records)
        return sum(record.spikes for record in records) / neurons if neurons else 0.0

    def sops_per_token(self, modality: str | None = None) -> float:
        """Synaptic operations per token of the language model.

        What the vision tower and the projector spend counts for the vision tokens that they make.
        """
        tokens = sum(self.tokens.values()) if modality is None else self.tokens.get(modality, 0)
        return sum(record.sops for record in self._records(modality)) / tokens if tokens else 0.0

    def mean_timesteps(self, modality: str | None = None, weighted: bool = True) -> float:
        """The spike budget: mean T over layers, weighted by rows x MACs or not at all."""
        records = self._records(modality)
        weights = [record.macs if weighted else 1 for record in records]
        total = sum(weights)
        pairs = zip(weights, records, strict=True)
        return sum(weight * record.timesteps for weight, record in pairs) / total if total else 0.0

    def mean_steps(self, modality: str | None = None) -> float:
        """Timesteps that the coding really takes, mean over layers weighted by rows x MACs."""
        records = self._records(modality)
        total = sum(record.macs for record in records)
        return sum(record.macs * record.steps for record in records) / total if total else 0.0

    def saturation(self, modality: str | None = None) -> float:
        """Share of codes that were clipped at an end of their range."""
        records = self._records(modality)
        neurons = sum(record.neurons for record in records)
        return sum(record.saturated for record in records) / neurons if neurons else 0.0

    def add(self, other: SpikeRecord) -> None:
        """Add what another run of the same model recorded, except for the operations outside of spiking layers."""
        for key, record in other.layers.items():
            none = torch.zeros_like(record.histogram)
            mine = self.layers.setdefault(key, replace(record, rows=0, ends=0, saturated=0, histogram=none))
            mine.rows += record.rows
            mine.ends += record.ends
            mine.saturated += record.saturated
            mine.histogram += record.histogram
        for product, theirs in other.attention.items():
            ours = self.product(product, theirs.timesteps, theirs.coding)
            for counted in ("rows", "ends", "saturated", "histogram", "evaluated", "dense", "additions"):
                setattr(ours, counted, getattr(ours, counted) + getattr(theirs, counted))
        for name, count in other.tokens.items():
            self.tokens[name] = self.tokens.get(name, 0) + count
        for name, calls in other.passes.items():
            self.passes[name] = self.passes.get(name, 0) + calls
        for name, never in other.silent.items():
            self.silent[name] = never & self.silent.get(name, never)

    def coverage(self) -> float:
        """Share of all multiply-accumulates of the model that spikes do."""
        spiking = sum(record.macs for record in self._records(None))
        return spiking / (spiking + self.other_macs) if spiking else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Totals, for reports: plain numbers by modality."""
        seen = in_order({key[-1] for key in (*self.layers, *self.attention) if self._records(key[-1])})
        return {
            "tokens": dict(self.tokens),
            "timesteps": {name: self.mean_timesteps(name) for name in seen},
            "steps": {name: self.mean_steps(name) for name in seen},
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


def recoded(record: SpikeRecord, coding: str) -> SpikeRecord:
    """What another coding would have fired: the same integer codes, encoded anew, exactly.

    Layers only; attention products are left out. Unsigned codings encode code + 2^T, the middle zero point. Both
    codings are to round, and by the same rule: others do not have the same codes (`shares_codes`).

    Args:
        record: of a model with signed spikes.
        coding: name of the other coding.

    Raises:
        InputError: the record is of an unsigned coding, whose zero points are not kept; or one of the codings has other
            codes.
    """
    codec = get_coding(coding)
    for layer in record.layers.values():
        own = get_coding(layer.coding)
        if not own.shares_codes(codec):
            raise InputError(
                f"coding {layer.coding!r} has other codes than coding {coding!r}: run the model with the latter"
            )
    made = SpikeRecord(tokens=dict(record.tokens), other_macs=record.other_macs, passes=dict(record.passes))
    for key, layer in record.layers.items():
        if not get_coding(layer.coding).signed:
            raise InputError(f"{key[0]}: spikes of {layer.coding!r} cannot be recoded, their zero points are not known")
        histogram = layer.histogram if codec.signed else layer.histogram.roll(1 << layer.timesteps)
        steps = codec.steps(layer.timesteps)
        made.layers[key] = replace(layer, coding=coding, steps=steps, histogram=histogram.clone())
    return made
