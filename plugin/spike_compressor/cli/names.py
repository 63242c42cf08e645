"""What `--model` names: the embedded model, a directory, or a model of the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from spike_compressor.checkpoint.read import require_no_spikes
from spike_compressor.errors import InputError

MODEL_HELP = "model directory, id of a model on the Hugging Face Hub, or `demo` for the embedded model"

#: What a model needs of its repository; other formats of the same weights stay there.
_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py", "*.safetensors")
_OLD_WEIGHTS = "pytorch_model*.bin"
#: `owner/name`, or a bare name of the Hub's early days.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def model_directory(name: str) -> Path:
    """The directory that `--model` names; a model of the Hub is downloaded into its cache, unless it is there.

    Raises:
        InputError: there is no model in it, or no such model; says what was tried. Or it is a spike-ready checkpoint.
    """
    if name == "demo":
        from spike_compressor.demo.model import MODEL_DIR

        directory, remedy = MODEL_DIR, "reinstall spike-compressor"
    else:
        directory, remedy = Path(name), "name a directory with a downloaded model"
        if not directory.exists() and _HUB_ID.fullmatch(name):
            directory = _from_hub(name)
    if not (directory / "config.json").is_file():
        raise InputError(f"--model {name}: there is no config.json in {directory}; {remedy}")
    require_no_spikes(directory)
    return directory


def _from_hub(name: str) -> Path:
    from httpx import HTTPError
    from huggingface_hub import snapshot_download

    try:
        directory = Path(snapshot_download(name, allow_patterns=list(_FILES)))
        if not any(directory.glob("*.safetensors")):
            snapshot_download(name, allow_patterns=[*_FILES, _OLD_WEIGHTS])
    except (OSError, ValueError, HTTPError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"--model {name}: there is no such directory here, and the Hugging Face Hub gave no model of that id "
            f"({reason}); name a directory with a downloaded model, or `demo`"
        ) from error
    return directory
