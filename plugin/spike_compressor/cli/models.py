"""Opening recipes and calibration data that are named on the command line."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from spike_compressor.errors import InputError
from spike_compressor.modifiers import TCLIFModifier
from spike_compressor.modifiers.preflight import check_modifiers, require_data
from spike_compressor.modifiers.reading import read_recipe
from spike_compressor.pictures import open_picture
from spike_compressor.reading import is_file, parse_json


def check_recipe(path: Path, data: str | None = None, pipeline: str = "independent") -> list[Any]:
    """Parse a recipe before anything expensive begins.

    Args:
        path: of the recipe.
        data: where its calibration data come from; None for none.
        pipeline: that is to run it; `datafree` reads no data.

    Returns:
        Its modifiers.

    Raises:
        InputError: no such file, no YAML, no TCLIFModifier in it, a part that has no effect, modifiers that cannot work
            together, or that need data and get none.
        ValueError: a bad value of a modifier that is not ours; from LLM Compressor.
    """
    if not path.is_file():
        raise InputError(f"no recipe at {path}")
    try:
        modifiers: list[Any] = read_recipe(path, ours=True).modifiers
    except (AttributeError, TypeError, KeyError) as error:  # YAML, but not of the shape of a recipe
        raise InputError(
            f"{path} is no recipe: stage -> modifiers -> modifier -> fields, see docs/recipes.md"
        ) from error
    if not any(isinstance(modifier, TCLIFModifier) for modifier in modifiers):
        raise InputError(
            f"{path} has no TCLIFModifier, so nothing would spike; add one after the quantization modifier"
        )
    check_modifiers(modifiers)
    require_data(modifiers, data)
    if pipeline == "datafree":
        require_data(modifiers, None, "--pipeline datafree reads none")
    return modifiers


def calibration_of_seed(source: str, samples: int, batch_size: int, processor: Any, seed: int) -> DataLoader[Any]:
    """`calibration_data` in an order of arguments that leaves processor and seed to the caller."""
    return calibration_data(source, processor, samples, batch_size, seed)


def calibration_data(source: str, processor: Any, samples: int, batch_size: int, seed: int = 0) -> DataLoader[Any]:
    """Ready batches from `demo` or a JSON Lines file: its first samples, or for another seed than 0 some of all.

    Raises:
        InputError: no such file; a line that is no object with `text`, or names a picture that cannot be opened.
    """
    if source == "demo":
        from spike_compressor.demo.data import calibration_batches

        return calibration_batches(processor, samples=samples, batch_size=batch_size, seed=seed)
    path = Path(source)
    if not path.is_file():
        raise InputError(f"--data {source}: no such file (a .jsonl file, or `demo`)")
    sees = getattr(processor, "image_processor", None) is not None
    placeholder = getattr(processor, "image_token", None) if sees else None
    rows = [
        _row(f"{path}, line {number}", path.parent, line, sees, placeholder)
        for number, line in _lines(path, samples, seed)
    ]
    if not rows:
        raise InputError(f"--data {source}: the file has no samples")
    tokenizer = getattr(processor, "tokenizer", processor)
    if getattr(tokenizer, "pad_token", None) is None:  # padding is masked, so any token serves
        tokenizer.pad_token = tokenizer.eos_token

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        pictures = [open_picture(picture, str(picture)) for row in batch for picture in row["images"]]
        images = {"images": pictures} if pictures else {}
        encoded = processor(text=[row["text"] for row in batch], padding=len(batch) > 1, return_tensors="pt", **images)
        return dict(encoded)

    return DataLoader(rows, batch_size=batch_size, collate_fn=collate)  # type: ignore[arg-type]


def _lines(path: Path, count: int, seed: int) -> list[tuple[int, str]]:
    """`count` lines that are not empty, with their numbers: the first ones, or for a seed any."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if seed:
        random.Random(seed).shuffle(lines)
    return lines[:count]


def _row(where: str, folder: Path, line: str, sees: bool, placeholder: str | None) -> dict[str, Any]:
    row = parse_json(line, where)
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise InputError(f'{where}: expected an object with "text" (and "image")')
    named = row.get("image")
    names = [] if named is None else [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f'{where}: "image" must be a path or a list of paths')
    if names and not sees:
        raise InputError(f"{where}: it has a picture, but the model has no image processor")
    images = [folder / name for name in names]
    for image in images:
        if not is_file(image):
            raise InputError(f"{where}: no picture at {image}")
    found = row["text"].count(placeholder) if placeholder else len(images)
    if found != len(images):
        raise InputError(f"{where}: {len(images)} pictures for {found} {placeholder} in the text; they must be as many")
    return {"text": row["text"], "images": images}
