"""Benchmarks from files: read as published, scored as defined (figures worked out by hand), refused with a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.benchmark_files import FILES, encoded, picture, written
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.evaluations import parse_evaluation
from spike_compressor.evaluations.file_benchmark import FileBenchmark, Item
from spike_compressor.evaluations.vqa import CONTRACTIONS, normalised


def score(name: str, answers: Any, said: str, tmp_path: Path, category: str = "", **row: str) -> float:
    first = {"index": "0", "image": picture(1), "question": "?", "answer": "x", "category": "", "A": "", "B": ""}
    written(tmp_path, name, [first])
    benchmark = parse_evaluation(f"{name}:{tmp_path}")
    assert isinstance(benchmark, FileBenchmark)
    return benchmark.score(Item(b"", "?", tuple(answers), category, row), said)


@pytest.mark.parametrize(
    ("answers", "said", "category", "expected"),
    [
        (["Open Daily"], "It says\nOPEN\ndaily.", "Regular Text Recognition", 1),
        (["Open Daily"], "It says OPEN  daily.", "Regular Text Recognition", 0),
        (["Open Daily"], "It says open", "Regular Text Recognition", 0),
        (["12", "twelve"], "twelve", "Doc-oriented VQA", 1),
        ([r"x ^ { 2 }"], r"x^{2} + 1", "Handwritten Mathematical Expression Recognition", 1),
        (["X"], "x", "Handwritten Mathematical Expression Recognition", 0),
    ],
)
def test_ocrbench(answers: list[str], said: str, category: str, expected: float, tmp_path: Path) -> None:
    assert score("ocrbench", answers, said, tmp_path, category) == expected


def test_mme_adds_accuracy_and_pictures_with_both_right(tmp_path: Path) -> None:
    rows = [
        {"index": 0, "image": picture(1), "question": "a?", "answer": "Yes", "category": "color"},
        {"index": 1, "image": "0", "question": "b?", "answer": "No", "category": "color"},
        {"index": 2, "image": picture(2), "question": "a?", "answer": "Yes", "category": "color"},
        {"index": 3, "image": "2", "question": "b?", "answer": "No", "category": "color"},
        {"index": 4, "image": picture(1), "question": "a?", "answer": "Yes", "category": "OCR"},
        {"index": 5, "image": "4", "question": "b?", "answer": "No", "category": "OCR"},
    ]
    written(tmp_path, "mme", rows)
    benchmark = parse_evaluation(f"mme:{tmp_path}")
    assert isinstance(benchmark, FileBenchmark)
    said = ["yes", "No.", "Yes, it is", "yes", "It is yes", "no"]
    items = benchmark.questions()
    values = np.array([benchmark.score(item, answer) for item, answer in zip(items, said, strict=True)])
    assert values.tolist() == [1, 1, 1, 0, 0, 1]
    # color: 3 of 4 questions, 1 of 2 pictures; OCR: 1 of 2 questions, no picture
    assert benchmark.total(items, values) == pytest.approx(75 + 50 + 50 + 0)
    # a resample that draws the first picture twice: 5 of 6 questions, 2 of 3 pictures
    drawn = [0, 1, 0, 1, 2, 3]
    assert benchmark.total([items[i] for i in drawn], values[drawn]) == pytest.approx(500 / 6 + 200 / 3)


@pytest.mark.parametrize(
    ("agreeing", "expected"),
    # k of ten people: mean over the people of min(1, others who agree / 3)
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
)
def test_textvqa_asks_how_many_people_agree(agreeing: int, expected: float, tmp_path: Path) -> None:
    answers = ["stop"] * agreeing + ["go"] * (10 - agreeing)
    assert score("textvqa", answers, "The STOP!", tmp_path) == pytest.approx(expected)


def test_answers_as_the_vqa_metric_compares_them() -> None:
    assert normalised("The  Cat, and an apple.") == "cat and apple"
    assert normalised("1,000 and 3.5") == "1000 and 3.5"
    assert normalised("two dogs") == "2 dogs"
    assert normalised("dont") == normalised("Don't") == "don't"
    assert len(CONTRACTIONS) == 120


@pytest.mark.parametrize(
    ("said", "expected"),
    [("invoice", 1.0), ("INVOICE", 1.0), ("invoce", 1 - 1 / 7), ("inv", 0.0), ("", 0.0), ("bill", 1.0), ("bell", 0.75)],
)
def test_docvqa_is_anls(said: str, expected: float, tmp_path: Path) -> None:
    assert score("docvqa", ["Invoice", "bill"], said, tmp_path) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("B", 1),
        ("b.", 0),
        ("(B) granite", 1),
        ("Answer: B", 1),
        ("granite", 1),
        ("A", 0),
        ("a rock like granite", 1),
        ("A rock like granite", 0),
        ("C", 0),
    ],
)
def test_scienceqa_takes_the_letter_or_the_words(said: str, right: int, tmp_path: Path) -> None:
    assert score("scienceqa", ["B"], said, tmp_path, A="marble", B="granite") == right


def test_scienceqa_shows_hint_and_choices(tmp_path: Path) -> None:
    row = {
        "index": 0,
        "image": picture(1),
        "question": "Which?",
        "answer": "B",
        "hint": "Look.",
        "A": "marble",
        "B": "granite",
    }
    written(tmp_path, "scienceqa", [row])
    benchmark = parse_evaluation(f"scienceqa:{tmp_path}")
    assert isinstance(benchmark, FileBenchmark)
    assert benchmark.prompt(benchmark.questions()[0]).splitlines()[:4] == [
        "Hint: Look.",
        "Which?",
        "A. marble",
        "B. granite",
    ]


def test_a_model_answers_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model on its own test questions, put into a published form: as right as without the file."""
    from spike_compressor.demo.data import items
    from spike_compressor.demo.evaluate import judge
    from spike_compressor.demo.model import load_model, load_processor

    asked, rows = items("test", 1), []
    for index, item in enumerate(asked):
        row = {
            "index": index,
            "image": encoded(item.image),
            "question": item.question,
            "answer": [item.answer],
            "category": item.kind,
        }
        rows.append(row)
    written(tmp_path, "ocrbench", rows)
    monkeypatch.setenv("LMUData", str(tmp_path))
    benchmark = parse_evaluation("ocrbench")
    model, processor = load_model(), load_processor()
    metric = benchmark.run(model, processor)
    right = judge(model, processor, asked)
    # an answer that contains the right one is right here, and wrong there
    assert all(value >= one for value, one in zip(metric.detail["scores"], right, strict=True))
    assert metric.value == pytest.approx(100 * sum(metric.detail["scores"]) / len(asked))
    assert sum(metric.detail["scores"]) <= sum(right) + 1
    assert metric.low <= metric.value <= metric.high
    assert len(set(benchmark.items(processor))) == len({item.image.tobytes() for item in asked})
    first = parse_evaluation("ocrbench:@2")
    assert first.label == "ocrbench@2"
    assert first.run(model, processor).detail["answers"] == metric.detail["answers"][:2]


@pytest.mark.parametrize("name", sorted(FILES))
def test_missing_data_is_named_with_the_remedy(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=naming(f"--eval {name}", tmp_path / FILES[name], "VLMEvalKit", f"{name}:FOLDER")
    ):
        parse_evaluation(f"{name}:{tmp_path}")


def test_damaged_files_are_refused_by_row(tmp_path: Path) -> None:
    good = {"index": "7", "image": picture(1), "question": "?", "answer": "x"}
    written(tmp_path, "docvqa", [{**good, "image": "!" * 100}])
    with pytest.raises(InputError, match=naming("docvqa", "row 7", "base64")):
        parse_evaluation(f"docvqa:{tmp_path}").questions()  # type: ignore[attr-defined]
    written(tmp_path, "docvqa", [{**good, "image": "3"}])
    with pytest.raises(InputError, match=naming("docvqa", "row 7", "row 3")):
        parse_evaluation(f"docvqa:{tmp_path}").questions()  # type: ignore[attr-defined]
    written(tmp_path, "mme", [good])
    with pytest.raises(InputError, match=naming(tmp_path / FILES["mme"], "has no column category")):
        parse_evaluation(f"mme:{tmp_path}").questions()  # type: ignore[attr-defined]
