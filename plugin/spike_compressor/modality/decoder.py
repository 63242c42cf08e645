"""Where a model keeps the decoder layers of its language model, whatever the architecture calls them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from spike_compressor.modality.names import lies_in


def find_decoder_layers(model: Any, elsewhere: Sequence[str] = ()) -> str | None:
    """Dotted name of the `ModuleList` of decoder layers, first layer first; None if it cannot be told.

    That is `get_decoder().layers` where there is one: transformers' usual name. Other names (`h`, `block`, `blocks`)
    are told by what lies in the list: as many modules as the text config has layers, of a class that the model never
    splits over devices. Two lists that fit equally well are none.

    Args:
        model: of transformers, or anything like it.
        elsewhere: names of modules, or `re:` patterns, that are not the language model (vision tower, projector).
    """
    decoder = _decoder(model)
    usual = getattr(decoder, "layers", None)
    names = {id(module): name for name, module in model.named_modules()}
    if isinstance(usual, nn.ModuleList) and len(usual):
        return names.get(id(usual))
    # `decoder` of a few models is their head, so the whole model comes next
    return _likeliest(model, decoder, names, elsewhere) or _likeliest(model, model, names, elsewhere)


def _decoder(model: Any) -> Any:
    """What `get_decoder` gives; of a language model that has a decoder within, that one."""
    known: list[Any] = [model]
    while hasattr(known[-1], "get_decoder"):
        try:
            decoder = known[-1].get_decoder()
        except (AttributeError, NotImplementedError, ValueError):  # older remote code declares it and has none
            break
        if not isinstance(decoder, nn.Module) or any(decoder is one for one in known):
            break
        known.append(decoder)
    return known[-1]


def _likeliest(model: Any, decoder: Any, names: Mapping[int, str], elsewhere: Sequence[str]) -> str | None:
    found = {names[id(layers)]: layers for layers in _lists_of_layers(decoder) if id(layers) in names}
    scores = {name: _likeness(model, decoder, layers) for name, layers in found.items() if not lies_in(name, elsewhere)}
    best = max(scores.values(), default=(False, False))
    fitting = [name for name, score in scores.items() if score == best and any(best)]
    return fitting[0] if len(fitting) == 1 else None


def _lists_of_layers(module: nn.Module) -> Iterator[nn.ModuleList]:
    """The outermost lists of modules that hold weight matrices."""
    for child in module.children():
        if isinstance(child, nn.ModuleList) and len(child) and all(_has_matrix(entry) for entry in child):
            yield child
        else:
            yield from _lists_of_layers(child)


def _has_matrix(module: nn.Module) -> bool:
    return any(parameter.dim() >= 2 for parameter in module.parameters())


def _likeness(model: Any, decoder: Any, layers: nn.ModuleList) -> tuple[bool, bool]:
    """Whether the model never splits these modules, and whether there are as many as its text config says."""
    whole = {name for part in (model, decoder) for name in getattr(part, "_no_split_modules", None) or ()}
    configs: list[Any] = [getattr(part, "config", None) for part in (decoder, model)]
    text = [config.get_text_config(decoder=True) for config in configs if hasattr(config, "get_text_config")]
    counts = {getattr(config, "num_hidden_layers", None) for config in text}
    return all(type(layer).__name__ in whole for layer in layers), len(layers) in counts
