"""What really spikes: spikes, synaptic operations, budget, coverage, fidelity and energy, from a model that runs."""

from spike_compressor.metrics.activity import measure_activity
from spike_compressor.metrics.energy import ENERGY_TABLES, EnergyTable, Estimate, estimate
from spike_compressor.metrics.fidelity import FidelityRecord, record_fidelity
from spike_compressor.metrics.planes import PlaneCounts, PlaneRecord, record_planes
from spike_compressor.metrics.recorder import record_spikes
from spike_compressor.metrics.records import LayerRecord, ProductRecord, SpikeRecord, recoded

__all__ = [
    "ENERGY_TABLES",
    "EnergyTable",
    "Estimate",
    "FidelityRecord",
    "LayerRecord",
    "PlaneCounts",
    "PlaneRecord",
    "ProductRecord",
    "SpikeRecord",
    "estimate",
    "measure_activity",
    "recoded",
    "record_fidelity",
    "record_planes",
    "record_spikes",
]
