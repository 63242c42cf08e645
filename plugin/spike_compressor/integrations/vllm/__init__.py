"""Spike-ready checkpoints in vLLM: `vllm serve DIR` and `LLM(DIR)` compute with spikes where a `spike_config.json` is.

vLLM finds `register` by the entry point group `vllm.general_plugins` and calls it in each of its processes. Its models
stay its own; what changes is the method of the Linears that the checkpoint's plan names (`linear`), and that those of
a language model know which rows of the batch are pictures (`rows`).
"""

from __future__ import annotations

from typing import Any

from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm.counts import KEY, told


def register() -> None:
    """Make the quantization method `spike` known to vLLM in this process; other checkpoints stay as they are."""
    from vllm.model_executor.layers.linear import register_weight_loader_v2_supported_method
    from vllm.model_executor.layers.quantization import register_quantization_config

    from spike_compressor.integrations.vllm.config import METHOD, SpikeQuantizationConfig
    from spike_compressor.integrations.vllm.linear import SpikeLinearMethod

    register_quantization_config(METHOD)(SpikeQuantizationConfig)
    register_weight_loader_v2_supported_method(SpikeLinearMethod)


def spike_counts(llm: Any, request: str | None = None) -> dict[str, Any]:
    """What fired while an engine computed: rows that were found in the prefix cache fired nothing.

    Args:
        llm: vLLM's `LLM`, made with `additional_config={"spike_counts": True}`.
        request: `request_id` of an output, one of the last 1024 and of those that run; None for all since the start.

    Returns:
        `tokens`: rows of the language model by modality. `inputs`, `spikes` and `sops`: neuron evaluations, spikes and
        synaptic operations of all layers that spike. `layers`: the same three by `kind` of layer and `modality`.

    Raises:
        InputError: the engine does not count, or does not know the request.
    """
    require_counting(llm.llm_engine.vllm_config)
    return told(llm.collective_rpc(KEY, args=(request,)), request)


def require_counting(config: Any) -> None:
    """
    Args:
        config: an engine's `VllmConfig`.

    Raises:
        InputError: the engine does not count.
    """
    if not isinstance(config.additional_config, dict) or not config.additional_config.get(KEY):
        raise InputError(
            f"this engine does not count spikes; start it with additional_config={{{KEY!r}: True}} "
            f"(--additional-config '{{\"{KEY}\": true}}')"
        )


__all__ = ["register", "require_counting", "spike_counts"]
