"""Gradient checkpointing: layers that run again during the backward pass know the token rows of their first run."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from spike_compressor.modality import ModalityTracker

_FUNCTION = "_gradient_checkpointing_func"
_RECOMPUTING: contextvars.ContextVar[bool] = contextvars.ContextVar("spike_compressor_recomputing", default=False)


def is_recomputing() -> bool:
    """Whether what runs has run before and was counted then."""
    return _RECOMPUTING.get()


class Recomputation:
    """A hook on a model that lets transformers' gradient checkpointing carry the token rows along.

    The backward pass is outside the model's forward pass, and may be in another thread: what the forward pass keeps in
    context variables is gone by then. So each checkpointed call remembers them.

    Args:
        model: that spikes.
        tracker: of its rows.
    """

    def __init__(self, model: nn.Module, tracker: ModalityTracker) -> None:
        self._tracker = tracker
        # a bound method, as in the modality tracker: a copied model has its own
        self._handle: Any = model.register_forward_pre_hook(self._before, prepend=True)

    def remove(self) -> None:
        """Take the hook off."""
        self._handle.remove()

    def _before(self, module: nn.Module, args: Any) -> None:
        if not module.training or not torch.is_grad_enabled():
            return
        for layer in module.modules():
            function = layer.__dict__.get(_FUNCTION)
            if function is not None and not isinstance(function, _Remembering):
                layer.__dict__[_FUNCTION] = _Remembering(function, self._tracker)


class _Remembering:
    """A checkpointing function whose calls run again in the context of their first run."""

    def __init__(self, function: Callable[..., Any], tracker: ModalityTracker) -> None:
        self.function, self._tracker = function, tracker

    def __call__(self, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.function(_Run(run, self._tracker), *args, **kwargs)


class _Run:
    def __init__(self, run: Callable[..., Any], tracker: ModalityTracker) -> None:
        self._run, self._tracker = run, tracker
        self._context: contextvars.Context | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._context is None:
            self._context = contextvars.copy_context()
            return self._run(*args, **kwargs)
        return self._context.copy().run(self._again, args, kwargs)

    def _again(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _RECOMPUTING.set(True)
        with self._tracker.again():
            return self._run(*args, **kwargs)
