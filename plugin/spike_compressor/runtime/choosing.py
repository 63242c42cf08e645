"""Spiking layers by name or pattern, and the backend of those that are chosen."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from spike_compressor.errors import InputError
from spike_compressor.runtime.attaching import spiking_state
from spike_compressor.runtime.attention import SpikingAttention
from spike_compressor.runtime.backends import get_backend
from spike_compressor.runtime.neurons import Neurons


def chosen_names(known: Sequence[str], wanted: str | Sequence[str] | None, what: str = "layers") -> list[str]:
    """Those of `known` names that are wanted, in their order.

    Args:
        known: of the spiking layers.
        wanted: names, or `re:` patterns that match from the beginning; None for all.
        what: the argument, as messages call it.

    Raises:
        InputError: a pattern that is none, or that matches nothing; or an empty list.
    """
    if wanted is None:
        return list(known)
    if isinstance(wanted, str):
        wanted = [wanted]
    chosen: set[str] = set()
    for pattern in wanted:
        try:
            matches = [name for name in known if _matches(name, pattern)]
        except re.error as error:
            raise InputError(f"{what}: {pattern!r} is no regular expression: {error}") from error
        if not matches:
            raise InputError(f"{what}: {pattern!r} matches none of the {len(known)} spiking layers, such as {known[0]}")
        chosen.update(matches)
    if not chosen:
        raise InputError(f"{what}: the list is empty; name spiking layers, or leave it out for all of them")
    return [name for name in known if name in chosen]


def _matches(name: str, pattern: str) -> bool:
    return re.match(pattern[3:], name) is not None if pattern.startswith("re:") else name == pattern


def set_backend(model: nn.Module, backend: str, layers: str | Sequence[str] | None = None) -> list[str]:
    """Let another backend compute spiking layers, and attention modules whose products spike. All of those, or none.

    Args:
        model: that spikes.
        backend: name of a backend.
        layers: names of them, or `re:` patterns that match from the beginning; None for all. The others keep theirs.

    Returns:
        The names of those that have it now.

    Raises:
        InputError: the model does not spike, a pattern matches nothing, or the backend is unknown or cannot compute one
            of them.
    """
    state = spiking_state(model)
    owners: dict[str, Neurons | SpikingAttention] = {name: layer.neurons for name, layer in state.layers.items()}
    owners |= state.attention
    chosen = chosen_names(list(owners), layers)
    for name in chosen:
        owners[name].require(get_backend(backend))
    for name in chosen:
        owners[name].backend = get_backend(backend)
    return chosen
