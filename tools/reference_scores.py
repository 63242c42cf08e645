"""What other evaluation kits make of the same answers: the reference for this package's scores.

    pip install --no-deps ms-vlmeval lmms-eval; pip install numpy pandas
    git clone https://github.com/GT-Vision-Lab/VQA
    python tools/reference_scores.py --vqa-eval VQA/PythonEvaluationTools/vqaEvaluation/vqaEval.py

writes `tests/evaluations/data/reference_scores.json`, which `tests/evaluations/test_reference_scores.py` compares with
this package. VLMEvalKit (`ms-vlmeval`) and lmms-eval need dozens of packages to be imported, but their scorers need
nearly nothing: the functions are taken out of the installed sources.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import importlib.util
import itertools
import json
import os
import random
import re
import statistics
import string
from collections import defaultdict
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "tests" / "evaluations" / "data"
TARGET = DATA / "reference_scores.json"
#: Answers that normalisers and matchers disagree on most easily.
ANSWERS: dict[str, list[str]] = json.loads((DATA / "answers.json").read_text(encoding="utf-8"))
CHOICES = {"A": "marble", "B": "granite", "C": "limestone"}
FORMULAS = "Handwritten Mathematical Expression Recognition"


def taken(file: Path, names: set[str], given: dict[str, Any]) -> dict[str, Any]:
    """Functions, classes and assignments of a file by name, executed with what they need and nothing else."""
    kept: list[ast.stmt] = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in names:
            node.decorator_list = []
            kept.append(node)
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id in names for t in node.targets):
            kept.append(node)
    space = dict(given)
    exec(compile(ast.Module(kept, []), str(file), "exec"), space)
    missing = names - set(space)
    if missing:
        raise SystemExit(f"{file} has no {', '.join(sorted(missing))}")
    return space


def source(package: str, file: str) -> Path:
    """A file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / file


class VLMEvalKit:
    """VLMEvalKit's scorers, under its policy of exact matching, without a language model as judge."""

    def __init__(self) -> None:
        import numpy as np
        import pandas as pd

        tools = taken(
            source("vlmeval", "smp/misc.py"),
            {"process_punctuation", "istype", "listinstr", "d2df"},
            {"pd": pd},
        )
        vqa = taken(
            source("vlmeval", "dataset/utils/vqa_eval.py"),
            {
                "_process_digit_article",
                "hit_calculate",
                "levenshtein_distance",
                "anls_compute",
                "process_answer",
                "process_line",
            },
            {"np": np, **tools},
        )
        ocr = taken(
            source("vlmeval", "dataset/utils/ocrbench.py"),
            {"OCRBench_eval"},
            {
                "load": lambda frame: frame,
                "dump": lambda content, path: self._kept.append(content),
                "tqdm": iter,
                "get_intermediate_file_path": lambda *_: "",
                "logger": argparse.Namespace(info=lambda text: None),
            },
        )
        yes_no = taken(
            source("vlmeval", "dataset/utils/yorn.py"),
            {"YOrN_Extraction", "MME_rating"},
            {"np": np, "defaultdict": defaultdict, "load": lambda frame: frame, **tools},
        )
        choices = taken(
            source("vlmeval", "utils/matching_util.py"),
            {"can_infer_option", "can_infer_text", "can_infer"},
            {"os": os, "cp": __import__("copy"), "string": string},
        )
        self._kept: list[dict[str, Any]] = []
        self._frame = pd.DataFrame
        self._line, self._hits, self.normalised = vqa["process_line"], vqa["hit_calculate"], vqa["process_answer"]
        self._ocr, self._yes_no, self._rating = ocr["OCRBench_eval"], yes_no["YOrN_Extraction"], yes_no["MME_rating"]
        self._infer = choices["can_infer"]

    def textvqa(self, answer: str, given: list[str]) -> float:
        line = self._line({"answer": str(given), "prediction": answer}, method="vqa_score")
        return float(self._hits([line], "TextVQA")[0])

    def docvqa(self, answer: str, given: list[str]) -> float:
        line = self._line({"answer": str(given), "prediction": answer}, method="anls")
        return float(self._hits([line], "DocVQA")[0])

    def ocrbench(self, answer: str, given: list[str], formula: bool) -> float:
        category = FORMULAS if formula else "Regular Text Recognition"
        self._ocr(self._frame([{"prediction": answer, "answer": str(given), "category": category}]))
        return float(self._kept.pop()["Final Score"])

    def mme(self, answer: str) -> str:
        return str(self._yes_no(answer)).lower()

    def mme_points(self, rows: list[dict[str, Any]]) -> float:
        rating = self._rating(self._frame(rows))
        return float(rating["perception"][0] + rating["reasoning"][0])

    def scienceqa(self, answer: str, choices: dict[str, str]) -> str:
        letter = self._infer(answer, dict(choices))
        return letter if letter in choices else ""


