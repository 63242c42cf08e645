"""What really spikes: spikes, synaptic operations, budget, coverage, fidelity and energy, from a model that runs.

Each name is imported when it is used: an engine that has its own layers counts without what transformers models take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spike_compressor.lazy import names_of

if TYPE_CHECKING:
    from spike_compressor.metrics.activity import measure_activity as measure_activity
    from spike_compressor.metrics.energy import ENERGY_TABLES as ENERGY_TABLES
    from spike_compressor.metrics.energy import EnergyTable as EnergyTable
    from spike_compressor.metrics.energy import Estimate as Estimate
    from spike_compressor.metrics.energy import estimate as estimate
    from spike_compressor.metrics.fidelity import FidelityRecord as FidelityRecord
    from spike_compressor.metrics.fidelity import record_fidelity as record_fidelity
    from spike_compressor.metrics.planes import PlaneCounts as PlaneCounts
    from spike_compressor.metrics.planes import PlaneRecord as PlaneRecord
    from spike_compressor.metrics.planes import record_planes as record_planes
    from spike_compressor.metrics.recorder import record_spikes as record_spikes
    from spike_compressor.metrics.records import LayerRecord as LayerRecord
    from spike_compressor.metrics.records import ProductRecord as ProductRecord
    from spike_compressor.metrics.records import SpikeRecord as SpikeRecord
    from spike_compressor.metrics.records import recoded as recoded

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

#: Where each name is from.
_MODULES = {
    "ENERGY_TABLES": "energy",
    "EnergyTable": "energy",
    "Estimate": "energy",
    "FidelityRecord": "fidelity",
    "LayerRecord": "records",
    "PlaneCounts": "planes",
    "PlaneRecord": "planes",
    "ProductRecord": "records",
    "SpikeRecord": "records",
    "estimate": "energy",
    "measure_activity": "activity",
    "recoded": "records",
    "record_fidelity": "fidelity",
    "record_planes": "planes",
    "record_spikes": "recorder",
}

__getattr__ = names_of(__name__, _MODULES)
