"""What really spikes: spikes, synaptic operations, budget and coverage, measured while the model runs."""

from spike_compressor.metrics.activity import measure_activity
from spike_compressor.metrics.recorder import LayerRecord, ProductRecord, SpikeRecord, record_spikes

__all__ = ["LayerRecord", "ProductRecord", "SpikeRecord", "measure_activity", "record_spikes"]
