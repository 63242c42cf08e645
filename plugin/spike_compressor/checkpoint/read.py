"""Reading `spike_config.json`, without torch: whoever only looks at a checkpoint need not wait for it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError

from spike_compressor.checkpoint.migrations import migrated, require_known_version
from spike_compressor.checkpoint.schema import CONFIG_NAME, SpikeConfig, sealed
from spike_compressor.errors import InputError
from spike_compressor.fields import complaint
from spike_compressor.reading import read_json


def read_config(path: str | os.PathLike[str]) -> SpikeConfig:
    """Read and check `spike_config.json` of a checkpoint directory (its form, not yet the files that it names).

    Older schema versions are read as what the present one would say.

    Raises:
        InputError: no such file, no JSON, an unknown schema version or field, or not what was saved.
    """
    file = Path(path) / CONFIG_NAME
    if not file.is_file():
        raise InputError(
            f"{path} is no spike-ready checkpoint: it has no {CONFIG_NAME}. Make one with a recipe that ends in "
            "TCLIFModifier (`spike-compressor oneshot`)."
        )
    content = read_json(file)
    require_known_version(content, str(file))
    _require_seal(content, file)
    content = migrated(content)
    try:
        return SpikeConfig.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{file}: {complaint(error, content)}") from None


def require_no_spikes(directory: Path) -> None:
    """Check that a model directory is no spike-ready checkpoint, before a recipe starts from it.

    Raises:
        InputError: it is one; plain transformers would open it without its online rotations and thresholds.
    """
    if (directory / CONFIG_NAME).is_file():
        raise InputError(
            f"{directory} is a spike-ready checkpoint already ({CONFIG_NAME}), and a recipe starts from a model that "
            "is not quantized: name the float model that it was made from. `spike_compressor.load` opens this one."
        )


def _require_seal(content: dict[str, Any], file: Path) -> None:
    """The seal is that of the file as it stands, whatever its version."""
    if not isinstance(content.get("sha256"), dict):
        raise InputError(f"{file}: `sha256` must name the files that the checkpoint is made of; copy it again")
    if sealed(content) != content:
        raise InputError(
            f"{file} is not what was saved (its SHA-256 of itself differs); copy the checkpoint again. To change "
            "timesteps or thresholds, run the recipe anew."
        )


def modalities_of_layers(config: SpikeConfig) -> dict[str, list[str]]:
    """The modalities that the rows of each layer of the plan can have; all of them where that is not known."""
    if all(entry.modalities is not None for entry in config.plan.values()):
        return {name: list(entry.modalities or ()) for name, entry in config.plan.items()}
    # written before entries said it: the architecture's adapter knows, for which torch must be imported
    from spike_compressor.modality import adapter_for

    try:
        adapter = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type=config.architecture)))
    except InputError:
        return {name: list(config.modalities) for name in config.plan}
    if not adapter.multimodal:  # text only, or the adapter of an architecture that is not imported here
        seen = list(config.modalities) if config.placeholders else ["text"]
        return dict.fromkeys(config.plan, seen)
    return {
        name: list(config.modalities) if adapter.fixed_modality(name) is None else list(adapter.modalities_of(name))
        for name in config.plan
    }
