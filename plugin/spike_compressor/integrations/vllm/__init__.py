"""Spike-ready checkpoints in vLLM: `vllm serve DIR` and `LLM(DIR)` compute with spikes where a `spike_config.json` is.

vLLM finds `register` by the entry point group `vllm.general_plugins` and calls it in each of its processes. Its models
stay its own; what changes is the method of the Linears that the checkpoint's plan names (`linear`), and that those of
a language model know which rows of the batch are pictures (`rows`).
"""

from __future__ import annotations


def register() -> None:
    """Make the quantization method `spike` known to vLLM in this process; other checkpoints stay as they are."""
    from vllm.model_executor.layers.linear import register_weight_loader_v2_supported_method
    from vllm.model_executor.layers.quantization import register_quantization_config

    from spike_compressor.integrations.vllm.config import METHOD, SpikeQuantizationConfig
    from spike_compressor.integrations.vllm.linear import SpikeLinearMethod

    register_quantization_config(METHOD)(SpikeQuantizationConfig)
    register_weight_loader_v2_supported_method(SpikeLinearMethod)


__all__ = ["register"]
