"""ScienceQA: multiple choice about school science."""

from __future__ import annotations

from collections.abc import Mapping

from spike_compressor.evaluations.base import register_evaluation
from spike_compressor.evaluations.file_benchmark import FileBenchmark, Item

_SEPARATORS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
#: Words at the end of an answer among which its letter must be.
_LAST_WORDS = 5
#: The letter that stands for no choice.
_NONE = "Z"


def chosen(answer: str, choices: Mapping[str, str]) -> str:
    """The letter of the choice that an answer names; empty if it names none, or more than one.

    As VLMEvalKit's exact matching reads answers: the one capital letter of a choice that stands alone among the last
    five words; else the one choice whose text the answer contains, unless the answer is more than twice as long as all
    choices together.

    Args:
        choices: letter -> text.
    """
    words = answer.translate(_SEPARATORS).split()
    letters = [letter for letter in choices if letter in words]
    if len(letters) == 1 and words.index(letters[0]) > len(words) - _LAST_WORDS:
        return letters[0]
    if not letters and _NONE in words:
        return ""
    if len(answer) > 2 * sum(map(len, choices.values())):
        return ""
    named = [letter for letter, text in choices.items() if text.lower() in answer.lower()]
    return named[0] if len(named) == 1 else ""


@register_evaluation("scienceqa")
class ScienceQA(FileBenchmark):
    """Multiple choice about school science, with pictures: the letter counts, or the choice's own words."""

    file = "ScienceQA_TEST.tsv"
    source = "Lu et al., ScienceQA, NeurIPS 2022"
    columns = (*FileBenchmark.columns, "A", "B")
    instructions = "Answer with the option's letter from the given choices directly."

    def choices(self, item: Item) -> dict[str, str]:
        """Letter -> text."""
        return {letter: item.row[letter] for letter in "ABCDEFGH" if (item.row.get(letter) or "").strip()}

    def prompt(self, item: Item) -> str:
        hint = (item.row.get("hint") or "").strip()
        lines = [*([f"Hint: {hint}"] if hint else []), item.question]
        return "\n".join([*lines, *(f"{a}. {text}" for a, text in self.choices(item).items()), self.instructions])

    def score(self, item: Item, answer: str) -> float:
        return float(chosen(answer, self.choices(item)) == item.answers[0].strip().upper())
