"""The spiking Linear, its backends, and attaching them to a model."""

from spike_compressor.runtime.affine import not_affine
from spike_compressor.runtime.attaching import (
    SpikingState,
    attach,
    detach,
    is_spiking,
    require_spiking,
    spiking_attention,
    spiking_layers,
    spiking_state,
    suspended,
)
from spike_compressor.runtime.attention import AttentionSpikes, SpikingAttention
from spike_compressor.runtime.attention_interface import decoder_attention, why_no_spiking_attention
from spike_compressor.runtime.backends import (
    Backend,
    Drive,
    Synapses,
    available_backends,
    get_backend,
    register_backend,
)
from spike_compressor.runtime.forwards import SpikingInactiveError
from spike_compressor.runtime.integers import IntegerWeight
from spike_compressor.runtime.linear import SpikingLinear
from spike_compressor.runtime.neurons import LayerSpikes, Neurons
from spike_compressor.runtime.observers import added_to, observing
from spike_compressor.runtime.plan import SpikePlan, TemporalScale, read_plan, write_plan
from spike_compressor.runtime.reasons import not_spiking
from spike_compressor.runtime.shown_weight import describes as describes_weight
from spike_compressor.runtime.spec import AttentionSpec, LayerSpec
from spike_compressor.runtime.training import trainable
from spike_compressor.runtime.weights import integer_weight, require_integer_weights

__all__ = [
    "AttentionSpec",
    "AttentionSpikes",
    "Backend",
    "Drive",
    "IntegerWeight",
    "LayerSpec",
    "LayerSpikes",
    "Neurons",
    "SpikePlan",
    "SpikingAttention",
    "SpikingInactiveError",
    "SpikingLinear",
    "SpikingState",
    "Synapses",
    "TemporalScale",
    "added_to",
    "attach",
    "available_backends",
    "decoder_attention",
    "describes_weight",
    "detach",
    "get_backend",
    "integer_weight",
    "is_spiking",
    "not_affine",
    "not_spiking",
    "observing",
    "read_plan",
    "register_backend",
    "require_integer_weights",
    "require_spiking",
    "spiking_attention",
    "spiking_layers",
    "spiking_state",
    "suspended",
    "trainable",
    "why_no_spiking_attention",
    "write_plan",
]
