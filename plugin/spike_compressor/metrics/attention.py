"""Counting what the neurons of spiking attention do."""

from __future__ import annotations

from torch import Tensor

from spike_compressor.coding import quantize_rows
from spike_compressor.metrics.records import SpikeRecord
from spike_compressor.modality import rows_by_modality
from spike_compressor.runtime import AttentionSpikes, SpikingAttention


class AttentionCounter:
    """Observer of spiking attention that fills a `SpikeRecord`, padding left out."""

    def __init__(self, record: SpikeRecord) -> None:
        self.record = record

    def __call__(self, attention: SpikingAttention, event: AttentionSpikes) -> None:
        spec = attention.spec.rows
        for name, rows in rows_by_modality(event.modality, event.valid).items():
            entry = self.record.product((event.name, event.operand, name), spec.timesteps[name], spec.coding)
            saturated = _saturated(event, rows, spec.coding)
            entry.count_operand(event.operand, event.codes[rows], event.attended[rows], event.out_features, saturated)


def _saturated(event: AttentionSpikes, rows: Tensor, coding: str) -> int:
    """How many codes of the chosen rows were clipped; the attention knows it of all its rows together."""
    if not event.saturated or bool(rows.all()):
        return event.saturated
    return quantize_rows(event.x[rows], event.scale[rows], event.timesteps[rows], coding)[1]
