"""DocVQA: questions about scanned documents."""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from spike_compressor.evaluations.base import register_evaluation
from spike_compressor.evaluations.file_benchmark import FileBenchmark, Item

#: Least similarity that counts.
THRESHOLD = 0.5


def anls(answer: str, accepted: Sequence[str]) -> float:
    """Normalised Levenshtein similarity to the nearest accepted answer, 0 ... 1; 0 below one half.

    As the competition's evaluation computes it (rrc.cvc.uab.es, challenge 17): small letters and single spaces are
    compared, the distance is divided by the longer length of the texts as they were, and exactly one half still counts,
    where the formula of Biten et al. gives 0.
    """
    said = " ".join(answer.lower().split())
    least = 1.0
    for right in accepted:
        longest = max(len(right.upper()), len(answer.upper()))
        distance = Levenshtein.distance(" ".join(right.lower().split()), said)
        least = min(least, distance / longest if longest else 0.0)
    return 1 - least if 1 - least >= THRESHOLD else 0.0


@register_evaluation("docvqa")
class DocVQA(FileBenchmark):
    """Questions about documents: ANLS, the similarity to the nearest right answer if it is at least one half."""

    file = "DocVQA_VAL.tsv"
    source = "Mathew et al., DocVQA, WACV 2021; ANLS of Biten et al., ICCV 2019"
    instructions = "Answer the question using a single word or phrase."
    unit = "ANLS %"

    def score(self, item: Item, answer: str) -> float:
        return anls(answer, item.answers)
