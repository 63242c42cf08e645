"""What the benchmarks of vision-language models share: questions about pictures, from one file on disk.

The files are tab-separated, as VLMEvalKit publishes them: `index`, `image` (base64, or the index of the row that has
it), `question`, `answer` (a text, or a list of them), and what else a benchmark needs. Each benchmark is a module
beside this one and computes its score as published, without a language model as judge.
"""

from __future__ import annotations

import ast
import base64
import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from spike_compressor.errors import InputError
from spike_compressor.evaluations.base import (
    Evaluation,
    Metric,
    Progress,
    pixels_of,
    whole_number,
)
from spike_compressor.evaluations.bootstrap import RESAMPLES, Interval, grouped_interval
from spike_compressor.fingerprint import digest_of_files
from spike_compressor.integrations.answering import answers
from spike_compressor.pictures import open_picture
from spike_compressor.reading import one_line

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
        """The picture as RGB. Raises InputError if it cannot be read."""
        return open_picture(io.BytesIO(self.picture), f"row {self.row['index']}")


class FileBenchmark(Evaluation):
    """A benchmark in one file: `NAME`, `NAME:FOLDER` or `NAME:FOLDER@100` for its first 100 questions.

    Without a folder the file is looked for in $LMUData, and else in ~/LMUData. A subclass names its file and scores one
    answer.
    """

    file: ClassVar[str]
    #: Where the scores are defined, and what the file's columns must be.
    source: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ("index", "image", "question", "answer")
    unit = "%"
    higher_is_better = True
    items_are = "pictures"
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
        try:
            yield from self._rows()
        except InputError:
            raise
        except (OSError, ValueError, csv.Error) as error:
            raise InputError(f"--eval {self.name}: {self.path} cannot be read: {one_line(error)}") from error

    def _rows(self) -> Iterator[Item]:
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        pictures: dict[str, bytes] = {}
        waiting: list[tuple[dict[str, str], str]] = []
        with self.path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, delimiter="\t")
            missing = [name for name in self.columns if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"--eval {self.name}: {self.path} has no column {', '.join(missing)}")
            for row in reader:
                empty = [name for name in self.columns if row.get(name) is None]
                if empty:
                    raise InputError(
                        f"--eval {self.name}: {self.path}, line {reader.line_num}: the row ends before {empty[0]}"
                    )
                image = (row.pop("image") or "").strip()
                if len(image) > _SHORTEST_PICTURE:
                    try:
                        pictures[row["index"]] = base64.b64decode(image, validate=True)
                    except ValueError as error:  # binascii.Error, or letters that are no base64 at all
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
                    picture = item.image()
                except InputError as error:
                    raise InputError(f"--eval {self.name}: {error}") from error
                batch = processor.image_processor(picture, return_tensors="pt")
                yield from pixels_of(batch)

    def calibration_items(self, loader: Any) -> Iterator[bytes]:
        for batch in loader:
            yield from pixels_of(batch)

    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Metric:
        asked = self.questions()
        said = []
        for index, item in enumerate(asked):
            said.append(self.answer(model, processor, item))
            if progress is not None:
                progress(index + 1, len(asked))
        scores = np.array([self.score(item, answer) for item, answer in zip(asked, said, strict=True)])
        interval = self._interval(asked, scores)
        by_category: dict[str, list[float]] = {}
        for item, value in zip(asked, scores, strict=True):
            by_category.setdefault(item.category, []).append(float(value))
        detail = {
            "by_category": {name: 100 * sum(values) / len(values) for name, values in by_category.items() if name},
            "answers": said,
            "scores": scores.tolist(),
        }
        return Metric.of(interval, len(asked), detail)

    def _interval(self, asked: Sequence[Item], scores: np.ndarray) -> Interval:
        """Bootstrap over pictures: questions about one picture are drawn together."""
        return grouped_interval(
            [item.picture or str(index).encode() for index, item in enumerate(asked)],
            lambda chosen: self.total([asked[index] for index in chosen], scores[chosen]),
            RESAMPLES // 10,
        )

    def answer(self, model: Any, processor: Any, item: Item) -> str:
        """The model's greedy answer."""
        shown = [{"type": "image", "image": item.image()}] if item.picture else []
        turn = {"role": "user", "content": [*shown, {"type": "text", "text": self.prompt(item)}]}
        return answers(model, processor, [[turn]], self.longest_answer)[0]

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
