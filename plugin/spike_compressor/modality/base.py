"""The adapter interface: one small class an architecture says which token rows are vision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.modality.decoder import find_decoder_layers
from spike_compressor.registry import Registry

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

    @classmethod
    def of(cls, modality: Tensor, attention_mask: Tensor | None) -> TokenRows:
        """Rows of uint8 `modality` [batch, sequence]; padding is told by the last columns of the attention mask.

        Args:
            modality: see the class.
            attention_mask: [batch, past + sequence] of 0/1, or None. Masks of other ranks carry no padding that could
                be told apart from causality, so with them every row counts.
        """
        valid = None
        if attention_mask is not None and attention_mask.dim() == 2:
            valid = attention_mask[:, -modality.shape[1] :].to(torch.bool)
            if bool(valid.all()):
                valid = None
        return cls(modality, valid)

    def lookup(self, table: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Per-row value of a per-modality `table` (one entry per modality), flat [batch * sequence], cached."""
        key = (table, dtype, device)
        if key not in self._derived:
            values = torch.tensor(table, dtype=dtype, device=device)
            self._derived[key] = values[self.modality.to(device).reshape(-1).long()]
        return self._derived[key]

    def counts(self) -> dict[str, int]:
        """Tokens by modality, padding left out."""
        modality = self.modality if self.valid is None else self.modality[self.valid]
        return {name: int((modality == code).sum()) for code, name in enumerate(MODALITIES)}


@dataclass(frozen=True)
class AdapterRecord:
    """What an adapter knows, as a checkpoint keeps it, so that rows keep their modality when it is opened again.

    Attributes:
        vision_modules: as in `ModalityAdapter`.
        placeholder_ids: likewise.
        decoder_path: likewise.
        methods: likewise.
        token_rows: name of the function that tells rows apart, if one was configured.
        configured: True if `configure_adapter` made it, so that this record is all there is to it (but the function).
    """

    vision_modules: tuple[str, ...] = ()
    placeholder_ids: tuple[int, ...] = ()
    decoder_path: str = ""
    methods: tuple[str, ...] = ()
    token_rows: str | None = None
    configured: bool = False

    def is_vision_module(self, name: str) -> bool:
        """As `ModalityAdapter.is_vision_module`."""
        return _lies_in(name, self.vision_modules)


def _lies_in(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)


