"""The mask of the forward pass under way: set by hooks on the model, read by every spiking layer."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.modality.base import ModalityAdapter, TokenRows
from spike_compressor.modality.names import require_codes


@dataclass(frozen=True)
class _Frame:
    """The rows of one forward pass, and the pass that it was called from."""

    rows: TokenRows | None
    outer: _Frame | None
    owner: Any = None


@dataclass(frozen=True)
class _Stated:
    """Rows that were stated beforehand, for calls with embeddings.

    Attributes:
        repeats: True where such calls may come with every row several times over, as beam search and several answers a
            prompt want it.
    """

    rows: TokenRows
    repeats: bool = False

    def of(self, shape: torch.Size) -> TokenRows | None:
        """The rows of a call with tokens [batch, sequence]; None if they are not for it."""
        rows, (batch, length) = self.rows, shape
        if rows.modality.shape == shape:
            return rows
        if not self.repeats or rows.modality.shape[1] != length or batch % rows.modality.shape[0]:
            return None
        times = batch // rows.modality.shape[0]
        valid = None if rows.valid is None else rows.valid.repeat_interleave(times, 0)
        return TokenRows(rows.modality.repeat_interleave(times, 0), valid)


# Context variables, so that two threads that run the same model do not see each other's tokens.
_FRAME: ContextVar[_Frame | None] = ContextVar("spike_compressor_frame", default=None)
_EXPLICIT: ContextVar[_Stated | None] = ContextVar("spike_compressor_explicit_rows", default=None)


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
        mask: integer [batch, sequence] of codes of modalities: 0 text, 1 vision, 2 audio, then what was registered.
        valid: bool [batch, sequence], False at padding; None if there is none.

    While decoding with a cache, later steps of one token have `input_ids` again and need no mask.
    """
    if mask.dim() != 2:
        raise InputError(f"modality mask must be [batch, sequence], got shape {tuple(mask.shape)}")
    require_codes(mask, "the modality mask")
    token = _EXPLICIT.set(_Stated(TokenRows(mask.to(torch.uint8), None if valid is None else valid.to(torch.bool))))
    try:
        yield
    finally:
        _EXPLICIT.reset(token)


@lru_cache(maxsize=256)
def _parameters(function: Any) -> tuple[str, ...]:
    """Names of the parameters of a class's method, without the instance."""
    return tuple(inspect.signature(function).parameters)[1:]


def _arguments(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call of a class's method by name."""
    return {**dict(zip(_parameters(function), args, strict=False)), **kwargs}


class ModalityTracker:
    """Hooks on a model that keep `current_rows` right during each of its forward passes.

    They sit on the model, on its base model and on the language models within, so that each entry point works: an inner
    model that is called with embeddings goes on with the outer one's rows.

    Attributes:
        observers: called with the rows of each forward pass, once a pass, before it.
    """

    def __init__(self, model: nn.Module, adapter: ModalityAdapter) -> None:
        self.adapter = adapter
        self.observers: list[Callable[[TokenRows], None]] = []
        self._handles: list[Any] = []
        self._methods: list[tuple[nn.Module, str]] = []
        for name in adapter.methods:
            if not callable(getattr(type(model), name, None)):
                raise InputError(
                    f"{type(model).__name__} has no method {name!r}, which its modality adapter lists in `methods`"
                )
        for entry in _entry_points(model, adapter):
            # bound methods, not closures: a copied or unpickled model then has a tracker of its own
            self._handles.append(entry.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True))
            self._handles.append(entry.register_forward_hook(self._after, always_call=True))
        for name in adapter.methods:
            model.__dict__[name] = _Method(self, model, name)
            self._methods.append((model, name))

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for model, name in self._methods:
            model.__dict__.pop(name, None)
        self._methods.clear()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = _arguments(type(module).forward, args, kwargs)
        # torch calls no hook after KeyboardInterrupt: a frame of this very module is left from a pass that was stopped
        outer = frame = _FRAME.get()
        while frame is not None:
            if frame.owner is module:
                outer = frame.outer
            frame = frame.outer
        _FRAME.set(outer)
        rows = self._rows(inputs)
        _FRAME.set(_Frame(rows, outer, module))
        if outer is None and rows is not None:
            for observer in list(self.observers):
                observer(rows)

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        frame = _FRAME.get()
        # called after exceptions too, and then also where a hook before `_before` raised and there is no frame of ours
        if frame is not None and frame.owner is module:
            _FRAME.set(frame.outer)

    def _rows(self, inputs: dict[str, Any]) -> TokenRows | None:
        ids, embeds = inputs.get("input_ids"), inputs.get("inputs_embeds")
        source = ids if ids is not None else embeds
        stated, outer = _EXPLICIT.get(), current_rows()
        # an inner model that got embeddings from an outer one goes on with the outer one's rows
        if (
            ids is None
            and outer is not None
            and isinstance(embeds, Tensor)
            and outer.modality.shape == embeds.shape[:2]
        ):
            return outer
        # one more token has the shape of a prompt of one token, and is none of it
        if (
            stated is not None
            and isinstance(source, Tensor)
            and not (ids is not None and self.adapter.continues(inputs))
        ):
            rows = stated.of(source.shape[:2])
            if rows is not None:
                require_codes(rows.modality, "the modality mask", self.adapter.modalities)
                return rows
            if ids is None and _FRAME.get() is None:
                raise InputError(
                    f"the modality mask is for {list(stated.rows.modality.shape)} tokens, inputs_embeds has "
                    f"{list(source.shape[:2])}"
                )
        rows = self.adapter.rows(inputs)
        return outer if rows is None else rows


class _Method:
    """Stands before a method of a model: what its arguments tell holds for the calls with embeddings within.

    An object of a module's class, not a closure, for the sake of copies and pickles.
    """

    def __init__(self, tracker: ModalityTracker, model: nn.Module, name: str) -> None:
        self.tracker, self.model, self.name = tracker, model, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = getattr(type(self.model), self.name)
        rows = self.tracker.adapter.rows(_arguments(function, args, kwargs))
        if rows is None:
            return function(self.model, *args, **kwargs)
        token = _EXPLICIT.set(_Stated(rows, repeats=True))
        try:
            return function(self.model, *args, **kwargs)
        finally:
            _EXPLICIT.reset(token)


def _entry_points(model: nn.Module, adapter: ModalityAdapter) -> list[nn.Module]:
    """The model, its base model, and whatever on the way to the decoder layers takes tokens or embeddings."""
    entries = [model]
    base = getattr(model, "base_model", None)
    if isinstance(base, nn.Module):
        entries.append(base)
    try:
        path = next(iter(adapter.decoder_layers(model))).split(".")
    except InputError:
        path = []  # a model without a list of layers works through the entries above
    for depth in range(1, len(path)):
        module = model.get_submodule(".".join(path[:depth]))
        if {"input_ids", "inputs_embeds"} <= set(_parameters(type(module).forward)):
            entries.append(module)
    return list(dict.fromkeys(entries))
