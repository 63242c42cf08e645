"""Which adapter a model gets: a registered one, the one that its checkpoint describes, or that of text alone."""

from __future__ import annotations

from typing import Any

from torch import nn

from spike_compressor.errors import InputError
from spike_compressor.modality.base import (
    ADAPTERS,
    AdapterRecord,
    ByModality,
    ModalityAdapter,
    available_adapters,
    other_modalities,
)
from spike_compressor.modality.configured import ConfiguredAdapter
from spike_compressor.modality.names import lies_in, register_modality


def adapter_for(model: Any, saved: AdapterRecord | None = None) -> ModalityAdapter:
    """The adapter of a model (anything with a transformers `config`).

    A text-only architecture (no vision or audio sub-config) needs none: every row is text.

    Args:
        model: if it is a module, the adapter's vision modules must exist in it.
        saved: what the checkpoint says of the adapter that it was made with. A configured one is made from it again.

    Raises:
        InputError: a multimodal architecture without an adapter; vision modules that the model does not have; a
            checkpoint that was made with another adapter, or with a function that is not registered here.
    """
    config = model.config
    model_type = str(getattr(config, "model_type", ""))
    if model_type in ADAPTERS:
        adapter = ADAPTERS.get(model_type)(config)
    elif saved is not None and saved.configured:
        adapter = _from_record(config, model_type, saved)
    elif not (senses := [*other_modalities(config), *_other_inputs(model)]):
        adapter = ModalityAdapter(config)
    else:
        raise InputError(
            f"architecture {model_type!r} has {senses[0]} but no modality adapter (there are: "
            f"{', '.join(available_adapters())}). Either spike_compressor.configure_adapter({model_type!r}, "
            "modules={'vision': [names of the modules that only see vision]}, placeholders={'vision': [ids of the "
            "tokens where pictures stand]}), with 'audio' likewise, or, with rules of your own, subclass "
            f"spike_compressor.modality.ModalityAdapter with `modules`, and decorate it with "
            f"register_adapter({model_type!r})."
        )
    if saved is not None:
        _require_same(adapter.record(), saved, model_type)
    if isinstance(model, nn.Module):
        _require_modules(adapter, model)
    return adapter


def _other_inputs(model: Any) -> list[str]:
    """The main input of a model that is no text: sound for a recognizer of speech, say, whatever its config has."""
    name = str(getattr(model, "main_input_name", "input_ids")) if isinstance(model, nn.Module) else "input_ids"
    return [] if name in ("input_ids", "inputs_embeds") else [name]


def _from_record(config: Any, model_type: str, saved: AdapterRecord) -> ModalityAdapter:
    if saved.token_rows is not None:
        raise InputError(
            f"this checkpoint of architecture {model_type!r} was made with a function that tells its token rows apart, "
            f"{saved.token_rows}; functions are not saved. Register it again before loading: "
            f"spike_compressor.configure_adapter({model_type!r}, token_rows=..., "
            f"modules={_plain(saved.modules)})."
        )
    for name in saved.modules:
        register_modality(name)
    return ConfiguredAdapter(config, saved)


def _require_same(here: AdapterRecord, saved: AdapterRecord, model_type: str) -> None:
    """Rows would have other modalities than those that the thresholds and timesteps were made for."""
    for field, was, now in (
        ("placeholders", _plain(saved.placeholders), _plain(here.placeholders)),
        ("modules", _plain(saved.modules), _plain(here.modules)),
        ("token_rows", saved.token_rows, here.token_rows),
    ):
        if was != now:
            raise InputError(
                f"the adapter registered here for {model_type!r} has {field} {now}, the checkpoint was made with "
                f"{was}; register the adapter that it was made with"
                + (", or none: the checkpoint describes it" if saved.configured and not saved.token_rows else "")
            )


def _plain(values: ByModality) -> dict[str, list[Any]]:
    return {name: list(values[name]) for name in values}


def _require_modules(adapter: ModalityAdapter, model: nn.Module) -> None:
    names = [name for name, _ in model.named_modules()]
    for modality, modules in adapter.modules.items():
        for module in modules:
            if not any(lies_in(name, (module,)) for name in names):
                children = ", ".join(sorted(name for name in names if name and name.count(".") < 2))
                raise InputError(
                    f"{type(model).__name__} has no module {module!r}, which the modality adapter of "
                    f"{getattr(adapter.config, 'model_type', '')!r} names as {modality} only; it has: {children}. Load "
                    "the model class that its config names, or correct `modules` of the adapter."
                )
