"""The rows of the forward pass under way: set by hooks on the model, read by every spiking layer."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.modality.base import ModalityAdapter, TokenRows
from spike_compressor.modality.following import Following, Grid, Origin, current_grid, enter_grid, mark
from spike_compressor.modality.frames import FRAME, Frame, begin_pass, current_rows, end_pass, passes_end_here, unwound
from spike_compressor.modality.names import TEXT, require_codes
from spike_compressor.modality.scopes import Scopes, holders
from spike_compressor.modality.tracing import begin_traced, end_traced, traced_rows, unwind_traced


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


_EXPLICIT: ContextVar[_Stated | None] = ContextVar("spike_compressor_explicit_rows", default=None)


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
    """Hooks on a model that keep the tokens of each of its forward passes known, and which of them a row is.

    They sit on the model, on its base model and on the language models within, so that each entry point works: an inner
    model that is called with embeddings goes on with the outer one's rows. In an encoder-decoder model the two stacks
    have rows of their own.

    Args:
        model: to be tracked.
        adapter: tells the modality of its tokens.
        layers: names of the layers that rows are told to.
        matters: whether any of them does different things with rows of different modalities; if none does, rows are
            followed only while somebody watches.

    Attributes:
        observers: called with the rows of each forward pass, once a pass, before it; those of a stack whose rows only
            its output shows, after it.
    """

    def __init__(
        self, model: nn.Module, adapter: ModalityAdapter, layers: Iterable[str] = (), matters: bool = False
    ) -> None:
        self.adapter = adapter
        self.observers: list[Callable[[TokenRows], None]] = []
        self._matters, self._watched = matters, 0
        self._handles: list[Any] = []
        self._methods: list[tuple[nn.Module, str]] = []
        for name in adapter.methods:
            if not callable(getattr(type(model), name, None)):
                raise InputError(
                    f"{type(model).__name__} has no method {name!r}, which its modality adapter lists in `methods`"
                )
        self._stacks = _stacks(model)
        entries = list(dict.fromkeys([*_entry_points(model, adapter), *self._stacks]))
        followed = [name for name in layers if adapter.fixed_modality(name) in (None, TEXT)]
        self._scopes = Scopes(module for module in holders(model, followed).values() if module not in entries)
        self._around = _around(model, entries, followed)
        self._names = {type(entry): _parameters(type(entry).forward) for entry in entries}
        for entry in entries:
            # bound methods, not closures: a copied or unpickled model then has a tracker of its own
            self._handles.append(entry.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True))
            self._handles.append(entry.register_forward_hook(self._after, always_call=True))
        for name in adapter.methods:
            model.__dict__[name] = _Method(self, model, name)
            self._methods.append((model, name))

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within the block somebody wants to know each layer's rows."""
        self._watched += 1
        try:
            with passes_end_here():
                yield
        finally:
            self._watched -= 1

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Within the block rows are followed as in the pass whose context variables hold, should it have ended.

        For parts of a model that run again during the backward pass, in a copy of that context.
        """
        frame = FRAME.get()
        if frame is None or not frame.followed:
            yield
            return
        FRAME.set(Frame(frame.rows, None, followed=True, grids=[(None, current_grid())]))
        self._scopes.open()
        try:
            with Following():
                yield
        finally:
            self._scopes.close()

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for model, name in self._methods:
            model.__dict__.pop(name, None)
        self._methods.clear()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not torch.compiler.is_compiling():
            self._begin(module, args, kwargs)
        elif self._stacks or self._watched:
            self._begin_between_graphs(module, args, kwargs)
        elif self._matters:
            unwind_traced(module)
            inputs = {**dict(zip(self._names[type(module)], args, strict=False)), **kwargs}
            begin_traced(module, self._traced(inputs))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _begin_between_graphs(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._begin(module, args, kwargs, follow=False)

    def _traced(self, inputs: dict[str, Any]) -> TokenRows | None:
        ids, embeds, outer = inputs.get("input_ids"), inputs.get("inputs_embeds"), traced_rows()
        if ids is None and outer is not None and embeds is not None and outer.modality.shape == embeds.shape[:2]:
            return outer
        rows = self.adapter.rows(inputs)
        return outer if rows is None else rows

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], follow: bool = True) -> None:
        inputs = _arguments(type(module).forward, args, kwargs)
        outer = unwound(module)
        within = bool(self._stacks) and module not in self._stacks
        rows = None if within else self._rows(inputs)  # the arguments around two stacks are those of both
        frame = begin_pass(module, rows, follow and self._to_be_followed(rows, within))
        if frame.mode is not None:
            self._scopes.open()
            frame.at_end = self._scopes.close
        if frame.followed:
            _mark_inputs(inputs, rows)
        if rows is not None and (module in self._stacks if self._stacks else outer is None):
            self._tell(rows)

    def _to_be_followed(self, rows: TokenRows | None, within: bool) -> bool:
        if not (self._matters or self._watched):
            return False
        if rows is None:
            return within
        return rows.uniform is None or (rows.valid is not None and self._watched > 0)

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not torch.compiler.is_compiling():
            self._end(module, output)
        elif self._stacks or self._watched:
            self._end_between_graphs(module, output)
        elif self._matters:
            end_traced(module)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _end_between_graphs(self, module: nn.Module, output: Any) -> None:
        self._end(module, output)

    def _end(self, module: nn.Module, output: Any) -> None:
        frame = FRAME.get()
        # called after exceptions too, and then also where a hook before `_before` raised and there is no frame of ours
        if frame is None or frame.owner is not module:
            return
        end_pass(module)
        name = self._stacks.get(module)
        if name is None:
            return
        rows = frame.rows
        if rows is None:
            rows = frame.rows = self._rows_of_output(name, output)
            if rows is not None:
                self._tell(rows)
        if frame.outer is not None:  # what comes after a stack has its rows
            frame.outer.rows = rows
            if frame.outer.followed:
                enter_grid(Grid.of_tokens(rows))

    def _rows_of_output(self, name: str, output: Any) -> TokenRows | None:
        """The rows of a stack of one modality, whose input (sound, say) has others."""
        modality = self.adapter.fixed_modality(f"{name}.layers")
        hidden = output if isinstance(output, Tensor) else getattr(output, "last_hidden_state", None)
        if modality is None or not isinstance(hidden, Tensor) or hidden.dim() != 3:
            return None
        return TokenRows(torch.full(hidden.shape[:2], modality, dtype=torch.uint8, device=hidden.device))

    def _tell(self, rows: TokenRows) -> None:
        for observer in list(self.observers):
            observer(rows)

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
            if ids is None and FRAME.get() is None:
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


def _stacks(model: nn.Module) -> dict[nn.Module, str]:
    """Encoder and decoder of an encoder-decoder model, with their names; nothing for other models."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return {}
    names = {module: name for name, module in model.named_modules()}
    stacks: list[Any] = [getattr(model, name)() for name in ("get_encoder", "get_decoder") if hasattr(model, name)]
    return {stack: names[stack] for stack in stacks if stack in names and stack is not model}


