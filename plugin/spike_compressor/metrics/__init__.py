"""What really spikes: spikes, synaptic operations, budget and coverage, measured while the model runs."""

from spike_compressor.metrics.recorder import LayerRecord, SpikeRecord, record_spikes

__all__ = ["LayerRecord", "SpikeRecord", "record_spikes"]
