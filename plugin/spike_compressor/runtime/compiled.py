"""What `torch.compile` sees of spiking layers and attention: operations that run inside as they do without compilation.

So a compiled model computes the same bits, checks for NaN and infinity go on, and no graph ends at a layer. The layer
is known to its operation by a number, since operations take tensors and numbers alone.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from typing import Any

import torch
from torch import Tensor

from spike_compressor.modality import TokenRows, rows_scope
from spike_compressor.runtime.cache import SCALE_BYTES
from spike_compressor.runtime.precision import without_autocast

_NUMBERED: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
_NUMBERS = itertools.count()


def number_of(computes: Any) -> int:
    """A number for the neurons of a layer, or a spiking attention, that no others have had in this process."""
    number = next(_NUMBERS)
    _NUMBERED[number] = computes
    return number


def _scope(modality: Tensor | None) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if modality is None else rows_scope(TokenRows(modality))


@torch.library.custom_op("spike_compressor::outputs", mutates_args=())
def outputs(x: Tensor, bias: Tensor | None, modality: Tensor | None, number: int, width: int) -> Tensor:
    """Outputs [..., N] of inputs [..., K] of a spiking layer, in their dtype.

    Args:
        x: the inputs.
        bias: of the layer, or None.
        modality: of the pass's tokens, uint8 [batch, sequence]; None where the layer does not look.
        number: of its neurons.
        width: N.
    """
    neurons = _NUMBERED[number]
    with without_autocast(x.device), _scope(modality):
        made = None if neurons.observers else neurons.outputs(x, bias)
        if made is not None:
            return made.to(x.dtype)
        rows = x.reshape(-1, x.shape[-1]).to(torch.float32)
        drive, synapses = neurons.fire(rows)
        out = neurons.dequantize(synapses.acc, drive.scale, bias)
    return out.to(x.dtype).reshape(*x.shape[:-1], width)


@outputs.register_fake
def _(x: Tensor, bias: Tensor | None, modality: Tensor | None, number: int, width: int) -> Tensor:
    return x.new_empty((*x.shape[:-1], width))


@torch.library.custom_op("spike_compressor::attention", mutates_args=())
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    allowed: Tensor | None,
    bias: Tensor | None,
    modality: Tensor | None,
    number: int,
    width: int,
    scaling: float,
    softcap: float | None,
    keep_probabilities: bool,
) -> tuple[Tensor, Tensor]:
    """Output float32 and probabilities of a `SpikingAttention`, whose arguments these are.

    Args:
        modality: as for layers.
        number: of the attention.
        width: of a value row.

    Returns:
        The probabilities are empty where they are not kept.
    """
    with without_autocast(query.device), _scope(modality):
        out, kept = _NUMBERED[number](query, key, value, allowed, bias, scaling, softcap, keep_probabilities)
    return out, query.new_empty(0, dtype=torch.float32) if kept is None else kept


@attention.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    allowed: Tensor | None,
    bias: Tensor | None,
    modality: Tensor | None,
    number: int,
    width: int,
    scaling: float,
    softcap: float | None,
    keep_probabilities: bool,
) -> tuple[Tensor, Tensor]:
    shape = query.shape[:-1]
    kept = (*shape, key.shape[2]) if keep_probabilities else (0,)
    return query.new_empty((*shape, width), dtype=torch.float32), query.new_empty(kept, dtype=torch.float32)


@torch.library.custom_op("spike_compressor::rows_for_cache", mutates_args=())
def rows_for_cache(
    key: Tensor, value: Tensor, modality: Tensor | None, number: int, coded: bool
) -> tuple[Tensor, Tensor]:
    """What a `SpikingAttention` has the KV cache hold for new keys and values; `coded` if it is codes and scales."""
    with without_autocast(key.device), _scope(modality):
        rows: tuple[Tensor, Tensor] = _NUMBERED[number].rows_for_cache(key, value)
    return rows


@rows_for_cache.register_fake
def _(key: Tensor, value: Tensor, modality: Tensor | None, number: int, coded: bool) -> tuple[Tensor, Tensor]:
    more = SCALE_BYTES if coded else 1
    kept = [(*x.shape[:-1], x.shape[-1] + more) for x in (key, value)]
    types = (torch.int8, torch.int8) if coded else (key.dtype, value.dtype)
    return key.new_empty(kept[0], dtype=types[0]), value.new_empty(kept[1], dtype=types[1])
