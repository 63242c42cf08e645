"""Benchmarks as files in their published form, with few questions about small pictures."""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path
from typing import Any

from PIL import Image

FILES = {
    "ocrbench": "OCRBench.tsv",
    "mme": "MME.tsv",
    "textvqa": "TextVQA_VAL.tsv",
    "docvqa": "DocVQA_VAL.tsv",
    "scienceqa": "ScienceQA_TEST.tsv",
}


def encoded(image: Image.Image) -> str:
    """A picture as the files hold it."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def picture(shade: int) -> str:
    return encoded(Image.new("RGB", (32, 32), (shade, 255 - shade, 60)))


def written(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    """A file as published: tab-separated, a header, quotes where needed."""
    path = folder / FILES[name]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return path