class LmmsEval:
    """lmms-eval's scorers."""

    def __init__(self) -> None:
        processor = taken(
            source("lmms_eval", "tasks/_task_utils/vqa_eval_metric.py"), {"EvalAIAnswerProcessor"}, {"re": re}
        )
        text = taken(
            source("lmms_eval", "tasks/textvqa/utils.py"),
            {"textvqa_process_results"},
            {"statistics": statistics, **processor},
        )
        anls = taken(source("lmms_eval", "api/metrics.py"), {"levenshtein_distance", "anls"}, {})
        ocr = taken(
            source("lmms_eval", "tasks/ocrbench/utils.py"), {"_fold_fullwidth_ascii", "ocrbench_process_results"}, {}
        )
        mme = taken(
            source("lmms_eval", "tasks/mme/utils.py"),
            {"parse_pred_ans", "mme_aggregate_results"},
            {"defaultdict": defaultdict, "eval_logger": argparse.Namespace(info=lambda text: None)},
        )
        science = taken(
            source("lmms_eval", "tasks/scienceqa/utils.py"), {"sqa_doc_to_target", "sqa_process_results"}, {}
        )
        self.normalised = processor["EvalAIAnswerProcessor"]()
        self._text, self._anls, self._ocr = (
            text["textvqa_process_results"],
            anls["anls"],
            ocr["ocrbench_process_results"],
        )
        self._mme, self._points = mme["parse_pred_ans"], mme["mme_aggregate_results"]
        self._science = science["sqa_process_results"]

    def textvqa(self, answer: str, given: list[str]) -> float:
        return float(self._text({"answers": list(given), "question_id": 0}, [answer])["exact_match"])

    def docvqa(self, answer: str, given: list[str]) -> float:
        return float(self._anls(given, [answer])["anls"])

    def ocrbench(self, answer: str, given: list[str], formula: bool) -> float:
        doc = {"answer": given, "dataset": "HME100k" if formula else "IIIT5K", "question_type": ""}
        return float(self._ocr(doc, [answer])["ocrbench_accuracy"]["score"])

    def mme(self, answer: str) -> str:
        return str(self._mme(answer))

    def mme_points(self, rows: list[dict[str, Any]]) -> float:
        return float(self._points([{**row, "question_id": row["image_path"]} for row in rows]))

    def scienceqa(self, answer: str, choices: dict[str, str]) -> str:
        """The letter that counts as right for this answer; empty if none does."""
        right = [
            letter
            for index, letter in enumerate(choices)
            if self._science({"choices": list(choices), "answer": index}, [answer])["exact_match"]
        ]
        return right[0] if len(right) == 1 else ""


class VQAEval:
    """The official evaluation of VQA, `vqaEval.py`, written for Python 2: its normaliser is taken out."""

    def __init__(self, file: Path) -> None:
        text = file.read_text(encoding="utf-8")
        methods = re.findall(r"^\tdef (processPunctuation|processDigitArticle)\(.*?(?=^\tdef )", text, re.M | re.S)
        if len(methods) != 2:
            raise SystemExit(f"{file} is not vqaEval.py")
        code = "class Normaliser:\n"
        code += "\tdef __init__(self):\n"
        found = re.search(r"^\t\tself\.contractions = .*?(?=^\tdef )", text, re.M | re.S)
        assert found is not None
        code += found[0]
        for name in methods:
            body = re.search(rf"^\tdef {name}\(.*?(?=^\tdef )", text, re.M | re.S)
            assert body is not None
            code += body[0]
        space: dict[str, Any] = {"re": re}
        exec(compile(code, str(file), "exec"), space)
        self._made = space["Normaliser"]()

    def normalised(self, text: str) -> str:
        text = text.replace("\n", " ").replace("\t", " ").strip()
        return str(self._made.processDigitArticle(self._made.processPunctuation(text)))


def texts() -> list[str]:
    """Answers to normalise: the listed ones, and random compositions of them."""
    found = list(ANSWERS["open answers"])
    rng = random.Random(0)
    for _ in range(150):
        found.append(rng.choice((" ", "", ", ", "-", ". ")).join(rng.sample(found[:150], rng.choice((2, 3)))))
    found.append("." * 40)
    found.append("a. " * 40)
    return list(dict.fromkeys(found))


