"""How faithfully each layer's output is computed by spikes: signal-to-noise ratio, measured while a model runs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.modality import rows_by_modality
from spike_compressor.runtime import LayerSpikes, SpikingLinear, observing


@dataclass
class FidelityRecord:
    """Energies of outputs and of their errors, by (module name, modality)."""

    signal: dict[tuple[str, str], float] = field(default_factory=dict)
    noise: dict[tuple[str, str], float] = field(default_factory=dict)

    def snr(self, name: str, modality: str) -> float:
        """10 log10(sum |y|^2 / sum |y' - y|^2) in dB; infinite where nothing was lost."""
        noise = self.noise[name, modality]
        return 10 * math.log10(self.signal[name, modality] / noise) if noise else math.inf

    def to_dict(self) -> dict[str, dict[str, float]]:
        """dB by module name and modality; layers whose outputs are all zero, or exact, are left out."""
        table: dict[str, dict[str, float]] = {}
        for name, modality in self.signal:
            if self.signal[name, modality] > 0 and self.noise[name, modality] > 0:
                table.setdefault(name, {})[modality] = self.snr(name, modality)
        return table


@contextlib.contextmanager
def record_fidelity(model: nn.Module) -> Iterator[FidelityRecord]:
    """Measure every spiking layer's output against the product of its real inputs with the same integer weights.

    What is counted is the error that the layer's own neurons make, on the inputs that it gets from the layers before
    it; the error of quantizing weights is not in it. The reference costs one more float32 product per layer.

    Raises:
        InputError: the model does not spike.
    """
    record = FidelityRecord()
    weights: dict[str, Tensor] = {}

    def observe(layer: SpikingLinear, event: LayerSpikes) -> None:
        if event.name not in weights:
            weights[event.name] = layer.integer.floats().to(event.x.device)
        bias: Any = None if layer.bias is None else layer.bias.to(torch.float32)
        exact = nn.functional.linear(event.x, weights[event.name], bias)
        signal = exact.square().sum(dim=1, dtype=torch.float64)
        noise = (event.output - exact).square().sum(dim=1, dtype=torch.float64)
        for name, rows in rows_by_modality(event.modality, event.valid).items():
            key = (event.name, name)
            record.signal[key] = record.signal.get(key, 0.0) + float(signal[rows].sum())
            record.noise[key] = record.noise.get(key, 0.0) + float(noise[rows].sum())

    with observing(model, layers=observe):
        yield record
