"""Attention whose two products are summed by spikes: of queries into keys, and of probabilities into values.

`Q K^T`: a query row fires, and each spike adds one integer key code into one score accumulator per key. `P V`: a row of
probabilities fires, and each spike adds one integer value code into each accumulator of its head. Keys and values are
coded too, once per token, and are the multi-bit synapses of these products, as weights are those of a Linear.
docs/numerics.md has every operation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from spike_compressor.coding import NonFiniteInputError, absmax_scale, quantize_rows
from spike_compressor.errors import InputError
from spike_compressor.modality import TEXT, TokenRows, current_rows, tokens_here, traced_modality
from spike_compressor.runtime import compiled
from spike_compressor.runtime.backends import Backend, Drive, get_backend
from spike_compressor.runtime.cache import (
    SCALE_BYTES,
    pack_rows,
    split_timesteps,
    unpack_rows,
    wants_gradient,
    with_timesteps,
)
from spike_compressor.runtime.compiled import number_of
from spike_compressor.runtime.matmul import OperandMatmul
from spike_compressor.runtime.recomputing import is_recomputing
from spike_compressor.runtime.softmax import MAX_KEYS, softmax, tanh
from spike_compressor.runtime.spec import AttentionSpec

#: Scores that are computed at a time.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class AttentionSpikes:
    """What the neurons of one operand of a spiking attention did; handed to observers.

    Attributes:
        name: of the module.
        operand: `q` or `p`, whose spikes make the products; `k` or `v`, which are coded to be their synapses.
        x: float32 [M, K] rows, one per token and head: K features, or for `p` one probability per key.
        codes: integer [M, K].
        modality: uint8 [M].
        timesteps: int64 [M].
        scale: float32 [M].
        attended: int64 [M], keys that the mask lets the row attend to. 0 for `k` and `v`.
        out_features: accumulators that one code can reach: keys for `q`, the width of a head for `p`.
        valid: bool [M], False at padding, or None.
        saturated: number of codes at the limit.
        acc: of `q` and `p`, int32 [M, N]; None for `k` and `v`.
        product: of `q` and `p`: what their spikes select, an entry for each sequence and head of keys, M / B rows each.
        sequences: in the batch; rows are sequences, heads, tokens.
        length: tokens of a sequence.
    """

    name: str
    operand: Literal["q", "k", "p", "v"]
    x: Tensor
    codes: Tensor
    modality: Tensor
    timesteps: Tensor
    scale: Tensor
    attended: Tensor
    out_features: int
    valid: Tensor | None
    saturated: int
    acc: Tensor | None = None
    product: OperandMatmul | None = None
    sequences: int = 1
    length: int = 1


AttentionObserver = Callable[["SpikingAttention", AttentionSpikes], None]


class SpikingAttention:
    """The spiking products of one attention module: how its rows are coded, and what its spikes sum.

    Args:
        name: of the module, for messages and events.
        spec: the spiking encoding of its rows.
        backend: name of the backend that fires its neurons.
        fixed_modality: modality code of all its rows where the module alone tells it, else None.

    Attributes:
        observers: called with this object and what one operand's neurons did.
        number: by which compiled code knows it.
        contexts: make contexts in which the products run, for those who count what PyTorch computes.
    """

    def __init__(self, name: str, spec: AttentionSpec, backend: str, fixed_modality: int | None) -> None:
        self.name, self.spec, self.fixed_modality = name, spec, fixed_modality
        self.backend = get_backend(backend)
        self.require(self.backend)
        self.observers: list[AttentionObserver] = []
        self.contexts: list[Callable[[], contextlib.AbstractContextManager[Any]]] = []
        self.number = number_of(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.number = number_of(self)  # a copy is another one

    def require(self, backend: Backend) -> None:
        """Check that a backend can compute such products.

        Raises:
            InputError: it cannot.
        """
        rows = self.spec.rows
        backend.require(f"attention {self.name}", rows.coding, max(rows.timesteps.values()), 1, 1)

    # Coding rows

    def timesteps(self, batch: int, length: int, device: torch.device) -> int | Tensor:
        """T of the tokens of this pass: one for all, or int64 [batch, length]."""
        table = self.spec.rows.table(self.spec.rows.timesteps)
        if self.fixed_modality is not None:
            return int(table[self.fixed_modality])
        if len(set(table)) == 1:
            return int(table[0])
        pass_rows = current_rows()
        if pass_rows is not None and pass_rows.uniform is not None:
            return int(table[pass_rows.uniform])
        tokens = self._tokens(batch, length)
        if tokens.modality.shape[1] != length:
            raise InputError(
                f"attention {self.name} got {batch} x {length} tokens where the model has "
                f"{batch} x {tokens.modality.shape[1]}; their modality cannot be told. List the module in "
                "`attention.ignore` of TCLIFModifier, or give all modalities the same timesteps there."
            )
        return tokens.lookup(table, torch.int64, device).view(batch, length)

    @property
    def by_modality(self) -> bool:
        """Whether tokens of different modalities are treated differently."""
        return self.fixed_modality is None and len(set(self.spec.rows.timesteps.values())) > 1

    def _tokens(self, batch: int, end: int) -> TokenRows:
        """The tokens [batch, length] of the pass, which are `end` at least; all of them where that is None."""
        if current_rows() is None:
            raise InputError(
                f"attention {self.name} does not know the modality of its tokens: call the whole model with "
                "input_ids, or with inputs_embeds inside `with spike_compressor.modality_mask(mask):`."
            )
        rows = tokens_here(batch)
        if rows is None or rows.modality.shape[1] < end:
            raise InputError(
                f"attention {self.name} got {batch} x {end} tokens of a pass with "
                f"{list(current_rows().modality.shape)}, and which they are cannot be told. List the module "  # type: ignore[union-attr]
                "in `attention.ignore` of TCLIFModifier, or give all modalities the same timesteps there."
            )
        return rows

    def code(self, x: Tensor, timesteps: int | Tensor) -> tuple[Tensor, Tensor, int]:
        """Codes int8 [batch, heads, length, K], scales float32 [batch, heads, length], codes at the limit.

        `timesteps` is an int or int64 [batch, heads, length].
        """
        try:
            scale = absmax_scale(x, timesteps, self.spec.ratio)
            codes, saturated = quantize_rows(x, scale, timesteps, self.spec.rows.coding)
        except NonFiniteInputError as error:
            raise error.at(f"attention {self.name}") from None
        return codes, scale, saturated

    def _code_tokens(self, x: Tensor, operand: Literal["k", "v"]) -> tuple[Tensor, Tensor]:
        """Codes and scales of the keys or values of this pass's tokens."""
        batch, heads, length, _ = x.shape
        T = self.timesteps(batch, length, x.device)
        x = x.to(torch.float32)
        codes, scale, saturated = self.code(x, _by_head(T, heads))
        if self.observers:
            self._observe(operand, x, codes, T, scale, None, 0, saturated)
        return codes, scale

    def rows_for_cache(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """What the cache is to hold for the keys and values of this pass's tokens."""
        if torch.compiler.is_compiling() and not wants_gradient(key, value):
            return compiled.rows_for_cache(key, value, traced_modality(), self.number, self.spec.kv_cache)
        if self.spec.kv_cache and not wants_gradient(key, value):
            return pack_rows(*self._code_tokens(key, "k")), pack_rows(*self._code_tokens(value, "v"))
        if self.observers:  # coded here as well, so that every key and value is counted once
            self._code_tokens(key, "k")
            self._code_tokens(value, "v")
        T = self.timesteps(key.shape[0], key.shape[2], key.device)
        return with_timesteps(key, T), with_timesteps(value, T)

    def _synapses(self, key: Tensor, value: Tensor, head_dim: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Codes and scales of keys, then of values, whether they come coded, from a cache, or new."""
        from_cache = key.shape[-1] != head_dim
        for x, operand in ((key, "k"), (value, "v")):
            if x.dtype == torch.int8:
                yield unpack_rows(x)
            elif from_cache:
                rows, T = split_timesteps(x)
                codes, scale, _ = self.code(rows.to(torch.float32), T)
                yield codes, scale
            else:
                yield self._code_tokens(x, operand)  # type: ignore[arg-type]

    # The products

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        allowed: Tensor | None,
        bias: Tensor | None,
        scaling: float,
        softcap: float | None,
        keep_probabilities: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Attention of query [batch, heads, queries, D] to keys [batch, kv heads, keys, D].

        Args:
            key: real rows, or rows as `rows_for_cache` gave them to a cache.
            value: likewise.
            allowed: bool, broadcastable to [batch, heads, queries, keys]; None if every key is attended to.
            bias: numbers to be added to the scores, broadcastable likewise, or None.
            scaling: of the scores, usually 1 / sqrt(D).
            softcap: scores are `softcap * tanh(score / softcap)`; None for none.
            keep_probabilities: return them, before they are coded.

        Returns:
            float32 [batch, heads, queries, width of values], and the probabilities float32 or None.
        """
        if torch.compiler.is_compiling():
            modality, width = traced_modality(), value.shape[-1]
            if value.dtype == torch.int8:
                width -= SCALE_BYTES
            elif key.shape[-1] != query.shape[-1]:  # rows from a cache, followed by their T
                width -= 1
            settings = (self.number, width, scaling, softcap, keep_probabilities)
            out, kept_here = compiled.attention(query, key, value, allowed, bias, modality, *settings)
            return out, kept_here if keep_probabilities else None
        batch, heads, queries, D = query.shape
        (key_codes, key_scale), (value_codes, value_scale) = self._synapses(key, value, D)
        kv_heads, keys, width = value_codes.shape[1:]
        if keys > MAX_KEYS:
            raise InputError(f"attention {self.name}: {keys} keys; the softmax is exact up to {MAX_KEYS}")
        limit = (2 ** max(self.spec.rows.timesteps.values()) - 1) ** 2
        into_keys = OperandMatmul(
            *(key_codes.reshape(-1, keys, D).transpose(1, 2), limit * D, f"{self.name}: Q K^T"),
            scale=key_scale.reshape(-1, keys),
        )
        into_values = OperandMatmul(value_codes.reshape(-1, keys, width), limit * keys, f"{self.name}: P V")
        # one row of scales a query head: heads that share keys lie together
        key_scale, value_scale = (
            scale.repeat_interleave(heads // kv_heads, dim=1).unsqueeze(2) for scale in (key_scale, value_scale)
        )
        T = self.timesteps(batch, queries, query.device)
        outputs, kept = [], []
        for part in self.parts(query, keys):
            first = part.start
            here = T if isinstance(T, int) else T[:, part]
            mask = allowed if allowed is None else allowed[..., part, :]
            acc, scale = self._fire("q", query[:, :, part].to(torch.float32), here, into_keys, mask, keys, first)
            scores = acc.to(torch.float32).mul_(scale.unsqueeze(-1)).mul_(key_scale).mul_(scaling)
            if softcap is not None:
                scores = tanh(scores / softcap) * softcap
            if bias is not None:
                scores = scores + bias[..., part, :]
            probabilities = softmax(scores, mask)
            if keep_probabilities:
                kept.append(probabilities)
            # A value row has a scale of its own, which no integer sum over keys can carry: the probability takes it
            weighted = probabilities * value_scale
            acc, scale = self._fire("p", weighted, here, into_values, mask, width, first)
            outputs.append(acc.to(torch.float32) * scale.unsqueeze(-1))
        return torch.cat(outputs, dim=2), torch.cat(kept, dim=2) if keep_probabilities else None

    def parts(self, query: Tensor, keys: int) -> Iterator[slice]:
        """Queries [batch, heads, queries, D] whose scores are computed at a time."""
        batch, heads, queries, _ = query.shape
        step = max(1, _BLOCK // max(1, batch * heads * keys))
        for first in range(0, queries, step):
            yield slice(first, first + step)

    def _fire(
        self,
        operand: Literal["q", "p"],
        x: Tensor,
        timesteps: int | Tensor,
        product: OperandMatmul,
        allowed: Tensor | None,
        out_features: int,
        first: int,
    ) -> tuple[Tensor, Tensor]:
        """Accumulators int32 [batch, heads, rows, N] and scales [batch, heads, rows] of rows that spike into N."""
        batch, heads, rows, K = x.shape
        T = _by_head(timesteps, heads)
        flat = T if isinstance(T, int) else T.reshape(-1)
        x = x.reshape(-1, K)
        try:
            scale = absmax_scale(x, flat, self.spec.ratio)
            result = self.backend.run(
                Drive(x, scale, flat, self.spec.rows.coding, product, observed=bool(self.observers))
            )
        except NonFiniteInputError as error:
            raise error.at(f"attention {self.name}, {'queries' if operand == 'q' else 'probabilities'}") from None
        shape = (batch, heads, rows)
        scale = scale.view(shape)
        if self.observers:
            self._observe(
                operand,
                x.view(*shape, K),
                result.codes.view(*shape, K),
                timesteps,
                scale,
                _attended(allowed, shape, out_features if operand == "q" else K, x.device),
                out_features,
                result.saturated,
                first,
                (result.acc, product),
            )
        return result.acc.view(*shape, result.acc.shape[-1]), scale

    def _observe(
        self,
        operand: Literal["q", "k", "p", "v"],
        x: Tensor,
        codes: Tensor,
        timesteps: int | Tensor,
        scale: Tensor,
        attended: Tensor | None,
        out_features: int,
        saturated: int,
        first: int = 0,
        sums: tuple[Tensor, OperandMatmul] | tuple[None, None] = (None, None),
    ) -> None:
        if is_recomputing():
            return
        batch, heads, length, K = x.shape
        valid: Tensor | None = None
        if self.fixed_modality not in (None, TEXT):
            modality = torch.full((batch, length), self.fixed_modality, dtype=torch.uint8, device=x.device)
        else:
            rows = self._tokens(batch, first + length)
            modality = rows.modality[:, first : first + length].to(x.device)
            if rows.valid is not None:
                valid = _by_head(rows.valid[:, first : first + length].to(x.device), heads).reshape(-1)
        steps = timesteps if isinstance(timesteps, Tensor) else torch.full((batch, length), timesteps, device=x.device)
        M = batch * heads * length
        event = AttentionSpikes(
            self.name,
            operand,
            x.reshape(M, K),
            codes.reshape(M, K),
            _by_head(modality, heads).reshape(M),
            _by_head(steps, heads).reshape(M),
            scale.reshape(M),
            torch.zeros(M, dtype=torch.int64, device=x.device) if attended is None else attended.reshape(M),
            out_features,
            valid,
            saturated,
            *(*sums, batch, length),
        )
        for observer in list(self.observers):
            observer(self, event)

    def __repr__(self) -> str:
        T = ", ".join(f"{name} T={self.spec.rows.timesteps[name]}" for name in self.spec.rows.timesteps)
        return f"SpikingAttention({self.name}, {self.spec.rows.coding}, {T}, backend={self.backend.name})"


def _by_head(values: Any, heads: int) -> Any:
    """[batch, length] -> [batch, heads, length]; an int stays one."""
    return values[:, None].expand(-1, heads, -1) if isinstance(values, Tensor) else values


def _attended(allowed: Tensor | None, shape: tuple[int, int, int], keys: int, device: torch.device) -> Tensor:
    """How many keys each row may attend to, int64 [batch, heads, rows]."""
    if allowed is None:
        return torch.full(shape, keys, dtype=torch.int64, device=device)
    return allowed.expand(*shape, keys).sum(dim=-1)
