"""Token rows while `torch.compile` traces a model: they travel inside the graph, as tensors.

Context variables, which serve everywhere else, cannot be set within a graph. What is noted here is noted while a model
is traced and forgotten before its graph is done, so nothing is left behind, and threads do not meet.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spike_compressor.modality.base import TokenRows


class _Traced:
    """The rows of the passes that are traced, the innermost last, each with its owner."""

    def __init__(self) -> None:
        self.passes: list[tuple[Any, TokenRows | None]] = []


_TRACED = _Traced()


def traced_rows() -> TokenRows | None:
    """The rows of the pass that is traced; None where there is none, or they could not be told."""
    return _TRACED.passes[-1][1] if _TRACED.passes else None


def traced_modality() -> Tensor | None:
    """Their modalities, uint8 [batch, sequence]."""
    rows = traced_rows()
    return None if rows is None else rows.modality


def unwind_traced(owner: Any) -> None:
    """Forget what a pass of a module left behind that was interrupted between two graphs."""
    for index, (one, _) in enumerate(_TRACED.passes):
        if one is owner:
            del _TRACED.passes[index:]
            break


def begin_traced(owner: Any, rows: TokenRows | None) -> None:
    """Let the rows of a pass hold; `end_traced` ends it."""
    _TRACED.passes.append((owner, rows))


def end_traced(owner: Any) -> bool:
    """End the pass of a module; False where none was begun."""
    if not _TRACED.passes or _TRACED.passes[-1][0] is not owner:
        return False
    _TRACED.passes.pop()
    return True
