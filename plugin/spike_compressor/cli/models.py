"""Opening models, processors and calibration data that are named on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoProcessor, AutoTokenizer

from spike_compressor.errors import InputError


def open_model(directory: Path, dtype: str, trust_remote_code: bool) -> Any:
    """The model of a directory, in the class that its config names."""
    if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise InputError(f"--dtype {dtype}: no such torch dtype")
    config = AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code)
    names = [name for name in config.architectures or () if hasattr(transformers, name)]
    kind = getattr(transformers, names[0]) if names else transformers.AutoModelForCausalLM
    value = dtype if dtype == "auto" else getattr(torch, dtype)
    return kind.from_pretrained(directory, dtype=value, trust_remote_code=trust_remote_code)


def open_processor(directory: Path, trust_remote_code: bool) -> Any:
    """The processor of a model directory, or its tokenizer where it has no processor."""
    try:
        return AutoProcessor.from_pretrained(directory, trust_remote_code=trust_remote_code)
    except (ValueError, OSError, ImportError):
        try:
            return AutoTokenizer.from_pretrained(directory, trust_remote_code=trust_remote_code)
        except (ValueError, OSError) as error:
            raise InputError(f"{directory} has neither a processor nor a tokenizer that opens: {error}") from error


def calibration_data(source: str, processor: Any, samples: int, batch_size: int) -> DataLoader[Any]:
    """Ready batches from `demo` or a JSON Lines file.

    Raises:
        InputError: no such file; a line that is no object with `text`, or names a picture that cannot be opened.
    """
    if source == "demo":
        from spike_compressor.demo.data import calibration_batches

        return calibration_batches(processor, samples=samples, batch_size=batch_size)
    path = Path(source)
    if not path.is_file():
        raise InputError(f"--data {source}: no such file (a .jsonl file, or `demo`)")
    rows = [_row(path, number, line) for number, line in _lines(path)][:samples]
    if not rows:
        raise InputError(f"--data {source}: the file has no samples")

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        pictures = [picture for row in batch for picture in row["images"]]
        images = {"images": [Image.open(picture).convert("RGB") for picture in pictures]} if pictures else {}
        encoded = processor(text=[row["text"] for row in batch], padding=len(batch) > 1, return_tensors="pt", **images)
        return dict(encoded)

    return DataLoader(rows, batch_size=batch_size, collate_fn=collate)  # type: ignore[arg-type]


def _lines(path: Path) -> list[tuple[int, str]]:
    text = path.read_text(encoding="utf-8")
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    where = f"{path}, line {number}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: no JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise InputError(f'{where}: expected an object with "text" (and "image")')
    named = row.get("image", [])
    images = [path.parent / name for name in ([named] if isinstance(named, str) else named)]
    for image in images:
        if not image.is_file():
            raise InputError(f"{where}: no picture at {image}")
    return {"text": row["text"], "images": images}
