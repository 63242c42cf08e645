"""Why the modules that multiply by weights and do not spike do not."""

from __future__ import annotations

from collections.abc import Container

from compressed_tensors.transform.factory.base import TransformBase
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from spike_compressor.runtime.weights import why_not_integer

#: Tables that are looked up: their weights multiply nothing.
_LOOKED_UP = (nn.Embedding, nn.EmbeddingBag)


def not_spiking(model: nn.Module, spiking: Container[str]) -> dict[str, str]:
    """Modules that multiply by a weight matrix and do not spike, each with the reason that the module itself gives.

    Those are Linears, convolutions, online rotations, attention modules with fused projections, experts with stacked
    weights, and other modules with a `weight` of two dimensions or more that is no embedding.

    Args:
        model: to look at.
        spiking: names of the modules that spike.
    """
    reasons: dict[str, str] = {}
    for name, module in model.named_modules():
        if name in spiking:
            continue
        reason = _reason(module)
        if reason is not None:
            reasons[name] = reason
    return reasons


def _reason(module: nn.Module) -> str | None:
    kind = type(module).__name__
    if isinstance(module, nn.MultiheadAttention):
        return "MultiheadAttention: its projections are computed inside one function, and only Linears spike"
    if isinstance(module, NonDynamicallyQuantizableLinear):
        return "part of a MultiheadAttention, which reads its weight and never calls it"
    if isinstance(module, nn.Linear):
        return f"not targeted; {why_not_integer(module) or 'its weights are integers and it could spike'}"
    if isinstance(module, TransformBase):
        return "an online rotation; only Linears spike"
    if isinstance(module, _LOOKED_UP):
        return None
    own = dict(module.named_parameters(recurse=False))
    weight = own.get("weight")
    if weight is not None and weight.dim() >= 2:
        return f"{kind}: only Linears spike"
    if any(parameter.dim() == 3 and parameter.shape[0] > 1 for parameter in own.values()):
        return f"{kind}: its weights are stacked in one parameter, and only Linears spike"
    return None
