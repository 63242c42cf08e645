"""Counting spikes and operations of a spiking model while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn

from spike_compressor.coding import get_coding, quantize_rows
from spike_compressor.metrics.attention import AttentionCounter
from spike_compressor.metrics.encoded import encoded_by
from spike_compressor.metrics.operations import OperationCounter
from spike_compressor.metrics.records import LayerRecord, SpikeRecord
from spike_compressor.modality import TokenRows, modality_code, rows_by_modality
from spike_compressor.runtime import LayerSpikes, SpikingLinear, observing, spiking_state


class LayerCounter:
    """Observer of spiking layers that fills a `SpikeRecord`, padding left out."""

    def __init__(self, record: SpikeRecord) -> None:
        self.record = record

    def __call__(self, layer: SpikingLinear, event: LayerSpikes) -> None:
        codes, modality, timesteps, zero_point = event.codes, event.modality, event.timesteps, event.zero_point
        valid = event.valid
        if valid is not None and bool(valid.all()):
            valid = None
        if valid is not None:
            codes, modality, timesteps = codes[valid], modality[valid], timesteps[valid]
            zero_point = None if zero_point is None else zero_point[valid]
        encoded, ends = encoded_by(layer.spec.coding, codes, timesteps, zero_point, layer.silenced)
        self.record.passes[event.name] = self.record.passes.get(event.name, 0) + 1
        never = ~encoded.ne(0).any(dim=0).cpu()
        before = self.record.silent.get(event.name)
        self.record.silent[event.name] = never if before is None else never & before
        for name, rows in rows_by_modality(modality).items():
            key = (event.name, name)
            if key not in self.record.layers:
                T, coding = layer.spec.timesteps[name], layer.spec.coding
                steps = get_coding(coding).steps(T)
                self.record.layers[key] = LayerRecord(T, steps, coding, layer.in_features, layer.out_features)
            saturated = self._saturated(layer, event, event.modality == modality_code(name), valid)
            self.record.layers[key].count_rows(encoded[rows], int(ends[rows].sum()), saturated)

    def _saturated(self, layer: SpikingLinear, event: LayerSpikes, rows: Tensor, valid: Tensor | None) -> int:
        """How many codes of the chosen rows were clipped; the layer knows it of all its rows together."""
        if not event.saturated:
            return 0
        if valid is not None:
            rows = rows & valid
        if bool(rows.all()):
            return event.saturated
        zero_point = None if event.zero_point is None else event.zero_point[rows]
        _, saturated = quantize_rows(
            event.x[rows], event.scale[rows], event.timesteps[rows], layer.spec.coding, zero_point=zero_point
        )
        return saturated


@contextlib.contextmanager
def record_spikes(model: nn.Module, operations: bool = True) -> Iterator[SpikeRecord]:
    """Count everything that spikes in `model` within the block.

    Counting reads every code once more; it slows a model down and changes none of its results. Blocks may nest and
    overlap, with each other and with whatever else observes the model; each counts what runs inside it.

    Args:
        model: that spikes.
        operations: count the operations outside of spiking layers too, which `coverage` needs. They are seen by
            intercepting every operation of PyTorch, which takes longer than the spikes.

    Yields:
        The record, which fills while the block runs; `other_macs` is set at its end.

    Raises:
        InputError: the model does not spike.
    """
    state = spiking_state(model)
    record = SpikeRecord(tokens=dict.fromkeys(state.tracker.adapter.modalities, 0))
    counted = OperationCounter()

    def count_tokens(rows: TokenRows) -> None:
        for name, count in rows.counts().items():
            record.tokens[name] += count

    with contextlib.ExitStack() as stack:
        stack.enter_context(
            observing(model, layers=LayerCounter(record), attention=AttentionCounter(record), rows=count_tokens)
        )
        if operations:
            stack.enter_context(counted.excluding(state.layers.values(), state.attention.values()))
            stack.enter_context(counted)
        try:
            yield record
        finally:
            record.other_macs = counted.macs
