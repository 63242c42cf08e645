"""Backends: how a layer's spikes reach its accumulators. All give the same integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from spike_compressor.coding import encode, quantize_rows
from spike_compressor.registry import Registry

#: Exact integer product of codes [M, K] with what the spikes select: accumulators int32 [M, N] or [M, N, G].
IntegerProduct = Callable[[Tensor], Tensor]


class Synapses(NamedTuple):
    """What reached the accumulators of a layer.

    `codes` integer [M, K] as the spikes spell them; `acc` int32 [M, N] or [M, N, G]; `saturated`: codes at the limit.
    """

    codes: Tensor
    acc: Tensor
    saturated: int


class Backend:
    """Fires the neurons of one layer for rows x float32 [M, K] and accumulates what their spikes carry."""

    name: ClassVar[str]
    """Set by `register_backend`."""

    def run(
        self,
        x: Tensor,
        scale: Tensor,
        timesteps: int | Tensor,
        zero_point: Tensor | None,
        coding: str,
        matmul: IntegerProduct,
        silenced: Tensor | None,
    ) -> Synapses:
        """Codes and accumulators; `silenced` bool [K] marks neurons that must not fire.

        Raises:
            spike_compressor.coding.NonFiniteInputError: NaN or infinity in x.
        """
        raise NotImplementedError


BACKENDS: Registry[type[Backend]] = Registry("backend", "spike_compressor.backends", named=True)
BackendT = TypeVar("BackendT", bound=type[Backend])


def register_backend(name: str) -> Callable[[BackendT], BackendT]:
    """Class decorator: make a backend known under a name.

    Raises:
        InputError: the name belongs to another one.
    """
    return BACKENDS.register(name)


def available_backends() -> tuple[str, ...]:
    """Names that `load(backend=...)` takes, sorted."""
    return BACKENDS.names()


def get_backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        InputError: unknown name.
    """
    return BACKENDS.get(name)()


@register_backend("fused")
class Fused(Backend):
    """All timesteps at once: the spike train of a row is carried as its integer code, one integer product a layer."""

    def run(
        self,
        x: Tensor,
        scale: Tensor,
        timesteps: int | Tensor,
        zero_point: Tensor | None,
        coding: str,
        matmul: IntegerProduct,
        silenced: Tensor | None,
    ) -> Synapses:
        codes, saturated = quantize_rows(x, scale, timesteps, coding=coding, zero_point=zero_point)
        if silenced is not None:
            codes = codes.masked_fill(silenced, 0)
        return Synapses(codes, matmul(codes), saturated)


@register_backend("unrolled")
class Unrolled(Backend):
    """One timestep at a time, as hardware does it: every step's spikes select weights, steps add up shifted."""

    def run(
        self,
        x: Tensor,
        scale: Tensor,
        timesteps: int | Tensor,
        zero_point: Tensor | None,
        coding: str,
        matmul: IntegerProduct,
        silenced: Tensor | None,
    ) -> Synapses:
        train = encode(x, scale, timesteps, coding, zero_point=zero_point)
        acc: Tensor | None = None
        for spikes, weight in zip(train.spikes, train.weights, strict=True):
            if silenced is not None:
                spikes = spikes.masked_fill(silenced, 0)
            sums = matmul(spikes)
            rows = weight.to(torch.int32).view(-1, *[1] * (sums.dim() - 1))  # one weight, or one a row
            acc = sums * rows if acc is None else acc + sums * rows
        codes = train.codes()
        live = torch.ones(1, x.shape[1], dtype=torch.int8, device=x.device)
        if silenced is not None:
            codes, live = codes.masked_fill(silenced, 0), live.masked_fill(silenced, 0)
        if acc is None:  # no rows, hence no steps
            acc = matmul(codes)
        if train.zero_point is not None:
            # {0, 1} spikes spell code + zero point: take back what the zero points of the live inputs added
            offset = torch.as_tensor(train.zero_point, dtype=torch.int32, device=x.device)
            column = matmul(live)
            acc = acc - offset.view(-1, *[1] * (column.dim() - 1)) * column
        return Synapses(codes, acc, train.saturated)