def people() -> list[tuple[str, list[str]]]:
    """Answers beside those of ten people: k of them agree, in other spellings of the same."""
    same = [
        ("stop", "STOP."),
        ("dont walk", "don't walk"),
        ("1,000", "1000"),
        ("two", "2"),
        ("the end", "end"),
        ("coca-cola", "coca cola"),
        ("whats up", "what's up"),
        ("joe's", "joes"),
        ("5.", "5"),
        ("", "."),
    ]
    found = []
    for (first, second), agree in itertools.product(same, range(11)):
        spelled = [(first, second)[index % 2] for index in range(agree)]
        found.append((second, [*spelled, *(f"other {index}" for index in range(10 - agree))]))
    found += [("Stop", ["stop"] * 10), ("stop", ["stop"] * 10), ("stop", ["go", *["stop"] * 9])]
    return found


def mme_rows() -> list[dict[str, Any]]:
    """Scored questions, two a picture, of perception and cognition."""
    rng = random.Random(1)
    return [
        {"category": category, "image_path": f"{category}/{picture}.jpg", "score": float(rng.random() < 0.7)}
        for category in ("existence", "color", "OCR", "code_reasoning", "text_translation")
        for picture in range(7)
        for _ in range(2)
    ]


def computed(kits: dict[str, Any]) -> dict[str, Any]:
    """All cases with the kits' results, by benchmark."""
    normalisers = {name: kit for name, kit in kits.items() if hasattr(kit, "normalised")}
    whole = {name: kit for name, kit in kits.items() if hasattr(kit, "textvqa")}
    answers = ANSWERS["documents"]
    accepted = [
        ["invoice", "bill"],
        ["$1,234.50"],
        ["12 March 1999", "12/03/1999"],
        ["Straße"],
        ["İzmir", "ﬁle"],
        ["東京都"],
        ["ab cd"],
        [""],
    ]
    formulas = [["x ^ { 2 }"], ["\\frac{1}{2}"], ["12"]]
    texts_in_pictures = [["Open Daily"], ["12", "twelve"], [" open\ndaily "], ["X"]]
    rows = mme_rows()
    return {
        "vqa_normalised": [
            {"text": text, **{name: kit.normalised(text) for name, kit in normalisers.items()}} for text in texts()
        ],
        "textvqa": [
            {"answer": answer, "given": given, **{name: kit.textvqa(answer, given) for name, kit in whole.items()}}
            for answer, given in people()
        ],
        "docvqa": [
            {"answer": answer, "given": given, **{name: kit.docvqa(answer, given) for name, kit in whole.items()}}
            for answer, given in itertools.product(answers, accepted)
        ],
        "ocrbench": [
            {
                "answer": answer,
                "given": given,
                "formula": formula,
                **{name: kit.ocrbench(answer, given, formula) for name, kit in whole.items()},
            }
            for formula, lists in ((False, texts_in_pictures), (True, formulas))
            for answer, given in itertools.product(ANSWERS["text in pictures"], lists)
        ],
        "mme": [
            {"answer": answer, **{name: kit.mme(answer) for name, kit in whole.items()}}
            for answer in ANSWERS["yes or no"]
        ],
        "mme_points": [{"rows": rows, **{name: kit.mme_points(rows) for name, kit in whole.items()}}],
        "scienceqa": [
            {
                "answer": answer,
                "choices": CHOICES,
                **{name: kit.scienceqa(answer, CHOICES) for name, kit in whole.items()},
            }
            for answer in ANSWERS["choices"]
        ],
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vqa-eval", type=Path, required=True, help="the official vqaEval.py")
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    kits = {"vqa_eval": VQAEval(options.vqa_eval), "vlmeval": VLMEvalKit(), "lmms_eval": LmmsEval()}
    found = computed(kits)
    versions = {"vlmeval": "ms-vlmeval", "lmms_eval": "lmms-eval"}
    content = {
        "sources": {name: f"{package} {importlib.metadata.version(package)}" for name, package in versions.items()}
        | {"vqa_eval": "github.com/GT-Vision-Lab/VQA, PythonEvaluationTools/vqaEvaluation/vqaEval.py"},
        **found,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for key, value in content.items():
        if isinstance(value, list):
            rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            lines.append(f" {json.dumps(key)}: [\n{rows}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    options.out.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{options.out}: " + ", ".join(f"{len(rows)} {name}" for name, rows in found.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
