"""Layers of a model by their shapes: bundled ones, or those of a `config.json`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from spike_compressor.errors import InputError, shown
from spike_compressor.estimate.names import DATA, model_names
from spike_compressor.fields import CheckedFields
from spike_compressor.reading import is_file, read_object
from spike_compressor.registry import nearest
from spike_compressor.yaml_files import read_yaml

FOLDER = DATA / "models"


class DecoderFields(CheckedFields):
    """The language model: attention with shared heads, and a gated MLP."""

    path_in_messages: ClassVar[str] = "decoder"
    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    tied: bool = False


class VisionFields(CheckedFields):
    """The vision tower: a transformer with an MLP of two layers."""

    path_in_messages: ClassVar[str] = "vision"
    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    heads: int = Field(ge=1)
    patch_inputs: int = Field(ge=1)


class ProjectorFields(CheckedFields):
    """A Linear between tower and language model; its rows are patches, or tokens of pictures."""

    path_in_messages: ClassVar[str] = "projector"
    inputs: int = Field(ge=1)
    outputs: int = Field(ge=1)
    rows: Literal["patch", "token"] = "token"


class ModelFields(CheckedFields):
    """Shapes of a model."""

    path_in_messages: ClassVar[str] = "model"
    name: str
    source: str
    parameters: float | None = None
    image_tokens: int = Field(default=0, ge=0)
    patches_per_token: int = Field(default=1, ge=1)
    patches_together: int | None = Field(default=None, ge=1)  # that see each other in the tower; None: all
    decoder: DecoderFields
    vision: VisionFields | None = None
    projector: list[ProjectorFields] = Field(default_factory=list)


@dataclass(frozen=True)
class Linear:
    """Linears of one shape.

    Attributes:
        kind: as `layer_kind` calls it, or `lm_head`.
        inputs, outputs: K and N; layers that read the same input stand together.
        count: how many there are.
        rows: what its rows are: `patch`, `image token`, `token`, or `last` (one row of each sequence).
    """

    kind: str
    inputs: int
    outputs: int
    count: int
    rows: Literal["patch", "image token", "token", "last"]

    @property
    def weights(self) -> int:
        """Of all of them."""
        return self.inputs * self.outputs * self.count


def linears(model: ModelFields) -> Iterator[Linear]:
    """Every Linear of a model in the order in which it computes."""
    tower, text = model.vision, model.decoder
    if tower is not None:
        yield Linear("vision tower", tower.hidden, 3 * tower.hidden, tower.layers, "patch")
        yield Linear("vision tower", tower.hidden, tower.hidden, tower.layers, "patch")
        yield Linear("vision tower", tower.hidden, tower.intermediate, tower.layers, "patch")
        yield Linear("vision tower", tower.intermediate, tower.hidden, tower.layers, "patch")
    for one in model.projector:
        yield Linear("projector", one.inputs, one.outputs, 1, "patch" if one.rows == "patch" else "image token")
    queries, keys = text.heads * text.head_dim, text.kv_heads * text.head_dim
    yield Linear("q/k/v", text.hidden, queries + 2 * keys, text.layers, "token")
    yield Linear("o", queries, text.hidden, text.layers, "token")
    yield Linear("gate/up", text.hidden, 2 * text.intermediate, text.layers, "token")
    yield Linear("down", text.intermediate, text.hidden, text.layers, "token")
    yield Linear("lm_head", text.hidden, text.vocabulary, 1, "last")


def parameters(model: ModelFields) -> int:
    """Weights of all Linears, embeddings and the patches' projection; norms and biases are left out."""
    embeddings = 0 if model.decoder.tied else model.decoder.vocabulary * model.decoder.hidden
    patches = model.vision.hidden * model.vision.patch_inputs if model.vision else 0
    return sum(one.weights for one in linears(model)) + embeddings + patches


def read_model(name: str | os.PathLike[str]) -> ModelFields:
    """Shapes by the name of a bundled model, a `config.json`, or a directory with one.

    Raises:
        InputError: neither; or a configuration that lacks what is needed, or has experts.
    """
    text = str(name).lower()
    names = model_names()
    if text in names:
        return ModelFields.model_validate(read_yaml(FOLDER / f"{text}.yaml"))
    path = Path(name)
    path = path / "config.json" if path.is_dir() else path
    if not is_file(path):
        close = nearest(text, names)
        hint = f"; did you mean {close}?" if close else ""
        raise InputError(f"no config.json at {name}, and no bundled model of that name: {', '.join(names)}{hint}")
    return from_config(read_object(path), str(path))


def from_config(config: Mapping[str, Any], where: str) -> ModelFields:
    """Shapes of a Hugging Face configuration of a decoder with a gated MLP, alone or behind a vision tower.

    A vision tower's projector is taken for two Linears from its merged patches to the decoder's width.

    Raises:
        InputError: a number is missing or none; the model has experts.
    """
    text = next((config[key] for key in ("text_config", "llm_config") if isinstance(config.get(key), dict)), config)
    if any(text.get(key) for key in ("num_experts", "num_local_experts", "n_routed_experts")):
        raise InputError(f"{where}: mixtures of experts are not estimated")
    hidden = _number(text, where, "hidden_size")
    heads = _number(text, where, "num_attention_heads")
    decoder = DecoderFields(
        layers=_number(text, where, "num_hidden_layers"),
        hidden=hidden,
        intermediate=_number(text, where, "intermediate_size"),
        heads=heads,
        kv_heads=_number(text, where, "num_key_value_heads", default=heads),
        head_dim=_number(text, where, "head_dim", default=hidden // heads),
        vocabulary=_number(text, where, "vocab_size"),
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
    )
    tower = config.get("vision_config")
    if not isinstance(tower, dict):
        return ModelFields(name=_name(config, where), source=where, decoder=decoder)
    width = _number(tower, where, "embed_dim", "hidden_size", "width")
    patch = _number(tower, where, "patch_size", default=14)
    merged = _number(tower, where, "spatial_merge_size", default=0) ** 2
    ratio = config.get("downsample_ratio")
    if not merged:
        merged = round(float(ratio) ** -2) if isinstance(ratio, (int, float)) and ratio else 1
    vision = VisionFields(
        layers=_number(tower, where, "num_hidden_layers", "depth", "layers"),
        hidden=width,
        intermediate=_number(
            tower, where, "intermediate_size", default=round(width * float(tower.get("mlp_ratio") or 4))
        ),
        heads=_number(tower, where, "num_attention_heads", "num_heads", "heads"),
        patch_inputs=3 * patch * patch * _number(tower, where, "temporal_patch_size", default=1),
    )
    side = _number(tower, where, "image_size", default=0) // patch
    return ModelFields(
        name=_name(config, where),
        source=where,
        image_tokens=side * side // merged,
        patches_per_token=merged,
        patches_together=side * side or None,
        decoder=decoder,
        vision=vision,
        projector=[
            ProjectorFields(inputs=merged * width, outputs=hidden),
            ProjectorFields(inputs=hidden, outputs=hidden),
        ],
    )


def _name(config: Mapping[str, Any], where: str) -> str:
    architectures = config.get("architectures") or [Path(where).resolve().parent.name]
    return str(architectures[0])


def _number(config: Mapping[str, Any], where: str, *keys: str, default: int | None = None) -> int:
    for key in keys:
        value = config.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InputError(f"{where}: {key} is {shown(value)}: must be a whole number")
        return value
    if default is None:
        raise InputError(f"{where} has no {' or '.join(keys)}: shapes cannot be told from it")
    return default
