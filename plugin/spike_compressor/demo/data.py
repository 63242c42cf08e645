"""The demo's questions: calibration, validation and test items from embedded data only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from . import scenes
from .scenes import FAMILY, KINDS

__all__ = ["FAMILY", "KINDS", "SPLITS", "Item", "calibration_batches", "items", "split_words"]

SPLITS = ("calibration", "validation", "test")

ASSETS = Path(__file__).parent / "assets"
DATA_FILE = ASSETS / "data.npz"
WORDS_HELD_OUT = {"test": 240, "validation": 100, "calibration": 80}

# Kinds whose answers `items` cycles through, so that each is equally frequent.
_BALANCED: dict[str, tuple[str, ...]] = {
    "pos": tuple("0123456789"),
    "color": tuple(scenes.INKS),
    "where": scenes.POSITIONS,
    "present": ("yes", "no"),
    "compare": ("yes", "no"),
    "larger": tuple("123456789"),
    "max": tuple("0123456789"),
    "min": tuple("0123456789"),
    "count": tuple("0123"),
}


@dataclass(frozen=True)
class Item:
    """One question about one 64 x 64 RGB image.

    ``kind`` is one of KINDS; ``family`` (``digits``, ``word`` or ``shape``) says which images are of a sort.
    ``answer`` is the exact text that the model should generate; letters and digits are separated by spaces.
    """

    image: Image.Image
    question: str
    answer: str
    kind: str
    family: str


@dataclass(frozen=True)
class Digits:
    """``pixels`` uint8 [n, 28, 28], ``labels`` uint8 [n]."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@lru_cache(maxsize=1)
