"""Scores are those of the published evaluations: the same answers, judged by them and by this package.

`tools/reference_scores.py` wrote the references, and says where they are from. Where two of them differ, the test says
which one is followed, and in which cases alone the other is not.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spike_compressor.evaluations.docvqa import anls
from spike_compressor.evaluations.file_benchmark import Item
from spike_compressor.evaluations.mme import MME, yes_or_no
from spike_compressor.evaluations.ocrbench import FORMULAS, OCRBench
from spike_compressor.evaluations.scienceqa import chosen
from spike_compressor.evaluations.vqa import normalised, vqa_accuracy

ROOT = Path(__file__).parents[2]
REFERENCES = json.loads((Path(__file__).parent / "data" / "reference_scores.json").read_text(encoding="utf-8"))
Row = dict[str, Any]


def without_file(kind: type) -> Any:
    """A benchmark that needs no file, since it is asked for scores only."""
    return object.__new__(kind)


def ocrbench(row: Row) -> float:
    item = Item(b"", "", tuple(row["given"]), FORMULAS if row["formula"] else "Digit String Recognition", {})
    return without_file(OCRBench).score(item, row["answer"])


def mme_points(row: Row) -> float:
    items = [Item(b"", "", ("yes",), one["category"], {"image_path": one["image_path"]}) for one in row["rows"]]
    return without_file(MME).total(items, np.array([one["score"] for one in row["rows"]]))


def said(row: Row) -> list[str]:
    return [row["text"]] if "text" in row else [row["answer"], *row.get("given", [])]


def ends_a_number_with_a_period(row: Row) -> bool:
    return any(re.search(r"\d\.(?!\d)", text) for text in said(row))


def has_a_comma_or_a_genitive(row: Row) -> bool:
    return any("," in text or "'s" in text for text in said(row))


def has_full_width_letters(row: Row) -> bool:
    return any(re.search("[\uff01-\uff5e]", text) for text in said(row))


def is_one_letter_or_has_a_period_early(row: Row) -> bool:
    return len(row["answer"].strip(". ")) == 1 or "." in row["answer"][:4]


def nowhere(row: Row) -> bool:
    return False


OURS: dict[str, Callable[[Row], Any]] = {
    "vqa_normalised": lambda row: normalised(row["text"]),
    "textvqa": lambda row: vqa_accuracy(row["answer"], row["given"]),
    "docvqa": lambda row: anls(row["answer"], row["given"]),
    "ocrbench": ocrbench,
    "mme": lambda row: yes_or_no(row["answer"]),
    "mme_points": mme_points,
    "scienceqa": lambda row: chosen(row["answer"], row["choices"]),
}


@pytest.mark.parametrize(
    ("benchmark", "reference", "differs", "least"),
    [
        ("vqa_normalised", "vqa_eval", nowhere, 300),
        ("vqa_normalised", "vlmeval", ends_a_number_with_a_period, 300),
        ("vqa_normalised", "lmms_eval", has_a_comma_or_a_genitive, 200),
        ("textvqa", "vlmeval", ends_a_number_with_a_period, 100),
        ("textvqa", "lmms_eval", has_a_comma_or_a_genitive, 75),
        ("docvqa", "vlmeval", nowhere, 400),
        ("docvqa", "lmms_eval", nowhere, 400),
        ("ocrbench", "vlmeval", nowhere, 200),
        ("ocrbench", "lmms_eval", has_full_width_letters, 200),
        ("mme", "lmms_eval", is_one_letter_or_has_a_period_early, 80),
        ("mme_points", "vlmeval", nowhere, 1),
        ("mme_points", "lmms_eval", nowhere, 1),
        ("scienceqa", "vlmeval", nowhere, 100),
    ],
)
def test_scores_are_the_published_ones(
    benchmark: str, reference: str, differs: Callable[[Row], bool], least: int
) -> None:
    rows = [row for row in REFERENCES[benchmark] if not differs(row)]
    assert len(rows) >= least
    wrong = [(row, mine) for row in rows if (mine := OURS[benchmark](row)) != pytest.approx(row[reference])]
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("benchmark", ["mme", "scienceqa"])
def test_plain_answers_are_read_alike_by_every_kit(benchmark: str) -> None:
    """Also by the one that is not followed: in MME it looks for words anywhere, in ScienceQA at the beginning alone."""
    other = {"mme": "vlmeval", "scienceqa": "lmms_eval"}[benchmark]
    rows = [row for row in REFERENCES[benchmark] if re.fullmatch(r"(yes|no)[.!]?|[A-C]\.?", row["answer"], re.I)]
    rows = [row for row in rows if benchmark == "mme" or row["answer"].isupper()]
    assert len(rows) >= 5
    assert [row[other] for row in rows] == [OURS[benchmark](row) for row in rows]


def test_references_are_what_the_installed_kits_compute() -> None:
    """Where both kits happen to be installed: `pip install --no-deps ms-vlmeval lmms-eval`."""
    for name in ("vlmeval", "lmms_eval", "pandas"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    spec = importlib.util.spec_from_file_location("reference_scores", ROOT / "tools" / "reference_scores.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    found = tool.computed({"vlmeval": tool.VLMEvalKit(), "lmms_eval": tool.LmmsEval()})
    for benchmark, rows in found.items():
        kept = [{key: value for key, value in row.items() if key != "vqa_eval"} for row in REFERENCES[benchmark]]
        assert rows == kept, benchmark
