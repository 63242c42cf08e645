"""The modules on the way to layers whose rows are followed: each is a grid while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from spike_compressor.modality.base import TokenRows
from spike_compressor.modality.following import Grid, enter_grid, unfollowed
from spike_compressor.modality.frames import FRAME, begin_pass, end_pass, unwound

_LOCK = threading.Lock()  # of no instance: models are copied and pickled with their hooks


class Scopes:
    """Hooks on modules that are there only while a pass is followed: other passes pay nothing for them.

    Args:
        modules: that hold followed layers, outer ones first.
        rows: the tokens of the pass under way, for passes that do not begin with the whole model; None if all do.
    """

    def __init__(self, modules: Iterable[nn.Module], rows: Callable[[], TokenRows | None] | None = None) -> None:
        self._modules = list(modules)
        self._rows = rows
        self._handles: list[Any] = []
        self._users = 0

    def open(self) -> None:
        """Put the hooks on; as often as `close` is called."""
        with _LOCK:
            self._users += 1
            if self._users == 1:
                for module in self._modules:
                    self._handles.append(module.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True))
                    self._handles.append(module.register_forward_hook(self._leave, always_call=True))

    def close(self) -> None:
        """Take them off."""
        with _LOCK:
            self._users -= 1
            if self._users == 0:
                for handle in self._handles:
                    handle.remove()
                self._handles.clear()
                frame = FRAME.get()
                if frame is not None and frame.owner in self._modules:  # of a pass that was interrupted
                    unwound(frame.owner)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        frame, x = FRAME.get(), main_input(args, kwargs)
        if frame is None and self._rows is not None and not (x is not None and x.is_meta):  # a pipeline that traces
            rows = self._rows()
            follow = rows is not None and (rows.uniform is None or rows.valid is not None)
            frame = begin_pass(module, rows, follow)
        if frame is not None and frame.followed:
            with unfollowed():
                frame.grids.append((module, enter_grid(Grid.of(x) if x is not None else Grid.of_tokens(None))))

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        frame = FRAME.get()
        if frame is None:
            return
        if not frame.followed:
            end_pass(module)  # if it began here
            return
        while len(frame.grids) > 1:
            inner, before = frame.grids.pop()
            enter_grid(before)
            if inner is module:
                break
        if frame.owner is module and len(frame.grids) == 1:
            end_pass(module)


def main_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The rows that a module is called with: by transformers' convention its first floating-point tensor."""
    named = kwargs.get("hidden_states")
    for value in (*args[:1], named, *args, *kwargs.values()):
        if isinstance(value, Tensor) and value.is_floating_point() and value.dim() >= 2:
            return value
    return None


def holders(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """The modules that hold the named ones, by name, outer ones first; the model itself is not among them."""
    found: dict[str, nn.Module] = {}
    for name in names:
        parts = name.split(".")[:-1]
        for depth in range(1, len(parts) + 1):
            path = ".".join(parts[:depth])
            if path not in found:
                found[path] = model.get_submodule(path)
    return found
