"""What `torch.compile` sees of a spiking layer of vLLM's: an operation that runs inside as it does without compilation.

So graphs of a model whose layers spike are whole, and rows are known in them as ever: the operation looks into the
forward context of the step when it runs, not when it is compiled. It knows its layer by the name that vLLM gave it.
Numbers would do for one process, but vLLM keeps compiled graphs for the next one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.library import Library
from vllm.config import get_current_vllm_config
from vllm.forward_context import get_forward_context
from vllm.utils.torch_utils import direct_register_custom_op

_LIBRARY = Library("spike_compressor_vllm", "FRAGMENT")


def remember(layer: nn.Module) -> None:
    """Let operations of the engine that is being built find a layer by its name."""
    context: dict[str, Any] = get_current_vllm_config().compilation_config.static_forward_context
    context[str(layer.prefix)] = layer


def _outputs(x: Tensor, bias: Tensor | None, name: str, width: int) -> Tensor:
    layer, x = _layer_and_numbers(name, x)
    made: Tensor = layer.quant_method.outputs(layer, x, bias)
    return made


def _layer_and_numbers(name: str, x: Tensor) -> tuple[Any, Tensor]:
    context = get_forward_context()
    if context.attn_metadata is None:  # a trial run: attention leaves memory as it was, which may be no number
        x = x.nan_to_num(0.0, 0.0, 0.0)
    return context.no_compile_layers[name], x


def _shape_of_outputs(x: Tensor, bias: Tensor | None, name: str, width: int) -> Tensor:
    return x.new_empty((*x.shape[:-1], width))


def _of_experts(x: Tensor, weights: Tensor, chosen: Tensor, name: str) -> Tensor:
    runner, x = _layer_and_numbers(name, x)  # vLLM's own name for them leads to what calls them
    experts = runner.routed_experts
    made: Tensor = experts.quant_method.outputs(experts, x, weights, chosen)
    return made


def _shape_of_experts(x: Tensor, weights: Tensor, chosen: Tensor, name: str) -> Tensor:
    return torch.empty_like(x)


direct_register_custom_op("outputs", _outputs, fake_impl=_shape_of_outputs, target_lib=_LIBRARY)
direct_register_custom_op("experts", _of_experts, fake_impl=_shape_of_experts, target_lib=_LIBRARY)