def _around(model: nn.Module, entries: list[nn.Module], layers: Iterable[str]) -> list[nn.Module]:
    """The entries outside of that which holds all the layers: what they do besides, as seeing, is not followed."""
    names = {module: name for name, module in model.named_modules()}
    paths = [f"{names[entry]}." if names[entry] else "" for entry in entries]
    holding = [path for path in paths if all(layer.startswith(path) for layer in layers)]
    innermost = max(holding, key=len)
    return [entry for entry, path in zip(entries, paths, strict=True) if path in holding and path != innermost]


def _mark_inputs(inputs: dict[str, Any], rows: TokenRows | None) -> None:
    """Say of the embeddings of a model that they are its tokens, and of an encoder's rows for a decoder, theirs."""
    embeds = inputs.get("inputs_embeds")
    if rows is not None and isinstance(embeds, Tensor) and embeds.shape[:2] == rows.modality.shape:
        mark(embeds, Origin(rows, Grid.of_tokens(rows).index.unsqueeze(-1), whole=True))
    states, mask = inputs.get("encoder_hidden_states"), inputs.get("encoder_attention_mask")
    if isinstance(states, Tensor) and states.dim() == 3:
        text = torch.zeros(states.shape[:2], dtype=torch.uint8, device=states.device)
        rows = TokenRows.of(text, mask if isinstance(mask, Tensor) else None)
        mark(states, Origin(rows, Grid.of_tokens(rows).index.unsqueeze(-1)))


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
