"""Multiply-accumulates of everything that PyTorch computes in a block, spiking layers left out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from spike_compressor.runtime import SpikingAttention


def _cpu_attention_flops(query: Any, key: Any, value: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    """Both products of softmax attention, of tensors [B, H, Lq, D], [B, *, Lk, D] and [B, *, Lk, Dv]."""
    B, heads, length, D = query.shape
    return int(2 * B * heads * length * key.shape[-2] * (D + value.shape[-1]))


#: PyTorch's formulas, and the CPU's fused attention, which it passes over.
_FLOPS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention_flops,
}


class OperationCounter(TorchDispatchMode):
    """Counts the operations that PyTorch has a formula for.

    `torch.utils.flop_counter.FlopCounterMode` with the same formulas also keeps count by module and tries to decompose
    every operation; on small layers that takes several times as long as the forward pass itself.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self._flops = 0
        self._whole: set[Any] = set()  # operations that are no compositions of others

    @property
    def macs(self) -> int:
        """Multiply-accumulates so far."""
        return self._flops // 2

    @contextlib.contextmanager
    def passing_over(self, modules: Iterable[nn.Module], attention: Iterable[SpikingAttention] = ()) -> Iterator[None]:
        """Within the block what the `forward` of these modules computes is not counted; hooks on them are.

        Of `attention` the products are passed over.
        """
        spiking = list(attention)
        for products in spiking:
            products.contexts.append(self.aside)
        handles: list[Any] = []
        for module in modules:  # the last thing before `forward`, and the first after it
            handles.append(module.register_forward_pre_hook(self._step_aside))
            handles.append(module.register_forward_hook(self._come_back, prepend=True, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for products in spiking:
                products.contexts.remove(self.aside)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Within the block nothing is counted; for code that runs while this counts."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()

    def _step_aside(self, module: nn.Module, args: Any) -> None:
        self.__exit__(None, None, None)

    def _come_back(self, module: nn.Module, args: Any, output: Any) -> None:
        self.__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = getattr(func, "_overloadpacket", None)
        if packet is None:  # a higher-order operator: what it is made of comes by
            return NotImplemented
        formula = _FLOPS.get(packet)
        if formula is None and func not in self._whole:
            with self:  # in inference mode compositions of other operations arrive here undone
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
            self._whole.add(func)
        out = func(*args, **kwargs)
        if formula is not None:
            self._flops += formula(*args, **kwargs, out_val=out)
        return out
