"""A picture of one question: what the model saw, was asked and answered."""

from __future__ import annotations

import textwrap

from PIL import Image, ImageDraw, ImageFont

_SIDE, _MARGIN, _LINE = 320, 16, 26


def answered_picture(image: Image.Image, question: str, answer: str, expected: str) -> Image.Image:
    """`image` enlarged, with the question and the answer below it; the expected answer only where it differs."""
    lines = [*textwrap.wrap(f"Q: {question}", 32), f"A: {answer}"]
    if answer != expected:
        lines.append(f"expected: {expected}")
    height = _SIDE + 2 * _MARGIN + _LINE * len(lines) + _MARGIN
    canvas = Image.new("RGB", (_SIDE + 2 * _MARGIN, height), "white")
    canvas.paste(image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (_MARGIN, _MARGIN))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=18)
    for row, line in enumerate(lines):
        right = answer == expected or not line.startswith("A:")
        draw.text((_MARGIN, _SIDE + 2 * _MARGIN + _LINE * row), line, fill="black" if right else "darkred", font=font)
    return canvas
