"""The field's benchmarks of vision-language models, from files on disk.

One file a benchmark, tab-separated as VLMEvalKit publishes them: `index`, `image` (base64, or the index of the row
that has it), `question`, `answer` (a text, or a list of them), and what else a benchmark needs. The scores are computed
here, as each benchmark's paper defines them, without a language model as judge.
"""

from __future__ import annotations

import ast
import base64
import binascii
import csv
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from spike_compressor.errors import InputError
from spike_compressor.evaluations.base import (
    Evaluation,
    Metric,
    Progress,
    pixels_of,
    register_evaluation,
    whole_number,
)
from spike_compressor.evaluations.bootstrap import RESAMPLES, Interval
from spike_compressor.fingerprint import digest_of_files

#: Environment variable that names VLMEvalKit's data folder, and the folder without it.
FOLDER, DEFAULT_FOLDER = "LMUData", "~/LMUData"
#: A longer `image` is a picture, a shorter one the index of a row that has it.
_SHORTEST_PICTURE = 64


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        picture: encoded, as in the file; empty where the question has none.
        question: without instructions.
        answers: that count as right.
        category: of the benchmark's own; empty without one.
        row: all columns of the file but the picture.
    """

    picture: bytes
    question: str
    answers: tuple[str, ...]
    category: str
    row: dict[str, str]

    def image(self) -> Image.Image:
        return Image.open(io.BytesIO(self.picture)).convert("RGB")


class FileBenchmark(Evaluation):
    """A benchmark in one file: `NAME`, `NAME:FOLDER` or `NAME:FOLDER@100` for its first 100 questions.

    Without a folder the file is looked for in $LMUData, and else in ~/LMUData. A subclass names its file and says what
    an answer scores.
    """

    file: ClassVar[str]
    #: Where the scores are defined, and what the file's columns must be.
    source: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ("index", "image", "question", "answer")
    unit = "%"
    higher_is_better = True
    items_are = "pictures"
    code = (*Evaluation.code, "evaluations/benchmarks.py")
    #: Instructions below the question, and the longest answer.
    instructions: ClassVar[str] = ""
    longest_answer: ClassVar[int] = 32

    def __init__(self, argument: str) -> None:
        super().__init__(argument)
        folder, _, limit = argument.partition("@")
        self.limit = whole_number(limit, 0, f"--eval {self.name}") or None
        self.path = Path(folder or os.environ.get(FOLDER) or DEFAULT_FOLDER).expanduser() / self.file
        if not self.path.is_file():
            raise InputError(
                f"--eval {self.name}: there is no {self.path}. VLMEvalKit publishes {self.file} (docs/compare.md); put "
                f"it there, or name its folder: {self.name}:FOLDER or ${FOLDER}"
            )
        self._items: list[Item] | None = None

    @property
    def label(self) -> str:
        return self.name + (f"@{self.limit}" if self.limit else "")

    def parts(self) -> dict[str, Any]:
        return {**super().parts(), "file": digest_of_files([self.path], self.path.parent)}

    def questions(self) -> list[Item]:
        """The questions, read once."""
        if self._items is None:
            self._items = list(self._read())
            if not self._items:
                raise InputError(f"--eval {self.name}: {self.path} holds no questions")
        return self._items

    def _read(self) -> Iterator[Item]:
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        pictures: dict[str, bytes] = {}
        waiting: list[tuple[dict[str, str], str]] = []
        with self.path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, delimiter="\t")
            missing = [name for name in self.columns if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"--eval {self.name}: {self.path} has no column {', '.join(missing)}")
            for row in reader:
                image = (row.pop("image") or "").strip()
                if len(image) > _SHORTEST_PICTURE:
                    try:
                        pictures[row["index"]] = base64.b64decode(image, validate=True)
                    except binascii.Error as error:
                        raise InputError(f"--eval {self.name}: row {row['index']} holds no picture: {error}") from error
                    image = row["index"]
                waiting.append((row, image))
                if self.limit is not None and len(waiting) == self.limit:
                    break
        for row, image in waiting:
            if image and image not in pictures:
                raise InputError(
                    f"--eval {self.name}: row {row['index']} shows the picture of row {image}, which has none"
                )
            yield Item(
                pictures.get(image, b""), row["question"], _several(row["answer"]), row.get("category") or "", row
            )

    def prompt(self, item: Item) -> str:
        """The question as the model gets it, without a place for the picture."""
        return item.question + (f"\n{self.instructions}" if self.instructions else "")

    def score(self, item: Item, answer: str) -> float:
        """The score of an answer, 0 ... 1."""
        raise NotImplementedError

    def total(self, items: Sequence[Item], scores: np.ndarray) -> float:
        """The benchmark's metric over some questions: their mean score in %."""
        return 100 * float(scores.mean())

    def items(self, processor: Any) -> Iterator[bytes]:
        for item in self.questions():
            if item.picture:
                try:
                    batch = processor.image_processor(item.image(), return_tensors="pt")
                except (OSError, UnidentifiedImageError) as error:
                    raise InputError(f"--eval {self.name}: row {item.row['index']}: {error}") from error
                yield from pixels_of(batch)

    def calibration_items(self, loader: Any) -> Iterator[bytes]:
        for batch in loader:
            yield from pixels_of(batch)

    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Metric:
        asked = self.questions()
        answers = []
        for index, item in enumerate(asked):
            answers.append(self.answer(model, processor, item))
            if progress is not None:
                progress(index + 1, len(asked))
        scores = np.array([self.score(item, answer) for item, answer in zip(asked, answers, strict=True)])
        interval = self._interval(asked, scores)
        by_category: dict[str, list[float]] = {}
        for item, value in zip(asked, scores, strict=True):
            by_category.setdefault(item.category, []).append(float(value))
        detail = {
            "by_category": {name: 100 * sum(values) / len(values) for name, values in by_category.items() if name},
            "answers": answers,
            "scores": scores.tolist(),
        }
        return Metric.of(interval, len(asked), detail)

    def _interval(self, asked: Sequence[Item], scores: np.ndarray) -> Interval:
        """Bootstrap over pictures: questions about one picture are drawn together."""
        groups: dict[bytes, list[int]] = {}
        for index, item in enumerate(asked):
            groups.setdefault(item.picture or str(index).encode(), []).append(index)
        members = [np.array(group) for group in groups.values()]
        rng = np.random.default_rng(0)
        draws = []
        for _ in range(RESAMPLES // 10):
            chosen = np.concatenate([members[group] for group in rng.integers(len(members), size=len(members))])
            draws.append(self.total([asked[index] for index in chosen], scores[chosen]))
        low, high = np.percentile(draws, [2.5, 97.5])
        return Interval(self.total(asked, scores), float(low), float(high))

    @torch.inference_mode()
    def answer(self, model: Any, processor: Any, item: Item) -> str:
        """The model's greedy answer."""
        tokenizer = processor.tokenizer
        text = self.prompt(item)
        if getattr(processor, "chat_template", None):
            shown = [{"type": "image"}] if item.picture else []
            content = [*shown, {"type": "text", "text": text}]
            prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        else:
            prompt = f"{processor.image_token} {text}" if item.picture else text
        pictures = {"images": [item.image()]} if item.picture else {}
        batch = processor(text=[prompt], return_tensors="pt", **pictures).to(model.device)
        out = model.generate(
            **batch, max_new_tokens=self.longest_answer, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
        return str(tokenizer.decode(out[0, batch["input_ids"].shape[1] :], skip_special_tokens=True)).strip()

    def sample(self, model: Any, processor: Any) -> None:
        for item in self.questions()[:4]:
            self.answer(model, processor, item)


def _several(text: str) -> tuple[str, ...]:
    """An answer, or a list of them written as Python does."""
    if text.startswith("["):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return (text,)
        if isinstance(found, list) and found:
            return tuple(str(one) for one in found)
    return (text,)


@register_evaluation("ocrbench")
class OCRBench(FileBenchmark):
    """Text in pictures: right if an answer stands in the model's; spaces do not count in formulas."""

    file = "OCRBench.tsv"
    source = "Liu et al., OCRBench, arXiv 2305.07895"
    columns = (*FileBenchmark.columns, "category")
    longest_answer = 64
    FORMULAS: ClassVar[str] = "Handwritten Mathematical Expression Recognition"

    def score(self, item: Item, answer: str) -> float:
        if item.category == self.FORMULAS:
            said = re.sub(r"\s", "", answer)
            return float(any(re.sub(r"\s", "", right) in said for right in item.answers))
        said = " ".join(answer.lower().split())
        return float(any(" ".join(right.lower().split()) in said for right in item.answers))


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
        words = re.findall(r"[a-z]+", answer.lower())
        said = next((word for word in words if word in ("yes", "no")), "")
        return float(said == item.answers[0].strip().lower())

    def total(self, items: Sequence[Item], scores: np.ndarray) -> float:
        subtasks: dict[str, list[float]] = {}
        pictures: dict[tuple[str, bytes], list[float]] = {}
        for item, value in zip(items, scores, strict=True):
            subtasks.setdefault(item.category, []).append(float(value))
            pictures.setdefault((item.category, item.picture), []).append(float(value))
        points = 0.0
        for name, values in subtasks.items():
            both = [min(right) for (category, _), right in pictures.items() if category == name]
            points += 100 * sum(values) / len(values) + 100 * sum(both) / len(both)
        return points


#: Words that the VQA metric leaves out, and numbers that it writes as digits.
_ARTICLES = {"a", "an", "the"}
_NUMBERS = {
    word: str(n)
    for n, word in enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"))
} | {"none": "0"}


def vqa_words(text: str) -> str:
    """A text as the VQA metric compares it: small letters, digits, neither articles nor punctuation."""
    text = re.sub(r"(?<=\d),(?=\d)", "", text.lower().replace("\n", " ").replace("\t", " ").strip())
    text = re.sub(r"(?<!\d)\.(?!\d)", "", text)
    text = re.sub(r"[;/\[\]\"{}()=+\\_\-><@`,?!]", " ", text)
    return " ".join(_NUMBERS.get(word, word) for word in text.split() if word not in _ARTICLES)


@register_evaluation("textvqa")
class TextVQA(FileBenchmark):
    """Questions about text in photographs: the share of people, of ten, who answered so; three of them are enough."""

    file = "TextVQA_VAL.tsv"
    source = "Singh et al., TextVQA, CVPR 2019; metric of Antol et al., VQA, ICCV 2015"
    instructions = "Answer the question using a single word or phrase."

    def score(self, item: Item, answer: str) -> float:
        said = vqa_words(answer)
        agree = [vqa_words(right) == said for right in item.answers]
        if len(agree) == 1:
            return float(agree[0])
        # the mean over those who leave one of the people out
        return sum(min(1.0, (sum(agree) - one) / 3) for one in agree) / len(agree)


def edit_distance(first: str, second: str) -> int:
    """Levenshtein's: insertions, deletions and exchanges of a letter."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


@register_evaluation("docvqa")
class DocVQA(FileBenchmark):
    """Questions about documents: ANLS, one minus the edit distance by length; nothing from one half on."""

    file = "DocVQA_VAL.tsv"
    source = "Mathew et al., DocVQA, WACV 2021; ANLS of Biten et al., ICCV 2019"
    instructions = "Answer the question using a single word or phrase."
    unit = "ANLS %"

    def score(self, item: Item, answer: str) -> float:
        said = " ".join(answer.lower().split())
        best = 0.0
        for right in (" ".join(one.lower().split()) for one in item.answers):
            longest = max(len(said), len(right))
            distance = edit_distance(said, right) / longest if longest else 0.0
            best = max(best, 1 - distance if distance < 0.5 else 0.0)
        return best


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
        choices = self.choices(item)
        letter = re.match(rf"\W*(?:answer|option)?\W*([{''.join(choices)}])(?![A-Za-z])", answer.strip(), re.IGNORECASE)
        if letter and (letter[1].isupper() or len(answer.strip().rstrip(".)")) == 1):
            said = letter[1].upper()
        else:
            named = [a for a, text in choices.items() if text.strip().lower() in answer.lower()]
            said = named[0] if len(named) == 1 else ""
        return float(said == item.answers[0].strip().upper())
