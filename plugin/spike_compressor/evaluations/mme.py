"""MME: yes or no, 14 subtasks of perception and cognition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spike_compressor.evaluations.base import register_evaluation
from spike_compressor.evaluations.file_benchmark import FileBenchmark, Item


def yes_or_no(answer: str) -> str:
    """`yes` or `no` if one of them stands in the answer's first four letters, `yes` first; else `other`.

    As the benchmark's own evaluation reads answers; what comes later is not looked at.
    """
    start = answer.lower().strip()[:4]
    return next((word for word in ("yes", "no") if word in start), "other")


@register_evaluation("mme")
class MME(FileBenchmark):
    """Yes or no, two questions a picture: the sum over subtasks of accuracy and of pictures with both right, in %.

    Perception (10 subtasks) reaches 2,000 points and cognition (4) 800; the metric is the sum.
    """

    file = "MME.tsv"
    source = "Fu et al., MME, arXiv 2306.13394"
    columns = (*FileBenchmark.columns, "category")
    unit = "points"
    longest_answer = 8

    def score(self, item: Item, answer: str) -> float:
        return float(yes_or_no(answer) == item.answers[0].strip().lower())

    def total(self, items: Sequence[Item], scores: np.ndarray) -> float:
        subtasks: dict[str, list[float]] = {}
        pictures: dict[tuple[str, str | bytes], list[float]] = {}
        for item, value in zip(items, scores, strict=True):
            subtasks.setdefault(item.category, []).append(float(value))
            picture = item.row.get("image_path") or item.picture
            pictures.setdefault((item.category, picture), []).append(float(value))
        points = 0.0
        for name, values in subtasks.items():
            # a picture that a resample draws twice has two pairs of answers
            both = [
                min(right[first : first + 2])
                for (category, _), right in pictures.items()
                if category == name
                for first in range(0, len(right), 2)
            ]
            points += 100 * sum(values) / len(values) + 100 * sum(both) / len(both)
        return points
