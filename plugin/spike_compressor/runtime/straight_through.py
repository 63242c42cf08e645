"""Gradients of what spikes compute: the straight-through estimator, for layers and for attention.

Forward, nothing changes: the same neurons, the same integers, the same bits. Backward, a neuron counts as the identity
where its input fits the range of its codes, and as a constant where it clips; thresholds are constants. So the
gradients are those of real arithmetic at the coded values, as in quantization-aware training. docs/numerics.md has the
formulas.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spike_compressor.coding import clipped
from spike_compressor.errors import InputError
from spike_compressor.modality import TokenRows, rows_scope, traced_modality
from spike_compressor.runtime.backends import Drive
from spike_compressor.runtime.cache import split_timesteps, unpack_rows
from spike_compressor.runtime.precision import without_autocast
from spike_compressor.runtime.spec import AttentionSpec
from spike_compressor.runtime.weights import outside_range

# Layers


class Layer(Protocol):
    """What a spiking layer is to its gradient."""

    neurons: Any
    bias: Any

    @property
    def weight(self) -> Tensor:
        """The float weights, where these train."""


class Computed(NamedTuple):
    """What a layer computed of its rows.

    Attributes:
        drive: of its neurons.
        codes: integer [M, K].
        clips: False where no code lies beyond its range.
        output: float32 [M, N].
    """

    drive: Drive
    codes: Tensor
    clips: bool
    output: Tensor


def rows_to_outputs(layer: Layer, x: Tensor, compute: Callable[[Tensor], Computed]) -> Tensor:
    """Outputs float32 [M, N] of rows float32 [M, K], through which gradients pass where autograd is at work.

    Args:
        layer: whose integer weights, bias and, in training, float weights are used.
        x: the rows.
        compute: from rows to outputs; it records nothing for autograd.
    """
    neurons = layer.neurons
    weight = None
    if neurons.master is not None:
        neurons.follow()
        weight = layer.weight
    if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in (x, weight, layer.bias)):
        return _Rows.apply(x, weight, layer.bias, layer, compute)
    return compute(x).output


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        layer: Layer,
        compute: Callable[[Tensor], Computed],
    ) -> Tensor:
        drive, codes, clips, output = compute(x)
        blocked = drive.blocked() if clips or drive.silenced is not None else None
        trained = weight is not None and ctx.needs_input_grad[1]
        ctx.layer, ctx.integer = layer, layer.neurons.present
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.save_for_backward(blocked, drive.scale, *(codes, weight) if trained else (None, None))
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        blocked, scale, codes, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        with without_autocast(gradient.device):
            gradient = gradient.to(torch.float32)
            if ctx.needs_input_grad[0]:
                of_x = gradient @ ctx.integer.floats()
                if blocked is not None:
                    of_x.masked_fill_(blocked, 0.0)
            if codes is not None:
                of_weight = gradient.t() @ (codes * scale.unsqueeze(1))
                of_weight.masked_fill_(outside_range(ctx.layer, weight), 0.0)
                of_weight = of_weight.to(weight.dtype)
            if ctx.needs_input_grad[2]:
                of_bias = gradient.sum(dim=0).to(ctx.bias_dtype)
        return of_x, of_weight, of_bias, None, None


# Attention


class Attention(Protocol):
    """What a spiking attention is to its gradient; see `SpikingAttention`."""

    name: str
    spec: AttentionSpec

    def timesteps(self, batch: int, length: int, device: torch.device) -> int | Tensor:
        """T of the tokens of this pass."""

    def code(self, x: Tensor, timesteps: int | Tensor) -> tuple[Tensor, Tensor, int]:
        """Codes, scales, and how many codes clip."""

    def parts(self, query: Tensor, keys: int) -> Iterator[slice]:
        """Queries whose scores are computed at a time."""

    def __call__(self, *args: Any) -> tuple[Tensor, Tensor | None]:
        """Output and probabilities."""


class Settings(NamedTuple):
    """What a call of a spiking attention has beside queries, keys and values; see `SpikingAttention.__call__`."""

    allowed: Tensor | None
    bias: Tensor | None
    scaling: float
    softcap: float | None
    keep_probabilities: bool


def attend(
    attention: Attention, query: Tensor, key: Tensor, value: Tensor, settings: Settings
) -> tuple[Tensor, Tensor | None]:
    """What the attention gives, with gradients to queries, keys and values where autograd is at work.

    The probabilities are a by-product without gradients.

    Raises:
        InputError: a bias of scores that wants a gradient.
    """
    if torch.is_grad_enabled():
        if settings.bias is not None and settings.bias.requires_grad:
            raise InputError(
                f"attention {attention.name} spikes and gives no gradient to its mask; freeze what computes the mask, "
                "or list the module in `attention.ignore` of TCLIFModifier"
            )
        if query.requires_grad or key.requires_grad or value.requires_grad:
            if torch.compiler.is_compiling():
                return _between_graphs(attention, query, key, value, settings, traced_modality())
            return _Attention.apply(query, key, value, attention, settings)
    with torch.no_grad():
        return attention(query, key, value, *settings)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _between_graphs(
    attention: Attention, query: Tensor, key: Tensor, value: Tensor, settings: Settings, modality: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    with contextlib.nullcontext() if modality is None else rows_scope(TokenRows(modality)):
        return attend(attention, query, key, value, settings)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, attention: Attention, settings: Settings
    ) -> tuple[Tensor, Tensor | None]:
        out, probabilities = attention(query, key, value, *settings)
        if probabilities is not None:
            ctx.mark_non_differentiable(probabilities)
        ctx.save_for_backward(query, key, value, settings.allowed, settings.bias)
        ctx.attention, ctx.scaling, ctx.softcap = attention, settings.scaling, settings.softcap
        batch, _, queries, _ = query.shape
        new = key.shape[-1] == query.shape[-1]  # cached rows carry their own T
        # of the pass under way: backward has none
        ctx.timesteps = attention.timesteps(batch, queries, query.device)
        ctx.key_timesteps = attention.timesteps(batch, key.shape[2], key.device) if new else None
        return out, probabilities

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        query, key, value, allowed, bias = ctx.saved_tensors
        attention: Attention = ctx.attention
        with torch.no_grad(), without_autocast(gradient.device):
            gradient = gradient.to(torch.float32)
            q, k, v = (
                _Operand.of(attention, rows, timesteps)
                for rows, timesteps in ((query, ctx.timesteps), (key, ctx.key_timesteps), (value, ctx.key_timesteps))
            )
            sums = [torch.zeros_like(one.coded) for one in (q, k, v)]
            for part in attention.parts(query, k.coded.shape[2]):
                here = ctx.timesteps if isinstance(ctx.timesteps, int) else ctx.timesteps[:, part]
                mask = None if allowed is None else allowed[..., part, :]
                added = None if bias is None else bias[..., part, :]
                with torch.enable_grad():
                    leaves = [one.detach().requires_grad_() for one in (q.coded[:, :, part], k.coded, v.coded)]
                    out = _real(attention, leaves, v.scale, here, mask, added, ctx.scaling, ctx.softcap)
                of_q, of_k, of_v = torch.autograd.grad(out, leaves, gradient[:, :, part])
                sums[0][:, :, part] += of_q
                sums[1] += of_k
                sums[2] += of_v
            results = [one.gradient(total) for one, total in zip((q, k, v), sums, strict=True)]
        needed = ctx.needs_input_grad
        return *(result if needed[index] else None for index, result in enumerate(results)), None, None


class _Operand(NamedTuple):
    """Queries, keys or values as they were coded."""

    rows: Tensor  # as they were given
    coded: Tensor  # float32 [batch, heads, length, width], codes times scales
    scale: Tensor  # float32 [batch, heads, length]
    blocked: Tensor | None

    @classmethod
    def of(cls, attention: Attention, rows: Tensor, timesteps: int | Tensor | None) -> _Operand:
        if rows.dtype == torch.int8:
            codes, scale = unpack_rows(rows)
            return cls(rows, codes * scale.unsqueeze(-1), scale, None)
        x = rows
        if timesteps is None:
            x, T = split_timesteps(rows)
        elif isinstance(timesteps, Tensor):
            T = timesteps[:, None].expand(-1, rows.shape[1], -1)
        else:
            T = timesteps  # type: ignore[assignment]
        return cls(rows, *_coded(attention, x.to(torch.float32), T))

    def gradient(self, total: Tensor) -> Tensor | None:
        """The gradient of the rows, of that of what they stand for."""
        if not self.rows.is_floating_point():
            return None
        if self.blocked is not None:
            total = total.masked_fill(self.blocked, 0.0)
        columns = self.rows.shape[-1] - total.shape[-1]  # 1 where a cached row carries its T
        return torch.nn.functional.pad(total, (0, columns)).to(self.rows.dtype)


def _coded(attention: Attention, x: Tensor, timesteps: int | Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """What the codes of rows float32 [batch, heads, length, K] stand for, their scales, and where they clip."""
    codes, scale, saturated = attention.code(x, timesteps)
    blocked = clipped(x, scale, timesteps, attention.spec.rows.coding) if saturated else None
    return codes * scale.unsqueeze(-1), scale, blocked


def _real(
    attention: Attention,
    operands: list[Tensor],
    value_scale: Tensor,
    timesteps: int | Tensor,
    allowed: Tensor | None,
    bias: Tensor | None,
    scaling: float,
    softcap: float | None,
) -> Tensor:
    """The attention's output in real arithmetic that autograd follows, at the values that the codes stand for."""
    query, key, value = operands
    heads = query.shape[1]
    groups = heads // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(2, 3) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if bias is not None:
        scores = scores + bias
    if allowed is not None:
        scores = scores.masked_fill(~allowed, torch.finfo(torch.float32).min)
    probabilities = scores.softmax(dim=-1)
    if allowed is not None:
        probabilities = probabilities * allowed  # a row without any key
    folded = value_scale.repeat_interleave(groups, dim=1).unsqueeze(2)
    weighted = probabilities * folded
    T = timesteps if isinstance(timesteps, int) else timesteps[:, None].expand(-1, heads, -1)
    coded, _, blocked = _coded(attention, weighted.detach(), T)
    passed = weighted + (coded - weighted).detach()
    if blocked is not None:
        passed = torch.where(blocked, coded, passed)
    return (passed / folded.masked_fill(folded == 0, 1.0)) @ value