class ModalityAdapter:
    """Tells vision rows from text rows for one family of architectures.

    A new architecture is a subclass with `vision_modules`, decorated with `register_adapter` and the `model_type` of
    its config, or several. Placeholders are usually found by token id; override `placeholder_ids` or `token_rows` where
    that is not enough. `configure_adapter` does the same without a class.
    """

    #: Dotted names of submodules, relative to the model, all of whose token rows are vision.
    vision_modules: tuple[str, ...] = ()
    #: Config attributes that hold the ids of placeholder tokens.
    placeholder_fields: ClassVar[tuple[str, ...]] = ("image_token_id", "video_token_id")
    #: Arguments of `forward` that bring pictures. A call that goes on with a cache and brings none has text only: what
    #: was generated is text, should it be a placeholder's id by accident.
    picture_fields: ClassVar[tuple[str, ...]] = ("pixel_values", "pixel_values_videos", "image_hidden_states")
    #: Dotted name of the `ModuleList` of decoder layers, where the model does not tell (`find_decoder_layers`).
    decoder_path: str = ""
    #: Methods beside `forward` that are called with token ids and call the language model with embeddings.
    methods: tuple[str, ...] = ()

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
        return _lies_in(name, self.vision_modules)

    def fixed_modality(self, name: str) -> int | None:
        """Modality code of every row that the module `name` sees, or None where the rows' tokens tell it."""
        if not self.multimodal:
            return TEXT
        return VISION if self.is_vision_module(name) else None

    def decoder_layers(self, model: Any) -> dict[str, nn.Module]:
        """The decoder layers of the language model by module name, first layer first.

        Raises:
            InputError: they cannot be found; says how an adapter names them.
        """
        path = self.decoder_path or find_decoder_layers(model, self.vision_modules)
        layers: Any = None
        if path is not None:
            with contextlib.suppress(AttributeError):
                layers = model.get_submodule(path)
        if not isinstance(layers, nn.ModuleList) or not len(layers):
            model_type = getattr(self.config, "model_type", "")
            wrong = f" (there is no such list at {self.decoder_path!r})" if self.decoder_path else ""
            configure = f"configure_adapter({model_type!r}, decoder_path=...) or " if self.multimodal else ""
            raise InputError(
                f"the decoder layers of {type(model).__name__} are not known{wrong}; give the dotted name of their "
                f"ModuleList as `decoder_path`: {configure}a subclass of spike_compressor.modality.ModalityAdapter "
                f"decorated with register_adapter({model_type!r})"
            )
        return {f"{path}.{index}": layer for index, layer in enumerate(layers)}

    def rows(self, inputs: Mapping[str, Any]) -> TokenRows | None:
        """Modality of every token of a call, from its arguments; None where they do not tell.

        Args:
            inputs: arguments of `forward`, or of one of `methods`, by name; or a batch of calibration data.
        """
        ids, embeds = inputs.get("input_ids"), inputs.get("inputs_embeds")
        attention_mask = inputs.get("attention_mask")
        if not isinstance(attention_mask, Tensor):  # a mask per attention type: nothing in it tells padding
            attention_mask = None
        if ids is not None and not self.continues(inputs):
            return self.token_rows(ids, attention_mask)
        if ids is not None:
            return TokenRows.of(torch.zeros_like(ids, dtype=torch.uint8), attention_mask)
        if embeds is not None and not self.multimodal:
            text = torch.zeros(embeds.shape[:2], dtype=torch.uint8, device=embeds.device)
            return TokenRows.of(text, attention_mask)
        return None

    def token_rows(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> TokenRows:
        """Modality of every token of a batch, by its id.

        Args:
            input_ids: integer [batch, sequence], the tokens of this forward pass (one column while decoding).
            attention_mask: [batch, past + sequence] of 0/1, or None; see `TokenRows.of`.
        """
        modality = torch.zeros(input_ids.shape, dtype=torch.uint8, device=input_ids.device)
        for token in self.ids:
            modality[input_ids == token] = VISION
        return TokenRows.of(modality, attention_mask)

    def record(self) -> AdapterRecord:
        """What a checkpoint keeps of this adapter."""
        return AdapterRecord(tuple(self.vision_modules), self.ids, self.decoder_path, tuple(self.methods))

    def continues(self, inputs: Mapping[str, Any]) -> bool:
        """True if a call goes on with what a cache holds and brings no pictures: its tokens were generated, or said."""
        if any(inputs.get(name) is not None for name in self.picture_fields):
            return False
        past: Any = inputs.get("past_key_values")
        if hasattr(past, "get_seq_length"):
            return int(past.get_seq_length()) > 0
        return bool(past)  # older remote code: a tuple per layer


#: Makes the adapter of a config.
AdapterFactory = Callable[[Any], ModalityAdapter]
ADAPTERS: Registry[AdapterFactory] = Registry("modality adapter", "spike_compressor.adapters")
AdapterT = TypeVar("AdapterT", bound=type[ModalityAdapter])


def register_adapter(*model_types: str) -> Callable[[AdapterT], AdapterT]:
    """Class decorator: make an adapter known under the `model_type`s of its configs.

    Raises:
        InputError: one of them belongs to another adapter.
    """
    return ADAPTERS.register(*model_types)


def available_adapters() -> tuple[str, ...]:
    """The `model_type`s that have an adapter of their own, sorted."""
    return ADAPTERS.names()


_OLD_SENSES = ("visual", "vision_tower", "mm_vision_tower", "audio", "audio_tower")


def other_modalities(config: Any) -> list[str]:
    """Names of what a config has for something else than text."""
    known = set(getattr(config, "sub_configs", None) or ())
    known |= {key for key in vars(config) if key.endswith("_config") and getattr(config, key) is not None}
    # before there were sub-configs: Qwen-VL's dictionary, LLaVA's names of its own
    known |= {key for key in vars(config) if key in _OLD_SENSES and getattr(config, key)}
    senses = ("vision", "visual", "image", "video", "audio", "speech", "thinker")
    return sorted(key for key in known if any(sense in key for sense in senses))
