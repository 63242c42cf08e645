"""The adapter interface: one small class an architecture says which rows belong to which modality."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.modality.decoder import find_decoder_layers
from spike_compressor.modality.derived import Deriving
from spike_compressor.modality.names import TEXT, in_order, lies_in, modality_code, modality_names, rows_by_modality
from spike_compressor.registry import Registry


@dataclass
class TokenRows(Deriving):
    """The token rows of one forward pass of the language model.

    Attributes:
        modality: uint8 [batch, sequence], codes of modalities. Padding counts as text: it is computed too.
        valid: bool [batch, sequence], False where the row is padding and must not enter statistics; None if all count.
    """

    modality: Tensor
    valid: Tensor | None = None
    _derived: dict[Any, Any] = field(default_factory=dict, repr=False)
    _uniform: int | None = field(default=None, repr=False)  # -1 where rows differ

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
            if not torch.compiler.is_compiling() and bool(valid.all()):
                valid = None
        return cls(modality, valid)

    @property
    def uniform(self) -> int | None:
        """The code of the modality that all rows have; None where they differ. Of no rows at all, text."""
        if self._uniform is None:
            low, high = (int(one) for one in self.modality.aminmax()) if self.modality.numel() else (TEXT, TEXT)
            self._uniform = low if low == high else -1
        return None if self._uniform < 0 else self._uniform

    def alike(self, *shape: int) -> TokenRows:
        """So many rows of the modality that all of these have."""
        return TokenRows(self.modality.new_full(shape, self.uniform or TEXT))

    def lookup(self, table: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Per-row value of a per-modality `table` (one entry per code), flat [batch * sequence], cached."""
        return self.derived((table, dtype, device), lambda: self._looked_up(table, dtype, device))

    def _looked_up(self, table: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.tensor(table, dtype=dtype, device=device)[self.modality.to(device).reshape(-1).long()]

    def counts(self) -> dict[str, int]:
        """Tokens by modality, padding left out; modalities without tokens are left out too."""
        return {name: int(mask.sum()) for name, mask in rows_by_modality(self.modality, self.valid).items()}


#: Modality -> something of it.
ByModality = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class AdapterRecord:
    """What an adapter knows, as a checkpoint keeps it, so that rows keep their modality when it is opened again.

    Attributes:
        modules: as in `ModalityAdapter`.
        placeholders: ids of placeholder tokens by modality, sorted.
        decoder_path: as in `ModalityAdapter`.
        methods: likewise.
        token_rows: name of the function that tells rows apart, if one was configured.
        configured: True if `configure_adapter` made it, so that this record is all there is to it (but the function).
    """

    modules: ByModality = field(default_factory=dict)
    placeholders: ByModality = field(default_factory=dict)
    decoder_path: str = ""
    methods: tuple[str, ...] = ()
    token_rows: str | None = None
    configured: bool = False


class ModalityAdapter:
    """Tells the modality of token rows for one family of architectures.

    A new architecture is a subclass with `modules`, decorated with `register_adapter` and the `model_type` of its
    config, or several. Placeholders are usually found by token id; override `placeholder_ids` or `token_rows` where
    that is not enough. `configure_adapter` does the same without a class.
    """

    #: Modality -> submodules, relative to the model, all of whose rows belong to it: dotted names of modules with all
    #: that is in them, or `re:` patterns that names of modules begin with. Where a module lies in several, the first
    #: modality counts. Beside text, the modalities of the model are those that are named here.
    modules: ClassVar[ByModality] = {}
    #: Short for `modules` of a model that has text and vision: its vision modules.
    vision_modules: tuple[str, ...] = ()
    #: Modality -> config attributes that hold the ids of its placeholder tokens; a tuple is short for vision's.
    placeholder_fields: ClassVar[ByModality | tuple[str, ...]] = {
        "vision": ("image_token_id", "image_token_index", "video_token_id", "video_token_index"),
        "audio": ("audio_token_id", "audio_token_index"),
    }
    #: Arguments of `forward` that bring pictures, sounds and the like. A call that goes on with a cache and brings none
    #: has text only: what was generated is text, should it be a placeholder's id by accident.
    media_fields: ClassVar[tuple[str, ...]] = (
        "pixel_values",
        "pixel_values_videos",
        "image_hidden_states",
        "input_features",
        "audio_values",
    )
    #: Dotted name of the `ModuleList` of decoder layers, where the model does not tell (`find_decoder_layers`).
    decoder_path: str = ""
    #: Methods beside `forward` that are called with token ids and call the language model with embeddings.
    methods: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "vision_modules" in vars(cls):
            cls.modules = {**cls.modules, "vision": tuple(cls.vision_modules)}
        if not isinstance(cls.placeholder_fields, Mapping):
            cls.placeholder_fields = {"vision": tuple(cls.placeholder_fields)}
        if "picture_fields" in vars(cls):
            raise InputError(f"{cls.__qualname__}: `picture_fields` of modality adapters is called `media_fields` now")

    def __init__(self, config: Any) -> None:
        self.config = config
        for name in self.modules:
            modality_code(name)
        found = self.placeholder_ids()
        for name in found:
            modality_code(name)
        self.placeholders: ByModality = {name: tuple(sorted(found[name])) for name in in_order(found) if found[name]}

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that rows of the model can have, in the order of their codes; text is always one."""
        return in_order({"text", *self.modules})

    @property
    def multimodal(self) -> bool:
        """True if the architecture can see or hear anything but text."""
        return len(self.modalities) > 1

    @property
    def token_modalities(self) -> tuple[str, ...]:
        """The modalities that token rows of the language model can have: all, unless an adapter knows better."""
        return self.modalities

    def placeholder_ids(self) -> Mapping[str, set[int]]:
        """Modality -> ids of the tokens in whose places its features stand."""
        found: dict[str, set[int]] = {}
        assert isinstance(self.placeholder_fields, Mapping)
        for modality in self.modules:
            values = (getattr(self.config, name, None) for name in self.placeholder_fields.get(modality, ()))
            found[modality] = {int(value) for value in values if value is not None}
        return found

    def fixed_modality(self, name: str) -> int | None:
        """Code of the modality of every row that the module `name` sees, or None where the rows' tokens tell it."""
        if not self.multimodal:
            return modality_code("text")
        found = (modality for modality, modules in self.modules.items() if lies_in(name, modules))
        modality = next(found, None)
        return None if modality is None else modality_code(modality)

    def modalities_of(self, name: str) -> tuple[str, ...]:
        """The modalities that rows of the module `name` can have."""
        code = self.fixed_modality(name)
        return self.token_modalities if code is None else (modality_names()[code],)

    def decoder_layers(self, model: Any) -> dict[str, nn.Module]:
        """The decoder layers of the language model by module name, first layer first.

        Raises:
            InputError: they cannot be found; says how an adapter names them.
        """
        others = [module for name, modules in self.modules.items() if name != "text" for module in modules]
        path = self.decoder_path or find_decoder_layers(model, others)
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
        for name, ids in self.placeholders.items():
            for token in ids:
                modality[input_ids == token] = modality_code(name)
        return TokenRows.of(modality, attention_mask)

    def record(self) -> AdapterRecord:
        """What a checkpoint keeps of this adapter."""
        modules = {name: tuple(listed) for name, listed in self.modules.items()}
        return AdapterRecord(modules, self.placeholders, self.decoder_path, tuple(self.methods))

    def continues(self, inputs: Mapping[str, Any]) -> bool:
        """True if a call goes on with what a cache holds and brings no media: its tokens were generated, or said."""
        if any(inputs.get(name) is not None for name in self.media_fields):
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
