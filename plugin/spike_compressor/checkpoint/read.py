"""Reading `spike_config.json`, without torch: whoever only looks at a checkpoint need not wait for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

from pydantic import ValidationError

from spike_compressor.checkpoint.schema import CONFIG_NAME, SCHEMA_VERSION, SpikeConfig, sealed
from spike_compressor.errors import InputError


def read_config(path: str | os.PathLike[str]) -> SpikeConfig:
    """Read and check `spike_config.json` of a checkpoint directory (its form, not yet the files that it names).

    Raises:
        InputError: no such file, no JSON, an unknown schema version or field.
    """
    file = Path(path) / CONFIG_NAME
    if not file.is_file():
        raise InputError(
            f"{path} is no spike-ready checkpoint: it has no {CONFIG_NAME}. Make one with a recipe that ends in "
            "TCLIFModifier (`spike-compressor oneshot`)."
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is no JSON: {error}") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{file} has schema version {version!r}; this package reads {SCHEMA_VERSION}")
    try:
        config = SpikeConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{file}: field {where!r}: {first['msg']}") from None
    if sealed(content) != content:
        raise InputError(
            f"{file} is not what was saved (its SHA-256 of itself differs); copy the checkpoint again. To change "
            "timesteps or thresholds, run the recipe anew."
        )
    return config


def modalities_of_layers(config: SpikeConfig) -> dict[str, list[str]]:
    """The modalities that the rows of each layer of the plan can have; all of them where that is not known."""
    if all(entry.sees is not None for entry in config.plan.values()):
        return {name: list(entry.sees or ()) for name, entry in config.plan.items()}
    # written before entries said it: the architecture's adapter knows, for which torch must be imported
    from spike_compressor.modality import adapter_for

    try:
        adapter = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type=config.architecture)))
    except InputError:
        return {name: list(config.modalities) for name in config.plan}
    if not adapter.multimodal:  # text only, or the adapter of an architecture that is not imported here
        seen = list(config.modalities) if config.placeholder_ids else ["text"]
        return dict.fromkeys(config.plan, seen)
    return {name: ["vision"] if adapter.is_vision_module(name) else list(config.modalities) for name in config.plan}
