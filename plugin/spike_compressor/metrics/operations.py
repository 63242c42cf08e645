"""Multiply-accumulates of everything that PyTorch computes in a block, spiking layers left out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils.flop_counter import flop_registry

from spike_compressor.runtime import SpikingAttention, added_to


def _cpu_attention_flops(query: Any, key: Any, value: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    """Both products of softmax attention, of tensors [B, H, Lq, D], [B, *, Lk, D] and [B, *, Lk, Dv]."""
    B, heads, length, D = query.shape
    return int(2 * B * heads * length * key.shape[-2] * (D + value.shape[-1]))


#: PyTorch's formulas, and the CPU's fused attention, which it passes over.
_FLOPS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention_flops,
}


class _Dispatch(TorchDispatchMode):
    """Sees every operation of a thread once, for all the counters that run there.

    PyTorch ends dispatch modes in the opposite order to that in which they began; blocks that count may end in any. So
    there is one mode for all of them, on as long as one of them counts.

    `torch.utils.flop_counter.FlopCounterMode` with the same formulas also keeps count by module and tries to decompose
    every operation; on small layers that takes several times as long as the forward pass itself.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.counters: list[OperationCounter] = []
        self._on = False
        self._whole: set[Any] = set()  # operations that are no compositions of others

    def update(self) -> None:
        """Go on or off, as the counters need it: off, operations are as fast as ever."""
        needed = any(not counter.is_paused for counter in self.counters)
        if needed and not self._on:
            self.__enter__()
            self._on = True
        # under a mode of somebody else it stays on, and counts for nobody: only the uppermost one can go off
        elif self._on and not needed and _get_current_dispatch_mode() is self:
            self.__exit__(None, None, None)
            self._on = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        counting = [counter for counter in self.counters if not counter.is_paused]
        if not counting:
            return func(*args, **kwargs)
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
            flops = formula(*args, **kwargs, out_val=out)
            for counter in counting:
                counter.flops += flops
        return out


class _OfThread(threading.local):
    """PyTorch's modes are a thread's own, and so is ours."""

    def __init__(self) -> None:
        self.dispatch = _Dispatch()


_THREAD = _OfThread()


class OperationCounter:
    """Counts the operations within a block that PyTorch has a formula for.

    Blocks may nest, overlap and end in any order; each counts what runs inside it.

    Attributes:
        flops: floating-point operations so far.
    """

    def __init__(self) -> None:
        self.flops = 0
        self._dispatch: _Dispatch | None = None
        self._paused_by: list[Any] = []

    @property
    def macs(self) -> int:
        """Multiply-accumulates so far."""
        return self.flops // 2

    @property
    def is_paused(self) -> bool:
        """Whether operations are not counted at present."""
        return bool(self._paused_by)

    def __enter__(self) -> OperationCounter:
        self._dispatch = _THREAD.dispatch
        self._dispatch.counters.append(self)
        self._dispatch.update()
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._dispatch is not None
        dispatch, self._dispatch = self._dispatch, None
        dispatch.counters.remove(self)
        dispatch.update()

    @contextlib.contextmanager
    def excluding(self, modules: Iterable[nn.Module], attention: Iterable[SpikingAttention] = ()) -> Iterator[None]:
        """Within the block what the `forward` of these modules computes is not counted; hooks on them are.

        Of `attention` the products are not counted.
        """
        handles: list[Any] = []
        with added_to([products.contexts for products in attention], self.paused):
            try:
                for module in modules:  # the last thing before `forward`, and the first after it
                    handles.append(module.register_forward_pre_hook(self._pause))
                    handles.append(module.register_forward_hook(self._resume, prepend=True, always_call=True))
                yield
            finally:
                for handle in handles:
                    handle.remove()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block nothing is counted."""
        mark = object()
        self._pause_for(mark)
        try:
            yield
        finally:
            self._resume_from(mark)

    def _pause(self, module: nn.Module, args: Any) -> None:
        self._resume_from(module)  # torch calls no hook after KeyboardInterrupt: the mark of a call that was stopped
        self._pause_for(module)

    def _resume(self, module: nn.Module, args: Any, output: Any) -> None:
        self._resume_from(module)

    def _pause_for(self, mark: Any) -> None:
        self._paused_by.append(mark)
        if self._dispatch is not None:
            self._dispatch.update()

    def _resume_from(self, mark: Any) -> None:
        """Undo what `mark` paused, if it did: the hook after `forward` runs where the one before it did not, too."""
        for index, one in enumerate(self._paused_by):
            if one is mark:
                del self._paused_by[index:]
                break
        if self._dispatch is not None:
            self._dispatch.update()