def _embedded() -> dict[str, NDArray[Any]]:
    with np.load(DATA_FILE, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def embedded_digits(split: str) -> Digits:
    """The digits of a held-out ``split``."""
    data = _embedded()
    return Digits(data[f"digits_{split}"], data[f"labels_{split}"])


def embedded_shapes(split: str) -> tuple[NDArray[np.uint8], list[tuple[int, str, str]]]:
    """easy-VQA pictures uint8 [n, 64, 64, 3] of ``split`` and their (image index, question, answer)."""
    data = _embedded()
    wordings, answers = data["wordings"].tolist(), data["answers"].tolist()
    rows = data[f"shape_questions_{split}"].tolist()
    return data[f"shapes_{split}"], [(i, wordings[q], answers[a]) for i, q, a in rows]


def split_words() -> dict[str, list[str]]:
    """The word list, shuffled by hash -> test, validation, calibration and train."""
    words = (ASSETS / "words.txt").read_text(encoding="utf-8").split()
    words.sort(key=lambda word: hashlib.sha256(word.encode()).hexdigest())
    parts, start = {}, 0
    for split, size in {**WORDS_HELD_OUT, "train": len(words) - sum(WORDS_HELD_OUT.values())}.items():
        parts[split] = words[start : start + size]
        start += size
    return parts


def items(split: str, per_kind: int, seed: int = 0) -> list[Item]:
    """``per_kind`` questions of every kind, each about an image of its own drawing; the same for the same seed.

    Digit scenes and words are drawn from the split's digits and words, answers in equal shares where a kind
    allows it. easy-VQA questions are the data set's own; yes/no ones are balanced for every wording.

    Raises:
        ValueError: unknown ``split``, or ``per_kind`` beyond what easy-VQA has in this split.
    """
    require_enough(split, per_kind)
    result: list[Item] = []
    for number, kind in enumerate(KINDS):
        rng = np.random.default_rng((seed, SPLITS.index(split), number))
        make = {"digits": _digit_items, "word": _word_items, "shape": _shape_items}[FAMILY[kind]]
        result += make(kind, split, per_kind, rng)
    return result


def require_enough(split: str, per_kind: int) -> None:
    """Refuse what `items` cannot draw, before anything is drawn.

    Raises:
        ValueError: unknown ``split``, or ``per_kind`` beyond what easy-VQA has in this split.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    if per_kind < 1:
        raise ValueError(f"per_kind is {per_kind}; it must be at least 1")
    for kind in KINDS:
        if FAMILY[kind] == "shape" and len(_shape_pool(kind, split)) < per_kind:
            most = len(_shape_pool(kind, split))
            raise ValueError(f"{split} has {most} questions of kind {kind}, fewer than {per_kind}; lower per_kind")


def _digit_items(kind: str, split: str, count: int, rng: np.random.Generator) -> Iterator[Item]:
    digits = embedded_digits(split)
    by_label = [np.flatnonzero(digits.labels == label) for label in range(10)]
    answers = _BALANCED.get(kind)
    for index in range(count):
        while True:
            scene = scenes.digit_scene(kind, rng)
            asked = scenes.ask_digits(kind, scene, rng)
            if asked is not None and (answers is None or asked[1] == answers[index % len(answers)]):
                break
        glyphs = digits.pixels[[int(rng.choice(by_label[label])) for label in scene.labels]]
        yield Item(Image.fromarray(scenes.draw_digits(glyphs, scene.colors, rng)), *asked, kind, "digits")


def _word_items(kind: str, split: str, count: int, rng: np.random.Generator) -> Iterator[Item]:
    words = [word for word in split_words()[split] if len(word) <= scenes.SPACED_LETTERS]
    for index in range(count):
        word = words[index % len(words)]
        question, answer = scenes.ask_word(kind, word, rng)
        yield Item(Image.fromarray(scenes.draw_word(word, rng)), question, answer, kind, "word")


def _shape_items(kind: str, split: str, count: int, rng: np.random.Generator) -> Iterator[Item]:
    pixels, _ = embedded_shapes(split)
    for index, question, answer in _shape_pool(kind, split, rng)[:count]:
        yield Item(Image.fromarray(pixels[index]), question, answer, kind, "shape")


def _shape_pool(kind: str, split: str, rng: np.random.Generator | None = None) -> list[tuple[int, str, str]]:
    """All questions of a kind that a split has, yes and no equally often; in random order if there is an ``rng``."""
    _, questions = embedded_shapes(split)
    pool = [entry for entry in questions if _shape_kind(entry[2]) == kind]
    if rng is not None:
        pool = [pool[i] for i in rng.permutation(len(pool))]
    return _balanced_by_wording(pool) if kind == "vqa_yesno" else pool


def _shape_kind(answer: str) -> str:
    if answer in ("yes", "no"):
        return "vqa_yesno"
    return "vqa_shape" if answer in scenes.SHAPES else "vqa_color"


def _balanced_by_wording(pool: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """Pairs of a yes and a no to the same wording, in the order of their first appearance."""
    waiting: dict[tuple[str, str], list[tuple[int, str, str]]] = {}
    paired = []
    for entry in pool:
        opposite = waiting.get((entry[1], "no" if entry[2] == "yes" else "yes"))
        if opposite:
            paired += [opposite.pop(0), entry]
        else:
            waiting.setdefault((entry[1], entry[2]), []).append(entry)
    return paired


def calibration_batches(
    processor: Any, samples: int = 256, batch_size: int = 8, seed: int = 0
) -> DataLoader[dict[str, torch.Tensor]]:
    """``samples`` calibration items as ready batches, usable as ``dataset=`` of ``llmcompressor.oneshot``.

    Every batch is a dict of ``input_ids`` and ``attention_mask`` int64 [B, L] and ``pixel_values`` float32
    [B, 3, 64, 64]; each row is a prompt, its answer and the end token, padded on the right. Kinds are mixed.
    """
    from .model import prompt

    if samples < 1 or batch_size < 1:
        raise ValueError(f"samples is {samples} and batch_size {batch_size}; both must be at least 1")
    pool = items("calibration", -(-samples // len(KINDS)), seed)
    order = np.random.default_rng(seed).permutation(len(pool))[:samples]
    chosen = [pool[i] for i in order]

    def collate(batch: list[Item]) -> dict[str, torch.Tensor]:
        encoded = processor(
            images=[item.image for item in batch],
            text=[f"{prompt(item.question)} {item.answer} {processor.tokenizer.eos_token}" for item in batch],
            padding=True,
            padding_side="right",
            return_tensors="pt",
        )
        return {name: encoded[name] for name in ("input_ids", "attention_mask", "pixel_values")}

    # A list is a map-style data set; its stubs want a Dataset.
    return DataLoader(chosen, batch_size=batch_size, shuffle=False, collate_fn=collate)  # type: ignore[arg-type]
