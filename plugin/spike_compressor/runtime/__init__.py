"""The spiking Linear, its backends, and attaching them to a model."""

from spike_compressor.runtime.attach import (
    AFTER_ATTACH,
    SpikingState,
    attach,
    detach,
    spiking_layers,
    spiking_state,
    suspended,
)
from spike_compressor.runtime.backends import Backend, available_backends, get_backend, register_backend
from spike_compressor.runtime.linear import LayerSpikes, SpikingLinear
from spike_compressor.runtime.plan import SpikePlan, read_plan, write_plan
from spike_compressor.runtime.spec import LayerSpec
from spike_compressor.runtime.weights import IntegerWeight, integer_weight, require_integer_weights

__all__ = [
    "AFTER_ATTACH",
    "Backend",
    "IntegerWeight",
    "LayerSpec",
    "LayerSpikes",
    "SpikePlan",
    "SpikingLinear",
    "SpikingState",
    "attach",
    "available_backends",
    "detach",
    "get_backend",
    "integer_weight",
    "read_plan",
    "register_backend",
    "require_integer_weights",
    "spiking_layers",
    "spiking_state",
    "suspended",
    "write_plan",
]
