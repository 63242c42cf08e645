"""The tokens of the forward pass under way, and which of them the rows of a tensor are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack, _pop_mode

from spike_compressor.modality.base import TokenRows
from spike_compressor.modality.following import (
    Following,
    Grid,
    current_grid,
    enter_grid,
    mark,
    origin_of,
    unfollowed,
)


@dataclass(eq=False)
class Frame:
    """The rows of one forward pass, and the pass that it was called from.

    Attributes:
        rows: of the pass; None where they could not be told. In an encoder-decoder model, those of the stack that ran
            last: the head behind it has the decoder's.
        outer: the pass that it was called from.
        owner: the module whose pass it is.
        followed: whether rows are followed; else all that is known of a tensor is how many rows it has.
        mode: what follows them, where this very frame began to.
        grids: modules under way, and the grid that held around each.
        at_end: called when the pass ends, or what is left of it is taken away.
    """

    rows: TokenRows | None
    outer: Frame | None
    owner: Any = None
    followed: bool = False
    mode: Following | None = None
    grids: list[tuple[Any, Grid]] = field(default_factory=list)
    at_end: Callable[[], None] | None = None


# A context variable, so that two threads that run the same model do not see each other's tokens.
FRAME: ContextVar[Frame | None] = ContextVar("spike_compressor_frame", default=None)


def current_rows() -> TokenRows | None:
    """Token rows of the forward pass under way, or None outside one (or where it could not be told)."""
    frame = FRAME.get()
    return None if frame is None else frame.rows


@dataclass(frozen=True)
class RowSelection:
    """Rows of one tensor, as rows of the model's tokens.

    Attributes:
        rows: the tokens.
        index: flat int64 positions [R] in them, on the tensor's device; None for all of them in their order.
    """

    rows: TokenRows
    index: Tensor | None = None

    def lookup(self, table: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Per-row value [R] of a per-modality `table`."""
        values = self.rows.lookup(table, dtype, device)
        return values if self.index is None else values[self.index]

    @property
    def modality(self) -> Tensor:
        """uint8 [R]."""
        return self._of_rows(self.rows.modality)

    @property
    def valid(self) -> Tensor | None:
        """bool [R], False at padding; None if there is none."""
        return None if self.rows.valid is None else self._of_rows(self.rows.valid)

    @property
    def all_in_order(self) -> bool:
        """Whether it is all the tokens, each once, in their order."""
        count = self.rows.modality.numel()
        if self.index is None:
            return True
        return self.index.numel() == count and bool((self.index == torch.arange(count, device=self.index.device)).all())

    def _of_rows(self, values: Tensor) -> Tensor:
        flat = values.reshape(-1)
        return flat if self.index is None else flat[self.index.to(flat.device)]


def rows_of(x: Tensor) -> RowSelection | None:
    """The tokens that the rows of x [*leading, K] are, in the pass under way; None where that cannot be told."""
    frame = FRAME.get()
    if frame is None:
        return None
    if frame.followed:
        with unfollowed():
            origin = origin_of(x)
            if origin is not None and origin.whole and x.shape[:-1].numel() == origin.index.numel():
                return RowSelection(origin.rows)  # type: ignore[arg-type]
            index = None if origin is None else origin.along(x)
            if origin is None or origin.rows is None or index is None:
                return None
            return RowSelection(origin.rows, index.reshape(-1))
    rows, count = frame.rows, x.shape[:-1].numel()
    if rows is None or rows.modality.numel() == count:
        return None if rows is None else RowSelection(rows)
    # whichever they are, they are like all others
    return RowSelection(rows.alike(1, count)) if rows.uniform is not None and rows.valid is None else None


def tokens_here(batch: int) -> TokenRows | None:
    """The tokens [batch, length] that the module under way is called with; None where that cannot be told."""
    frame = FRAME.get()
    if frame is None or not frame.followed:
        rows = None if frame is None else frame.rows
        return rows if rows is not None and rows.modality.shape[0] == batch else None
    grid = current_grid()
    if grid.rows is None or grid.index.dim() != 2 or grid.index.shape[0] != batch:
        return None
    with unfollowed():
        chosen = RowSelection(grid.rows, grid.index.reshape(-1))
        valid = chosen.valid
        shape = grid.index.shape
        return TokenRows(chosen.modality.view(shape), None if valid is None else valid.view(shape))


def own_operations() -> contextlib.AbstractContextManager[Any]:
    """A context for operations that rows need not be followed through, and which are faster for it; see `carry`."""
    frame = FRAME.get()
    return unfollowed() if frame is not None and frame.followed else _NOTHING


_NOTHING = contextlib.nullcontext()


def carry(x: Tensor, result: Tensor) -> None:
    """Say that the rows of a result [R, N] or [*leading, N] are those of x [*leading, K], where rows are followed."""
    frame = FRAME.get()
    if frame is not None and frame.followed:
        with unfollowed():
            origin = origin_of(x)
            carried = None if origin is None else origin.carried(x, result)
            if carried is not None:
                mark(result, carried)


@contextlib.contextmanager
def rows_scope(rows: TokenRows | None) -> Iterator[None]:
    """Make `rows` the current token rows within the block."""
    outer = FRAME.get()
    FRAME.set(Frame(rows, outer))
    try:
        yield
    finally:
        FRAME.set(outer)


# Passes


def begin_pass(owner: nn.Module, rows: TokenRows | None, follow: bool) -> Frame:
    """Let the rows of a pass of a module hold; `end_pass` ends it.

    Args:
        owner: whose pass it is.
        rows: its tokens, or None.
        follow: follow rows through this pass, if the pass around it does not.
    """
    outer = unwound(owner)
    frame = Frame(rows, outer, owner, followed=follow or (outer is not None and outer.followed))
    FRAME.set(frame)
    if frame.followed:
        if outer is None or not outer.followed:
            frame.mode = Following()
            frame.mode.__enter__()
        frame.grids.append((owner, enter_grid(Grid.of_tokens(rows))))
    return frame


def end_pass(owner: nn.Module) -> Frame | None:
    """End the pass of a module and return its frame; None where none was begun: a hook before ours raised."""
    frame = FRAME.get()
    if frame is None or frame.owner is not owner:
        return None
    _leave(frame)
    return frame


def unwound(owner: nn.Module) -> Frame | None:
    """The frame around a pass of `owner` that begins; what a pass of it that was interrupted left behind is taken away.

    PyTorch calls no hook after KeyboardInterrupt.
    """
    frame = FRAME.get()
    stale = []
    while frame is not None:
        stale.append(frame)
        if frame.owner is owner:
            for one in stale:
                _leave(one)
            stale = []
        frame = frame.outer
    return FRAME.get()


@contextlib.contextmanager
def passes_end_here() -> Iterator[None]:
    """When the block ends, so have all passes that began within it, though they were interrupted."""
    before = FRAME.get()
    try:
        yield
    finally:
        while (frame := FRAME.get()) is not None and frame is not before:
            _leave(frame)


def _leave(frame: Frame) -> None:
    if frame.grids:
        enter_grid(frame.grids[0][1])
        frame.grids.clear()
    if frame.mode is not None and frame.mode in _get_current_function_mode_stack():
        while _pop_mode() is not frame.mode:
            pass  # modes of an interrupted pass, entered within it
        frame.mode = None
    FRAME.set(frame.outer)
    ended, frame.at_end = frame.at_end, None
    if ended is not None:
        ended()
