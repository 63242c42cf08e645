"""Watching what a spiking model computes, for as long as a block lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from torch import nn

from spike_compressor.modality import TokenRows
from spike_compressor.runtime.attaching import spiking_state
from spike_compressor.runtime.attention import AttentionObserver
from spike_compressor.runtime.linear import Observer


@contextlib.contextmanager
def observing(
    model: nn.Module,
    *,
    layers: Observer | None = None,
    attention: AttentionObserver | None = None,
    rows: Callable[[TokenRows], None] | None = None,
    names: Iterable[str] | None = None,
) -> Iterator[None]:
    """Call observers with what a spiking model does within the block.

    Blocks may nest, overlap and end in any order, and one observer may be added by several of them: each block takes
    away what it added itself and nothing else.

    Args:
        model: that spikes.
        layers: called with each spiking layer and the `LayerSpikes` of each of its calls.
        attention: called with each spiking attention and the `AttentionSpikes` of each operand of its products.
        rows: called with the token rows of each forward pass of the model, before the pass.
        names: of the spiking layers that `layers` is called for; all of them if left out.

    Raises:
        InputError: the model does not spike.
    """
    state = spiking_state(model)
    with contextlib.ExitStack() as stack:
        stack.enter_context(state.tracker.watched())
        if layers is not None:
            chosen = state.layers if names is None else names
            stack.enter_context(added_to([state.layers[name].observers for name in chosen], layers))
        if attention is not None:
            stack.enter_context(added_to([one.observers for one in state.attention.values()], attention))
        if rows is not None:
            stack.enter_context(added_to([state.tracker.observers], rows))
        yield


@contextlib.contextmanager
def added_to(lists: Iterable[list[Any]], function: Callable[..., Any]) -> Iterator[None]:
    """Within the block a function stands in each of these lists of functions, at its end.

    It stands there as an object of its own, which is looked for by identity: not by equality, by which the entry of
    another block could be taken for this one's.
    """
    entry = partial(function)
    changed = list(lists)
    for functions in changed:
        functions.append(entry)
    try:
        yield
    finally:
        for functions in changed:
            for index, one in enumerate(functions):
                if one is entry:
                    del functions[index]
                    break
