"""TextVQA: questions about text in photographs."""

from __future__ import annotations

from spike_compressor.evaluations.base import register_evaluation
from spike_compressor.evaluations.file_benchmark import FileBenchmark, Item
from spike_compressor.evaluations.vqa import vqa_accuracy


@register_evaluation("textvqa")
class TextVQA(FileBenchmark):
    """Questions about text in photographs: the VQA metric over the answers of ten people."""

    file = "TextVQA_VAL.tsv"
    source = "Singh et al., TextVQA, CVPR 2019; metric of Antol et al., VQA, ICCV 2015"
    instructions = "Answer the question using a single word or phrase."

    def score(self, item: Item, answer: str) -> float:
        return vqa_accuracy(answer, item.answers)
