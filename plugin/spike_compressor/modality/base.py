"""The adapter interface: one small class an architecture says which token rows are vision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from spike_compressor.errors import InputError

#: Index of a modality is its code in every mask and in trace bundles.
MODALITIES: tuple[str, ...] = ("text", "vision")
TEXT, VISION = 0, 1


@dataclass
class TokenRows:
    """The token rows of one forward pass of the language model.

    Attributes:
        modality: uint8 [batch, sequence], `TEXT` or `VISION`. Padding counts as text: it is computed too.
        valid: bool [batch, sequence], False where the row is padding and must not enter statistics; None if all count.
    """

    modality: Tensor
    valid: Tensor | None = None
    _derived: dict[Any, Tensor] = field(default_factory=dict, repr=False)

    def lookup(self, table: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Per-row value of a per-modality `table` (one entry a modality), flat [batch * sequence], cached."""
        key = (table, dtype, device)
        if key not in self._derived:
            values = torch.tensor(table, dtype=dtype, device=device)
            self._derived[key] = values[self.modality.to(device).reshape(-1).long()]
        return self._derived[key]

    def counts(self) -> dict[str, int]:
        """Tokens by modality, padding left out."""
        modality = self.modality if self.valid is None else self.modality[self.valid]
        return {name: int((modality == code).sum()) for code, name in enumerate(MODALITIES)}


class ModalityAdapter:
    """Tells vision rows from text rows for one family of architectures.

    A new architecture is a subclass with `model_types` (the `model_type` of its config) and `vision_modules`, decorated
    with `register_adapter`. Placeholders are usually found by token id; override `placeholder_ids` or `token_rows`
    where that is not enough.
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    #: Dotted names of submodules, relative to the model, all of whose token rows are vision.
    vision_modules: ClassVar[tuple[str, ...]] = ()
    #: Config attributes that hold the ids of placeholder tokens.
    placeholder_fields: ClassVar[tuple[str, ...]] = ("image_token_id", "video_token_id")
    #: Dotted name of the `ModuleList` of decoder layers, where transformers' `get_decoder().layers` is not it.
    decoder_path: ClassVar[str] = ""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.ids = tuple(sorted(self.placeholder_ids()))

    @property
    def multimodal(self) -> bool:
        """True if the architecture can see anything but text."""
        return bool(self.vision_modules)

    def placeholder_ids(self) -> set[int]:
        """Ids of the tokens in whose places image or video features stand."""
        values = (getattr(self.config, name, None) for name in self.placeholder_fields)
        return {int(value) for value in values if value is not None}

    def is_vision_module(self, name: str) -> bool:
        """True if every row that the module `name` sees is vision (vision tower, projector)."""
        return any(name == prefix or name.startswith(prefix + ".") for prefix in self.vision_modules)

    def decoder_layers(self, model: Any) -> dict[str, nn.Module]:
        """The decoder layers of the language model by module name, first layer first.

        Raises:
            InputError: they cannot be found; says how an adapter names them.
        """
        if self.decoder_path:
            layers: Any = model.get_submodule(self.decoder_path)
        else:
            decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
            layers = getattr(decoder, "layers", None)
        path = next((name for name, module in model.named_modules() if module is layers), None)
        if path is None or not len(layers):
            raise InputError(
                f"the decoder layers of {type(model).__name__} are not known; set `decoder_path` of its modality "
                "adapter to the dotted name of their ModuleList"
            )
        return {f"{path}.{index}": layer for index, layer in enumerate(layers)}

    def token_rows(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> TokenRows:
        """Modality of every token of a batch.

        Args:
            input_ids: integer [batch, sequence], the tokens of this forward pass (one column while decoding).
            attention_mask: [batch, past + sequence] of 0/1, or None. Masks of other ranks carry no padding that could
                be told apart from causality, so with them every row counts.
        """
        modality = torch.zeros(input_ids.shape, dtype=torch.uint8, device=input_ids.device)
        for token in self.ids:
            modality[input_ids == token] = VISION
        valid = None
        if attention_mask is not None and attention_mask.dim() == 2:
            valid = attention_mask[:, -input_ids.shape[1] :].to(torch.bool)
            if bool(valid.all()):
                valid = None
        return TokenRows(modality, valid)


_REGISTRY: dict[str, type[ModalityAdapter]] = {}
AdapterT = TypeVar("AdapterT", bound=type[ModalityAdapter])


def register_adapter(adapter: AdapterT) -> AdapterT:
    """Class decorator: make an adapter known under each of its `model_types`."""
    for model_type in adapter.model_types:
        _REGISTRY[model_type] = adapter
    return adapter


def available_adapters() -> tuple[str, ...]:
    """The `model_type`s that have an adapter of their own."""
    return tuple(sorted(_REGISTRY))


def _other_senses(config: Any) -> list[str]:
    """Names of the sub-configs that are for something else than text."""
    known = set(getattr(config, "sub_configs", None) or ())
    known |= {key for key in vars(config) if key.endswith("_config") and getattr(config, key) is not None}
    senses = ("vision", "visual", "image", "video", "audio", "speech", "thinker")
    return sorted(key for key in known if any(sense in key for sense in senses))


def adapter_for(model: Any, fallback: Callable[[Any], ModalityAdapter] | None = None) -> ModalityAdapter:
    """The adapter of a model (anything with a transformers `config`).

    A text-only architecture (no vision or audio sub-config) needs none: every row is text.

    Raises:
        InputError: a multimodal architecture without an adapter.
    """
    config = model.config
    model_type = getattr(config, "model_type", "")
    if model_type in _REGISTRY:
        return _REGISTRY[model_type](config)
    if fallback is not None:
        return fallback(config)
    other_senses = _other_senses(config)
    if not other_senses:
        return ModalityAdapter(config)
    raise InputError(
        f"architecture {model_type!r} has {other_senses[0]} but no modality adapter (there are: "
        f"{', '.join(available_adapters())}). Subclass spike_compressor.modality.ModalityAdapter with "
        f"model_types = ({model_type!r},) and vision_modules = (names of the modules that only see vision), and "
        "decorate it with register_adapter."
    )
