"""Hashes of what a result depends on: values, files, models, data. Of code: `fingerprint_code`."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spike_compressor.files import sha256_of

PACKAGES = ("torch", "transformers", "llmcompressor", "compressed-tensors", "numpy")


def canonical(parts: Any) -> str:
    """The one JSON text of plain values, whatever the order of keys."""
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))


def digest(parts: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of the packages that metrics depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def digest_of_model(directory: str | os.PathLike[str]) -> str:
    """SHA-256 of what transformers reads of a model directory: configuration, weights, and code that it brings."""
    folder = Path(directory)
    files = [folder / "config.json", *folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*.py")]
    return digest_of_files(files, folder)


def digest_of_files(files: Iterable[Path], root: Path) -> str:
    """SHA-256 of files by name and content."""
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.relative_to(root).as_posix()} {sha256_of(file)}\n".encode())
    return total.hexdigest()


def digest_of_batches(batches: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of the tensors of calibration batches, in their order."""
    total = hashlib.sha256()
    for batch in batches:
        for key in sorted(batch):
            value = batch[key]
            if isinstance(value, Tensor):
                total.update(f"{key} {value.dtype} {list(value.shape)}\n".encode())
                total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
