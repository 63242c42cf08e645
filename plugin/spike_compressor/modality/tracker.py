"""The mask of the forward pass under way: set by hooks on the model, read by every spiking layer."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.modality.base import MODALITIES, ModalityAdapter, TokenRows


@dataclass(frozen=True)
class _Frame:
    """The rows of one forward pass, and the pass that it was called from."""

    rows: TokenRows | None
    outer: _Frame | None
    owner: Any = None


# Context variables, so that two threads that run the same model do not see each other's tokens.
_FRAME: ContextVar[_Frame | None] = ContextVar("spike_compressor_frame", default=None)
_EXPLICIT: ContextVar[TokenRows | None] = ContextVar("spike_compressor_explicit_rows", default=None)


def current_rows() -> TokenRows | None:
    """Token rows of the forward pass under way, or None outside one (or where it could not be told)."""
    frame = _FRAME.get()
    return None if frame is None else frame.rows


@contextlib.contextmanager
def rows_scope(rows: TokenRows | None) -> Iterator[None]:
    """Make `rows` the current token rows within the block."""
    outer = _FRAME.get()
    _FRAME.set(_Frame(rows, outer))
    try:
        yield
    finally:
        _FRAME.set(outer)


@contextlib.contextmanager
def modality_mask(mask: Tensor, valid: Tensor | None = None) -> Iterator[None]:
    """State the modality of the rows of `inputs_embeds`, which carry no token ids.

    Args:
        mask: integer [batch, sequence]: 0 text, 1 vision.
        valid: bool [batch, sequence], False at padding; None if there is none.

    While decoding with a cache, later steps of one token have `input_ids` again and need no mask.
    """
    if mask.dim() != 2:
        raise InputError(f"modality mask must be [batch, sequence], got shape {tuple(mask.shape)}")
    if mask.numel() and (int(mask.min()) < 0 or int(mask.max()) >= len(MODALITIES)):
        raise InputError(f"modality mask has values outside 0..{len(MODALITIES) - 1} ({', '.join(MODALITIES)})")
    token = _EXPLICIT.set(TokenRows(mask.to(torch.uint8), None if valid is None else valid.to(torch.bool)))
    try:
        yield
    finally:
        _EXPLICIT.reset(token)


def _parameters(module_class: Any) -> tuple[str, ...]:
    """Names of the positional parameters of a module's `forward`."""
    return tuple(inspect.signature(module_class.forward).parameters)[1:]


class ModalityTracker:
    """Hooks on a model that keep `current_rows` right during each of its forward passes.

    They sit on the model and on its base model, so that both entry points work. `on_rows`, if given, is called once a
    forward pass with its rows (statistics count tokens with it).
    """

    def __init__(self, model: nn.Module, adapter: ModalityAdapter) -> None:
        self.adapter = adapter
        self.on_rows: Callable[[TokenRows], None] | None = None
        self._handles: list[Any] = []
        entry_points = [model]
        base = getattr(model, "base_model", None)
        if isinstance(base, nn.Module) and base is not model:
            entry_points.append(base)
        for entry in entry_points:
            # bound methods, not closures: a copied or unpickled model then has a tracker of its own
            self._handles.append(entry.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True))
            self._handles.append(entry.register_forward_hook(self._after, always_call=True))

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = dict(zip(_parameters(type(module)), args, strict=False))
        inputs.update(kwargs)
        # torch calls no hook after KeyboardInterrupt: a frame of this very module is left from a pass that was stopped
        outer = frame = _FRAME.get()
        while frame is not None:
            if frame.owner is module:
                outer = frame.outer
            frame = frame.outer
        _FRAME.set(outer)
        rows = self._rows(inputs)
        _FRAME.set(_Frame(rows, outer, module))
        if outer is None and rows is not None and self.on_rows is not None:
            self.on_rows(rows)

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        frame = _FRAME.get()
        # called after exceptions too, and then also where a hook before `_before` raised and there is no frame of ours
        if frame is not None and frame.owner is module:
            _FRAME.set(frame.outer)

    def _rows(self, inputs: dict[str, Any]) -> TokenRows | None:
        ids, embeds = inputs.get("input_ids"), inputs.get("inputs_embeds")
        attention_mask = inputs.get("attention_mask")
        if isinstance(attention_mask, dict):  # a mask per attention type: nothing in it tells padding
            attention_mask = None
        explicit = _EXPLICIT.get()
        source = ids if ids is not None else embeds
        if explicit is not None and source is not None and explicit.modality.shape == source.shape[:2]:
            return explicit
        if explicit is not None and ids is None and embeds is not None and _FRAME.get() is None:
            raise InputError(
                f"the modality mask is for {list(explicit.modality.shape)} tokens, inputs_embeds has "
                f"{list(embeds.shape[:2])}"
            )
        if ids is not None:
            return self.adapter.token_rows(ids, attention_mask)
        if embeds is not None and not self.adapter.multimodal:
            text = torch.zeros(embeds.shape[:2], dtype=torch.long, device=embeds.device)
            return self.adapter.token_rows(text, attention_mask)
        # An inner model that got embeddings from an outer one goes on with the outer one's rows.
        return current_rows()
