"""The classes whose code decides what a recipe's model computes: those that the recipe names, and what carries them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from spike_compressor.checkpoint import load
from spike_compressor.coding import get_coding
from spike_compressor.comparison.recipe import SplitRecipe
from spike_compressor.modality import adapter_for
from spike_compressor.modality.base import ADAPTERS
from spike_compressor.reading import read_object
from spike_compressor.runtime import attach, get_backend


def spiking_code(recipe: SplitRecipe, directory: Path) -> list[Any]:
    """Where the code of a spiking model begins, for `digest_of_code`.

    The modifiers, the codings and the allocation that the recipe names, the modality adapter of the model, the backend,
    and what attaches spikes and loads checkpoints. Whatever package they come from.

    Args:
        directory: of the float model.
    """
    from llmcompressor.modifiers.factory import ModifierFactory

    from spike_compressor.modifiers import MSTSModifier, TCLIFModifier
    from spike_compressor.modifiers.allocation import get_allocation

    steps = dict(recipe.spikes)
    neurons = steps["TCLIFModifier"]
    codings = {str(TCLIFModifier.model_fields["coding"].default), *_values(neurons, "coding")}
    found: list[Any] = [TCLIFModifier, attach, load, get_backend("fused")]
    found += [get_coding(name) for name in sorted(codings)]
    if "MSTSModifier" in steps:
        planner = steps["MSTSModifier"]
        found += [
            MSTSModifier,
            get_allocation(planner.get("allocation", MSTSModifier.model_fields["allocation"].default)),
        ]
    others = [name for name in steps if name not in ("MSTSModifier", "TCLIFModifier")]  # by name: others do without
    found += [ModifierFactory._registered_registry[name] for name in others]
    adapter = _adapter(directory)
    given = adapter.keywords.values() if isinstance(adapter, partial) else ()
    return [*found, adapter_for, *filter(None, [adapter]), *filter(callable, given)]


def adapter_settings(directory: Path) -> dict[str, Any]:
    """What `configure_adapter` was given for the architecture of a model, as plain values; empty if nothing was."""
    adapter = _adapter(directory)
    record = adapter.keywords.get("record") if isinstance(adapter, partial) else None
    return {} if record is None else {"adapter": dataclasses.asdict(record)}


def _adapter(directory: Path) -> Any:
    """The registered adapter of a model's architecture, a class or a partial of one; None without any."""
    model_type = str(read_object(directory / "config.json").get("model_type", ""))
    return ADAPTERS.get(model_type) if model_type in ADAPTERS else None


def weights_code(recipe: SplitRecipe) -> list[Any]:
    """The modifiers that make weights integer and are not LLM Compressor's own, whose version counts instead."""
    from llmcompressor.modifiers.factory import ModifierFactory

    registered = ModifierFactory._registered_registry
    return [registered[name] for name, _ in recipe.weights if name in registered]


def _values(fields: Any, key: str) -> Iterator[str]:
    """What stands under a key, at whatever depth."""
    if isinstance(fields, dict):
        for name, value in fields.items():
            if name == key:
                yield str(value)
            else:
                yield from _values(value, key)
