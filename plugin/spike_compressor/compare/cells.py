"""Finished results, kept by the hash of everything that they depend on: a killed sweep resumes where it was."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PACKAGES = ("torch", "transformers", "llmcompressor", "compressed-tensors", "numpy")
_PLUGIN = Path(__file__).parents[1]


class Cells:
    """A folder of results, one JSON file each.

    Args:
        folder: made when the first result is kept.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def get(self, parts: Mapping[str, Any]) -> Any | None:
        """The result of these parts, or None if it has not been computed yet."""
        try:
            content = json.loads(self._path(parts).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content["result"] if content.get("parts") == json.loads(canonical(parts)) else None

    def put(self, parts: Mapping[str, Any], result: Any) -> Any:
        """Keep a result; the file appears as a whole or not at all."""
        path = self._path(parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(json.dumps({"parts": json.loads(canonical(parts)), "result": result}), encoding="utf-8")
        os.replace(fresh, path)
        return result

    def cell(self, parts: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """The result of these parts: from the folder, or computed and kept. It must survive JSON."""
        found = self.get(parts)
        return self.put(parts, json.loads(json.dumps(compute()))) if found is None else found

    def _path(self, parts: Mapping[str, Any]) -> Path:
        return self.folder / f"{digest(parts)[:32]}.json"


def canonical(parts: Any) -> str:
    """The one JSON text of plain values, whatever the order of keys."""
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))


def digest(parts: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of the packages that figures depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


@functools.cache
def digest_of_source(*parts: str) -> str:
    """SHA-256 of this package's own code: of rooms (`coding`) and files (`compare/perplexity.py`).

    Read once a process: what is edited while it runs is not what it computes with.
    """
    files = [file for part in parts for file in ([_PLUGIN / part] if part.endswith(".py") else _code(_PLUGIN / part))]
    return digest_of_files(files, _PLUGIN)


def digest_of_model(directory: str | os.PathLike[str]) -> str:
    """SHA-256 of what transformers reads of a model directory: configuration and weights."""
    folder = Path(directory)
    files = [folder / "config.json", *folder.glob("*.safetensors"), *folder.glob("*.bin")]
    return digest_of_files(files, folder)


def digest_of_files(files: Iterable[Path], root: Path) -> str:
    """SHA-256 of files by name and content."""
    total = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256") if hasattr(hashlib, "file_digest") else _read(stream)
        total.update(f"{file.relative_to(root).as_posix()} {content.hexdigest()}\n".encode())
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


def _code(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _read(stream: Any) -> Any:
    total = hashlib.sha256()  # Python 3.10 has no file_digest
    while block := stream.read(1 << 20):
        total.update(block)
    return total
