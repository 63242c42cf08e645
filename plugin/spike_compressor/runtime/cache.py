"""What a spiking attention keeps in the KV cache: rows that carry their own scale, or their own T.

No cache class is replaced. Transformers' caches treat the last dimension of keys and values as opaque: they append,
slide, reorder, crop, offload and copy whole rows. So a row is stored with what belongs to it in the same tensor, and
every such cache, `generate` and beam search go on as they are.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import QuantizedLayer

from spike_compressor.errors import InputError

SCALE_BYTES = 4


def pack_rows(codes: Tensor, scale: Tensor) -> Tensor:
    """int8 [..., K + 4]: K integer codes of a row and the bytes of its float32 scale [...]."""
    return torch.cat([codes, scale.unsqueeze(-1).contiguous().view(torch.int8)], dim=-1)


def unpack_rows(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Codes int8 [..., K] and scale float32 [...] of packed rows. Rows of zero bytes are zeros of scale 0."""
    scale = packed[..., -SCALE_BYTES:].contiguous().view(torch.float32).squeeze(-1)
    return packed[..., :-SCALE_BYTES], scale


def with_timesteps(x: Tensor, timesteps: int | Tensor) -> Tensor:
    """Real rows [batch, heads, length, K + 1] of x [batch, heads, length, K], each followed by its T.

    Args:
        timesteps: T, one for all or integer [batch, length]; up to 7, which every floating point type holds exactly.
    """
    if isinstance(timesteps, int):
        column = x.new_full((*x.shape[:-1], 1), timesteps)
    else:
        column = timesteps.to(x.dtype)[:, None, :, None].expand(*x.shape[:-1], 1)
    return torch.cat([x, column], dim=-1)


def split_timesteps(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [batch, heads, length, K] and their T, int64 [batch, heads, length]; 1 where a cache has no row yet."""
    return x[..., :-1], x[..., -1].to(torch.int64).clamp(min=1)


def wants_gradient(*rows: Tensor) -> bool:
    """Whether autograd is to pass through what a cache gets: then it gets real rows, not the bytes of codes."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in rows)


class RowsForCache(Protocol):
    """What decides how keys and values are stored."""

    name: str

    def rows_for_cache(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The rows that the cache is to hold for new keys and values."""


class CodedCache:
    """Stands in front of a transformers cache during one forward pass of one attention module."""

    def __init__(self, cache: Any, coder: RowsForCache) -> None:
        self._cache, self._coder = cache, coder

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        """As the cache's own; what goes in and comes out are the coder's rows.

        Raises:
            InputError: a cache that would change what it is given, or gradients through one that holds codes.
        """
        refuse_quantized(self._cache, layer_idx, self._coder.name)
        if wants_gradient(key_states, value_states):
            _refuse_codes(self._cache, layer_idx, self._coder.name)
        key, value = self._coder.rows_for_cache(key_states, value_states)
        return self._cache.update(key, value, layer_idx, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._cache, name)


def refuse_quantized(cache: Any, layer_idx: int, name: str) -> None:
    """Raise InputError if the cache quantizes by itself: it takes the bytes of codes and scales for numbers."""
    layers = getattr(cache, "layers", ())
    if layer_idx < len(layers) and isinstance(layers[layer_idx], QuantizedLayer):
        raise InputError(
            f"{name} spikes and codes its KV cache by itself; drop cache_implementation='quantized' from generate"
        )


def _refuse_codes(cache: Any, layer_idx: int, name: str) -> None:
    """Raise InputError if the cache holds codes from a pass without gradients, to which real rows cannot be added."""
    layers = getattr(cache, "layers", ())
    keys = getattr(layers[layer_idx], "keys", None) if layer_idx < len(layers) else None
    if isinstance(keys, Tensor) and keys.dtype == torch.int8 and keys.numel():
        raise InputError(
            f"{name} has coded keys and values in its cache, through which no gradient passes; go on under "
            "torch.no_grad(), or fill the cache anew with gradients enabled"
        )
