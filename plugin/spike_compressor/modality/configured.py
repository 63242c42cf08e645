"""Adapters without a class: for architectures that transformers has not, described by a few values or a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spike_compressor.errors import InputError
from spike_compressor.modality.base import (
    ADAPTERS,
    MODALITIES,
    AdapterRecord,
    ModalityAdapter,
    TokenRows,
)

#: Gets the arguments of a call by name; gives a mask [batch, sequence] of 0 (text) and 1 (vision), `TokenRows`, or None
#: where these arguments do not tell.
RowsFunction = Callable[[Mapping[str, Any]], "Tensor | TokenRows | None"]


def configure_adapter(
    model_type: str,
    *,
    vision_modules: Iterable[str],
    placeholder_ids: Iterable[int] = (),
    token_rows: RowsFunction | None = None,
    decoder_path: str = "",
    methods: Iterable[str] = (),
) -> None:
    """Tell which rows are vision for an architecture that has no adapter, remote code above all.

    It takes the place of an adapter that the `model_type` has already.

    A checkpoint keeps these values and `load` uses them again, so nothing has to be configured there. A function is not
    kept: where one was given, it must be registered again before `load`, which says so.

    Args:
        model_type: of the model's config.
        vision_modules: dotted names of the modules all of whose rows are vision: tower, resampler, projector.
        placeholder_ids: ids of the tokens in whose places pictures stand.
        token_rows: where ids do not tell: a function of the arguments of `forward` (and of `methods`) by name. It gives
            a mask [batch, sequence], 0 text and 1 vision, or None where these arguments do not tell.
        decoder_path: dotted name of the `ModuleList` of decoder layers, where they are not found.
        methods: methods of the model beside `forward` that take token ids and call the language model with embeddings
            (`generate` of most remote code).

    Raises:
        InputError: neither ids nor a function; no vision module; a value of the wrong kind.
    """
    for name, given in (("vision_modules", vision_modules), ("methods", methods)):
        if isinstance(given, str):
            raise InputError(f"configure_adapter: {name} is a list of names, not one string ({given!r})")
    ids = tuple(sorted(set(placeholder_ids)))
    record = AdapterRecord(tuple(vision_modules), ids, decoder_path, tuple(methods), _name(token_rows), configured=True)
    if not all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token in ids):
        raise InputError(f"configure_adapter: placeholder_ids are token ids, got {list(ids)}")
    if not record.vision_modules:
        raise InputError(
            f"configure_adapter: name the vision_modules of {model_type!r}, those that see no text (tower, projector)"
        )
    if not ids and token_rows is None:
        raise InputError(f"configure_adapter: {model_type!r} needs placeholder_ids, or a function token_rows")
    ADAPTERS.register(model_type, replace=True)(partial(ConfiguredAdapter, record=record, function=token_rows))


#: Architecture -> what makes its adapter of a config.
Adapters = dict[str, "partial[ConfiguredAdapter]"]


def configured_adapters() -> Adapters:
    """The adapters that `configure_adapter` described here, for a process that has to know them too.

    They pickle as their functions do: a function of a module does, a lambda does not.
    """
    return {name: maker for name, maker in ADAPTERS.registered().items() if isinstance(maker, partial)}


def use_adapters(adapters: Adapters) -> None:
    """Make adapters of `configured_adapters` known here."""
    for model_type, maker in adapters.items():
        ADAPTERS.register(model_type, replace=True)(maker)


def _name(function: RowsFunction | None) -> str | None:
    return None if function is None else str(getattr(function, "__qualname__", type(function).__qualname__))


class ConfiguredAdapter(ModalityAdapter):
    """The adapter that `configure_adapter` describes."""

    def __init__(self, config: Any, record: AdapterRecord, function: RowsFunction | None = None) -> None:
        self._record, self._function = record, function
        self.vision_modules = record.vision_modules
        self.decoder_path, self.methods = record.decoder_path, record.methods
        super().__init__(config)

    def placeholder_ids(self) -> set[int]:
        return set(self._record.placeholder_ids)

    def record(self) -> AdapterRecord:
        return replace(self._record, placeholder_ids=self.ids)

    def rows(self, inputs: Mapping[str, Any]) -> TokenRows | None:
        if self._function is None or self.continues(inputs):
            return super().rows(inputs)
        found = self._function(inputs)
        if found is None:
            return super().rows(inputs) if self.ids else None
        return found if isinstance(found, TokenRows) else self._checked(found, inputs)

    def _checked(self, mask: Any, inputs: Mapping[str, Any]) -> TokenRows:
        name = f"{self._record.token_rows} of architecture {getattr(self.config, 'model_type', '')!r}"
        if not isinstance(mask, Tensor) or mask.dim() != 2:
            what = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise InputError(f"{name} must give a mask [batch, sequence], TokenRows or None; it gave {what}")
        if mask.numel() and (int(mask.min()) < 0 or int(mask.max()) >= len(MODALITIES)):
            raise InputError(f"{name} gave values outside 0..{len(MODALITIES) - 1} ({', '.join(MODALITIES)})")
        source = inputs.get("input_ids")
        source = inputs.get("inputs_embeds") if source is None else source
        if isinstance(source, Tensor) and mask.shape != source.shape[:2]:
            raise InputError(f"{name} gave a mask of {list(mask.shape)} for {list(source.shape[:2])} tokens")
        attention_mask = inputs.get("attention_mask")
        return TokenRows.of(mask.to(torch.uint8), attention_mask if isinstance(attention_mask, Tensor) else None)
