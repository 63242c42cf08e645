"""Adapters without a class: for architectures that transformers has not, described by a few values or a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spike_compressor.errors import InputError
from spike_compressor.modality.base import (
    ADAPTERS,
    AdapterRecord,
    ModalityAdapter,
    TokenRows,
)
from spike_compressor.modality.names import MODALITIES, modality_names, register_modality, require_codes

#: Gets the arguments of a call by name; gives a mask [batch, sequence] of 0 (text), 1 (vision), 2 (audio), ...,
#: `TokenRows`, or None where these arguments do not tell.
RowsFunction = Callable[[Mapping[str, Any]], "Tensor | TokenRows | None"]


def configure_adapter(
    model_type: str,
    *,
    modules: Mapping[str, Iterable[str]] | None = None,
    placeholders: Mapping[str, Iterable[int]] | None = None,
    vision_modules: Iterable[str] = (),
    placeholder_ids: Iterable[int] = (),
    token_rows: RowsFunction | None = None,
    decoder_path: str = "",
    methods: Iterable[str] = (),
) -> None:
    """Tell which rows belong to which modality for an architecture that has no adapter, remote code above all.

    It takes the place of an adapter that the `model_type` has already.

    A checkpoint keeps these values and `load` uses them again, so nothing has to be configured there. A function is not
    kept: where one was given, it must be registered again before `load`, which says so.

    Args:
        model_type: of the model's config.
        modules: modality -> the modules all of whose rows belong to it (tower, resampler, projector): dotted names, or
            `re:` patterns that names of modules begin with. `{"vision": ["vision_tower"], "audio": ["audio_tower"]}`;
            other modalities than text, vision and audio must be known (`register_modality`). A module that lies in
            several belongs to the first.
        placeholders: modality -> ids of the tokens in whose places pictures, sounds, ... stand.
        vision_modules: short for `modules={"vision": ...}`.
        placeholder_ids: short for `placeholders={"vision": ...}`.
        token_rows: where ids do not tell: a function of the arguments of `forward` (and of `methods`) by name. It gives
            a mask [batch, sequence] of codes of modalities (0 text, 1 vision, 2 audio, then what was registered), or
            None where these arguments do not tell.
        decoder_path: dotted name of the `ModuleList` of decoder layers, where they are not found.
        methods: methods of the model beside `forward` that take token ids and call the language model with embeddings
            (`generate` of most remote code).

    Raises:
        InputError: neither ids nor a function nor modules of text; no module of another modality than text; an unknown
            modality, with the nearest known one; a value of the wrong kind.
    """
    if isinstance(methods, str):
        raise InputError(f"configure_adapter: methods is a list of names, not one string ({methods!r})")
    listed = _by_modality("modules", modules, "vision_modules", vision_modules)
    ids = _by_modality("placeholders", placeholders, "placeholder_ids", placeholder_ids)
    for name, tokens in ids.items():
        if not all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token in tokens):
            where = f"placeholders of {name}" if placeholders else "placeholder_ids"
            raise InputError(f"configure_adapter: {where} are token ids, got {list(tokens)}")
    ids = {name: tuple(sorted(set(tokens))) for name, tokens in ids.items()}
    if not set(listed) - {"text"}:
        raise InputError(
            f"configure_adapter: name the vision_modules of {model_type!r}, those that see no text (tower, projector), "
            "or the `modules` of its other modalities"
        )
    homeless = [name for name in ids if name not in listed]
    if homeless:
        raise InputError(
            f"configure_adapter: {model_type!r} has placeholders of {homeless[0]} and no modules of it; name those "
            f"that see {homeless[0]} alone in `modules`"
        )
    if not ids and token_rows is None and "text" not in listed:
        raise InputError(
            f"configure_adapter: {model_type!r} needs placeholder_ids or placeholders, or a function token_rows; where "
            "all tokens are text, say in `modules` which modules see them"
        )
    record = AdapterRecord(listed, ids, decoder_path, tuple(methods), _name(token_rows), configured=True)
    ADAPTERS.register(model_type, replace=True)(partial(ConfiguredAdapter, record=record, function=token_rows))


def _by_modality(field: str, given: Any, short: str, of_vision: Iterable[Any]) -> dict[str, tuple[Any, ...]]:
    """The values of a field by modality, those of vision from its short form too; empty lists are left out."""
    if isinstance(of_vision, str):
        raise InputError(f"configure_adapter: {short} is a list, not one string ({of_vision!r})")
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"configure_adapter: {field} goes from modalities to lists, got {given!r}")
    of_vision = tuple(of_vision)
    values = dict(given or {})
    if of_vision and "vision" in values:
        raise InputError(f"configure_adapter: {field} of vision and {short} are the same; give one of them")
    if of_vision:
        values["vision"] = of_vision
    for name, listed in values.items():
        MODALITIES.get(name)
        if isinstance(listed, str):
            raise InputError(f"configure_adapter: {field} of {name} is a list, not one string ({listed!r})")
    return {name: tuple(listed) for name, listed in values.items() if tuple(listed)}


@dataclass(frozen=True)
class Adapters:
    """What was configured in a process.

    Attributes:
        makers: architecture -> what makes its adapter of a config.
        modalities: names of all modalities in the order of their codes, which functions may give.
    """

    makers: dict[str, partial[ConfiguredAdapter]]
    modalities: tuple[str, ...]


def configured_adapters() -> Adapters:
    """The adapters that `configure_adapter` described here, for a process that has to know them too.

    They pickle as their functions do: a function of a module does, a lambda does not.
    """
    makers = {name: maker for name, maker in ADAPTERS.registered().items() if isinstance(maker, partial)}
    return Adapters(makers, modality_names())


def use_adapters(adapters: Adapters) -> None:
    """Make adapters of `configured_adapters` known here."""
    for modality in adapters.modalities:
        register_modality(modality)
    for model_type, maker in adapters.makers.items():
        ADAPTERS.register(model_type, replace=True)(maker)


def _name(function: RowsFunction | None) -> str | None:
    return None if function is None else str(getattr(function, "__qualname__", type(function).__qualname__))


class ConfiguredAdapter(ModalityAdapter):
    """The adapter that `configure_adapter` describes."""

    def __init__(self, config: Any, record: AdapterRecord, function: RowsFunction | None = None) -> None:
        self._record, self._function = record, function
        self.modules = record.modules  # type: ignore[misc] # one class for all that is configured
        self.decoder_path, self.methods = record.decoder_path, record.methods
        super().__init__(config)

    @property
    def token_modalities(self) -> tuple[str, ...]:
        return self.modalities if self.placeholders or self._function is not None else ("text",)

    def placeholder_ids(self) -> Mapping[str, set[int]]:
        return {name: set(ids) for name, ids in self._record.placeholders.items()}

    def record(self) -> AdapterRecord:
        return replace(self._record, placeholders=self.placeholders)

    def rows(self, inputs: Mapping[str, Any]) -> TokenRows | None:
        if self._function is None or self.continues(inputs):
            return super().rows(inputs)
        found = self._function(inputs)
        if found is None:
            return super().rows(inputs) if self.placeholders else None
        name = f"{self._record.token_rows} of architecture {getattr(self.config, 'model_type', '')!r}"
        rows = found if isinstance(found, TokenRows) else self._checked(found, inputs, name)
        require_codes(rows.modality, f"the mask of {name}", self.modalities)
        return rows

    def _checked(self, mask: Any, inputs: Mapping[str, Any], name: str) -> TokenRows:
        if not isinstance(mask, Tensor) or mask.dim() != 2:
            what = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise InputError(f"{name} must give a mask [batch, sequence], TokenRows or None; it gave {what}")
        source = inputs.get("input_ids")
        source = inputs.get("inputs_embeds") if source is None else source
        if isinstance(source, Tensor) and mask.shape != source.shape[:2]:
            raise InputError(f"{name} gave a mask of {list(mask.shape)} for {list(source.shape[:2])} tokens")
        attention_mask = inputs.get("attention_mask")
        require_codes(mask, f"the mask of {name}")  # before it is cut to a byte
        return TokenRows.of(mask.to(torch.uint8), attention_mask if isinstance(attention_mask, Tensor) else None)
