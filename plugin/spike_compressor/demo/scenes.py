"""Draws the demo's images and asks questions about them.

Three families of 64 x 64 RGB images: ``digits`` (four handwritten digits, one a quadrant, each in a colour),
``word`` (rendered letters) and ``shape`` (easy-VQA pictures, which are given, not drawn). A scene is drawn by
the caller's random generator alone, so the same seed gives the same pixels on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIZE = 64
CELL = 32
POSITIONS = ("top left", "top right", "bottom left", "bottom right")
INKS: dict[str, tuple[int, int, int]] = {
    "red": (235, 50, 50),
    "green": (50, 215, 70),
    "blue": (70, 110, 255),
    "yellow": (240, 225, 50),
    "purple": (200, 70, 225),
    "white": (245, 245, 245),
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
MIN_LETTERS, MAX_LETTERS = 3, 5

DIGIT_KINDS = ("pos", "read", "color", "where", "present", "compare", "larger", "max", "min", "count")
# Longest word that `draw_word` sets, one letter a patch column.
SPACED_LETTERS = 4
WORD_KINDS = ("word", "letter")
SHAPE_KINDS = ("vqa_color", "vqa_shape", "vqa_yesno")
KINDS = DIGIT_KINDS + WORD_KINDS + SHAPE_KINDS
FAMILY = {
    **dict.fromkeys(DIGIT_KINDS, "digits"),
    **dict.fromkeys(WORD_KINDS, "word"),
    **dict.fromkeys(SHAPE_KINDS, "shape"),
}

SHAPES = ("circle", "rectangle", "triangle")
SHAPE_COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
_COLOR_FORMS = ("what color is the {}?", "what is the color of the {}?")
_SHAPE_FORMS = ("what shape is in the image?", "what shape is present?", "what shape does the image contain?")
_YES_FORMS = (
    "is there a {}?",
    "is there a {} in the image?",
    "does the image contain a {}?",
    "is a {} present?",
)
_NO_FORMS = (
    "is there not a {}?",
    "is there not a {} in the image?",
    "does the image not contain a {}?",
    "is no {} present?",
)


@dataclass(frozen=True)
class DigitScene:
    """What four quadrants show: ``labels`` 0 … 9 and ink names ``colors``, in the order of POSITIONS."""

    labels: tuple[int, ...]
    colors: tuple[str, ...]


def digit_scene(kind: str, rng: np.random.Generator) -> DigitScene:
    """Four labels and colours, drawn so that the answers of ``kind`` are spread evenly.

    ``max`` and ``min`` draw the extreme uniformly first, ``count`` draws how often a digit occurs; every other
    kind takes four independent digits.
    """
    labels = rng.integers(0, 10, 4)
    place = int(rng.integers(4))
    if kind == "max":
        labels = np.where(np.arange(4) == place, labels, rng.integers(0, labels[place] + 1, 4))
    elif kind == "min":
        labels = np.where(np.arange(4) == place, labels, rng.integers(labels[place], 10, 4))
    elif kind == "count":
        digit, times = int(rng.integers(10)), int(rng.integers(1, 4))
        labels = (digit + rng.integers(1, 10, 4)) % 10
        labels[rng.permutation(4)[:times]] = digit
    names = tuple(INKS)
    colors = tuple(names[i] for i in rng.integers(0, len(names), 4).tolist())
    return DigitScene(tuple(labels.tolist()), colors)


def ask_digits(kind: str, scene: DigitScene, rng: np.random.Generator) -> tuple[str, str] | None:
    """A question of ``kind`` about ``scene`` and its answer; None where the scene admits none."""
    labels = scene.labels
    if kind == "pos":
        place = int(rng.integers(4))
        return f"digit at {POSITIONS[place]}?", str(labels[place])
    if kind == "read":
        return "read all digits?", " ".join(map(str, labels))
    if kind in ("color", "where"):
        single = [i for i in range(4) if labels.count(labels[i]) == 1]
        if not single:
            return None
        place = single[int(rng.integers(len(single)))]
        if kind == "color":
            return f"color of {labels[place]}?", scene.colors[place]
        return f"where is {labels[place]}?", POSITIONS[place]
    if kind == "present":
        if rng.random() < 0.5:
            return f"is there a {labels[int(rng.integers(4))]}?", "yes"
        absent = [d for d in range(10) if d not in labels]
        return f"is there a {absent[int(rng.integers(len(absent)))]}?", "no"
    if kind in ("compare", "larger"):
        pairs = [(i, j) for i in range(4) for j in range(4) if labels[i] != labels[j]]
        if not pairs:
            return None
        i, j = pairs[int(rng.integers(len(pairs)))]
        if kind == "compare":
            return f"is {POSITIONS[i]} larger than {POSITIONS[j]}?", "yes" if labels[i] > labels[j] else "no"
        return f"larger of {POSITIONS[i]} and {POSITIONS[j]}?", str(max(labels[i], labels[j]))
    if kind == "max":
        return "largest digit?", str(max(labels))
    if kind == "min":
        return "smallest digit?", str(min(labels))
    if kind == "count":
        by_count: dict[int, list[int]] = {}
        for digit in range(10):
            by_count.setdefault(labels.count(digit), []).append(digit)
        by_count.pop(4, None)
        counts = sorted(by_count)
        times = counts[int(rng.integers(len(counts)))]
        digits = by_count[times]
        return f"how many {digits[int(rng.integers(len(digits)))]}?", str(times)
    raise ValueError(f"unknown digit question kind {kind!r}; expected one of {', '.join(DIGIT_KINDS)}")


def draw_digits(glyphs: NDArray[np.uint8], colors: tuple[str, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [4, 28, 28] glyphs, one a quadrant in the order of POSITIONS -> uint8 [64, 64, 3].

    Each glyph is shifted by up to one pixel; ink brightness and the dark background vary a little.
    """
    image = np.full((SIZE, SIZE, 3), rng.integers(0, 30), np.float32)
    for i in range(4):
        top = (i // 2) * CELL + int(rng.integers(1, 4))
        left = (i % 2) * CELL + int(rng.integers(1, 4))
        ink = np.asarray(INKS[colors[i]], np.float32) * rng.uniform(0.85, 1.0)
        coverage = glyphs[i].astype(np.float32)[..., None] / 255
        patch = image[top : top + 28, left : left + 28]
        patch += coverage * (ink - patch)
    return image.round().astype(np.uint8)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType, which renders the demo's words; reinstall pillow")
    return font


def _extent(word: str, size: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of the rendered word, in pixels."""
    left, top, right, bottom = (int(edge) for edge in _font(size).getbbox(word))
    return left, top, right - left, bottom - top


def _ink_and_ground(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A dark and a light colour, in either order."""
    dark, light = (tuple(int(v) for v in rng.integers(*limits, 3)) for limits in ((0, 90), (165, 256)))
    return (dark, light) if rng.random() < 0.5 else (light, dark)


def draw_word(word: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Rendered ``word`` of up to four letters, evenly spaced along one of two lines -> uint8 [64, 64, 3].

    Ink, ground, size, line, first column and the exact place of every letter vary.
    """
    ink, ground = _ink_and_ground(rng)
    font = _font(int(rng.integers(15, 18)))
    pitch = SIZE // SPACED_LETTERS
    column = int(rng.integers(SPACED_LETTERS - len(word) + 1))
    baseline = (28 if rng.random() < 0.5 else 44) + int(rng.integers(-1, 2))
    image = Image.new("RGB", (SIZE, SIZE), ground)
    draw = ImageDraw.Draw(image)
    for place, letter in enumerate(word, column):
        x = place * pitch + pitch // 2 + int(rng.integers(-1, 2))
        draw.text((x, baseline), letter, fill=ink, font=font, anchor="ms")
    return np.asarray(image, np.uint8)


def draw_loose_word(word: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Rendered ``word`` with the font's own spacing, in random ink, size and place -> uint8 [64, 64, 3].

    Harder than `draw_word`: letters fall anywhere across the patches. Training begins with these.
    """
    size = int(rng.integers(18, 22))
    left, top, width, height = _extent(word, size)
    while width > SIZE - 4:
        size -= 1
        left, top, width, height = _extent(word, size)
    ink, ground = _ink_and_ground(rng)
    x = int(rng.integers(2, min(10, SIZE - 2 - width) + 1))
    y = (SIZE - height) // 2 + int(rng.integers(-5, 6))
    image = Image.new("RGB", (SIZE, SIZE), ground)
    ImageDraw.Draw(image).text((x - left, y - top), word, fill=ink, font=_font(size))
    return np.asarray(image, np.uint8)


def ask_word(kind: str, word: str, rng: np.random.Generator) -> tuple[str, str]:
    """``word``: all letters, separated by spaces; ``letter``: the n-th letter, counted from 1."""
    if kind == "word":
        return "read the word?", " ".join(word)
    if kind == "letter":
        place = int(rng.integers(len(word)))
        return f"letter {place + 1}?", word[place]
    raise ValueError(f"unknown word question kind {kind!r}; expected one of {', '.join(WORD_KINDS)}")


def ask_shape(kind: str, shape: str, color: str, rng: np.random.Generator) -> tuple[str, str]:
    """A question in one of easy-VQA's own 107 wordings, yes/no balanced for every wording."""
    if kind == "vqa_color":
        subject = "shape" if rng.random() < 0.5 else shape
        return _COLOR_FORMS[int(rng.integers(2))].format(subject), color
    if kind == "vqa_shape":
        form = int(rng.integers(len(_SHAPE_FORMS) + 1))
        return (f"what is the {color} shape?" if form == len(_SHAPE_FORMS) else _SHAPE_FORMS[form]), shape
    if kind == "vqa_yesno":
        matches, negated = rng.random() < 0.5, rng.random() < 0.5
        if rng.random() < len(SHAPES) / (len(SHAPES) + len(SHAPE_COLORS)):
            others = [s for s in SHAPES if s != shape]
            subject = shape if matches else others[int(rng.integers(len(others)))]
        else:
            others = [c for c in SHAPE_COLORS if c != color]
            subject = (color if matches else others[int(rng.integers(len(others)))]) + " shape"
        forms = _NO_FORMS if negated else _YES_FORMS
        return forms[int(rng.integers(len(forms)))].format(subject), "yes" if matches != negated else "no"
    raise ValueError(f"unknown shape question kind {kind!r}; expected one of {', '.join(SHAPE_KINDS)}")


def shape_wordings() -> frozenset[str]:
    """All wordings that `ask_shape` can use; easy-VQA 1.0 contains exactly these."""
    subjects = [*SHAPES, *(f"{color} shape" for color in SHAPE_COLORS)]
    return frozenset(
        [form.format(s) for form in _COLOR_FORMS for s in ("shape", *SHAPES)]
        + [*_SHAPE_FORMS, *(f"what is the {color} shape?" for color in SHAPE_COLORS)]
        + [form.format(s) for form in _YES_FORMS + _NO_FORMS for s in subjects]
    )


def vocabulary() -> tuple[str, ...]:
    """Every word that a question or an answer can hold, digits and letters first."""
    rng = np.random.default_rng(0)
    texts = [*shape_wordings(), *POSITIONS, *INKS, *SHAPES, *SHAPE_COLORS, "yes no"]
    scene = DigitScene((1, 2, 3, 3), ("red",) * 4)
    texts += [str(ask_digits(kind, scene, rng)) for kind in DIGIT_KINDS]
    texts += [ask_word(kind, "abc", rng)[0] for kind in WORD_KINDS]
    words = {word for text in texts for word in tokens_of(text) if word.isalpha() and len(word) > 1}
    return (*"0123456789", *LETTERS, "?", *sorted(words))


def tokens_of(text: str) -> list[str]:
    """Lower case, split at spaces, punctuation apart: what the tokenizer does before it looks up ids."""
    spaced = "".join(c if c.isalnum() else f" {c} " for c in text.lower())
    return spaced.split()
