"""OCRBench: text in pictures, in ten categories."""

from __future__ import annotations

from spike_compressor.evaluations.base import register_evaluation
from spike_compressor.evaluations.file_benchmark import FileBenchmark, Item

#: The category whose answers are LaTeX.
FORMULAS = "Handwritten Mathematical Expression Recognition"


@register_evaluation("ocrbench")
class OCRBench(FileBenchmark):
    """Text in pictures: right if an answer stands in the model's; spaces do not count in formulas.

    Case does not count outside formulas. `by_category` has the ten categories; the mean of 1,000 questions in % is the
    published score of 1,000 points divided by ten.
    """

    file = "OCRBench.tsv"
    source = "Liu et al., OCRBench, arXiv 2305.07895"
    columns = (*FileBenchmark.columns, "category")
    longest_answer = 64

    def score(self, item: Item, answer: str) -> float:
        comparable = _formula if item.category == FORMULAS else _text
        said = comparable(answer)
        return float(any(comparable(right) in said for right in item.answers))


def _text(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


def _formula(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")
