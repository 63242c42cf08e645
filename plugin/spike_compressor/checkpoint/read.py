"""Reading `spike_config.json`, without torch: whoever only looks at a checkpoint need not wait for it."""

from __future__ import annotations

import json
import os
from pathlib import Path

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
