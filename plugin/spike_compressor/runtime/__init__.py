"""The spiking Linear, its backends, and attaching them to a model.

Each name is imported when it is used: who only needs the arithmetic (an engine that has its own modules) need not have
what attaching to a transformers model takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spike_compressor.lazy import names_of

if TYPE_CHECKING:
    from spike_compressor.runtime.affine import not_affine as not_affine
    from spike_compressor.runtime.attaching import SpikingState as SpikingState
    from spike_compressor.runtime.attaching import attach as attach
    from spike_compressor.runtime.attaching import detach as detach
    from spike_compressor.runtime.attaching import is_spiking as is_spiking
    from spike_compressor.runtime.attaching import require_spiking as require_spiking
    from spike_compressor.runtime.attaching import spiking_attention as spiking_attention
    from spike_compressor.runtime.attaching import spiking_layers as spiking_layers
    from spike_compressor.runtime.attaching import spiking_state as spiking_state
    from spike_compressor.runtime.attaching import suspended as suspended
    from spike_compressor.runtime.attention import AttentionSpikes as AttentionSpikes
    from spike_compressor.runtime.attention import SpikingAttention as SpikingAttention
    from spike_compressor.runtime.attention_interface import decoder_attention as decoder_attention
    from spike_compressor.runtime.attention_interface import why_no_spiking_attention as why_no_spiking_attention
    from spike_compressor.runtime.backends import Backend as Backend
    from spike_compressor.runtime.backends import Drive as Drive
    from spike_compressor.runtime.backends import Synapses as Synapses
    from spike_compressor.runtime.backends import available_backends as available_backends
    from spike_compressor.runtime.backends import get_backend as get_backend
    from spike_compressor.runtime.backends import register_backend as register_backend
    from spike_compressor.runtime.choosing import chosen_names as chosen_names
    from spike_compressor.runtime.choosing import set_backend as set_backend
    from spike_compressor.runtime.forwards import SpikingInactiveError as SpikingInactiveError
    from spike_compressor.runtime.integers import IntegerWeight as IntegerWeight
    from spike_compressor.runtime.linear import SpikingLinear as SpikingLinear
    from spike_compressor.runtime.matmul import IntegerMatmul as IntegerMatmul
    from spike_compressor.runtime.neurons import LayerSpikes as LayerSpikes
    from spike_compressor.runtime.neurons import Neurons as Neurons
    from spike_compressor.runtime.neurons import dequantized as dequantized
    from spike_compressor.runtime.observers import added_to as added_to
    from spike_compressor.runtime.observers import observing as observing
    from spike_compressor.runtime.plan import SpikePlan as SpikePlan
    from spike_compressor.runtime.plan import TemporalScale as TemporalScale
    from spike_compressor.runtime.plan import read_plan as read_plan
    from spike_compressor.runtime.plan import write_plan as write_plan
    from spike_compressor.runtime.reasons import not_spiking as not_spiking
    from spike_compressor.runtime.shown_weight import describes_weight as describes_weight
    from spike_compressor.runtime.spec import AttentionSpec as AttentionSpec
    from spike_compressor.runtime.spec import LayerSpec as LayerSpec
    from spike_compressor.runtime.training import trainable as trainable
    from spike_compressor.runtime.weights import integer_weight as integer_weight
    from spike_compressor.runtime.weights import require_integer_weights as require_integer_weights

__all__ = [
    "AttentionSpec",
    "AttentionSpikes",
    "Backend",
    "Drive",
    "IntegerMatmul",
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
    "chosen_names",
    "decoder_attention",
    "dequantized",
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
    "set_backend",
    "spiking_attention",
    "spiking_layers",
    "spiking_state",
    "suspended",
    "trainable",
    "why_no_spiking_attention",
    "write_plan",
]

#: Where each name is from.
_MODULES = {
    "AttentionSpec": "spec",
    "AttentionSpikes": "attention",
    "Backend": "backends",
    "Drive": "backends",
    "IntegerMatmul": "matmul",
    "IntegerWeight": "integers",
    "LayerSpec": "spec",
    "LayerSpikes": "neurons",
    "Neurons": "neurons",
    "SpikePlan": "plan",
    "SpikingAttention": "attention",
    "SpikingInactiveError": "forwards",
    "SpikingLinear": "linear",
    "SpikingState": "attaching",
    "Synapses": "backends",
    "TemporalScale": "plan",
    "added_to": "observers",
    "attach": "attaching",
    "available_backends": "backends",
    "chosen_names": "choosing",
    "decoder_attention": "attention_interface",
    "dequantized": "neurons",
    "describes_weight": "shown_weight",
    "detach": "attaching",
    "get_backend": "backends",
    "integer_weight": "weights",
    "is_spiking": "attaching",
    "not_affine": "affine",
    "not_spiking": "reasons",
    "observing": "observers",
    "read_plan": "plan",
    "register_backend": "backends",
    "require_integer_weights": "weights",
    "require_spiking": "attaching",
    "set_backend": "choosing",
    "spiking_attention": "attaching",
    "spiking_layers": "attaching",
    "spiking_state": "attaching",
    "suspended": "attaching",
    "trainable": "training",
    "why_no_spiking_attention": "attention_interface",
    "write_plan": "plan",
}

__getattr__ = names_of(__name__, _MODULES)
