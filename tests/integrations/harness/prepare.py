"""What the tests of this folder run on: a spiking checkpoint, five benchmarks, and what this package makes of them.

    python tests/integrations/harness/prepare.py OUT

leaves in OUT `checkpoint/` (the embedded vision-language model), `LMUData/` (the benchmarks as VLMEvalKit publishes
them), `lmms/` (the same as lmms-eval's tasks, on local files), `lm_eval/` (tasks of lm-evaluation-harness) and
`own.json`: the answers that `spike_compressor.load` gives, and the scores of `compare` for them.

The embedded model knows bare questions only. So the checkpoint's chat template keeps the first line of a prompt and
drops instructions and choices below it, whoever asks; all harnesses and both engines then ask the very same. It begins
with the tokenizer's first token, which vLLM's chat does not add.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures

sys.path.insert(0, str(Path(__file__).parents[2]))

import spike_compressor
from helpers import lm_eval_tasks
from helpers.benchmark_files import encoded, written
from spike_compressor.checkpoint import open_processor
from spike_compressor.demo.data import Item, embedded_shapes, items
from spike_compressor.demo.model import load_model, load_processor, prompt
from spike_compressor.evaluations import parse_evaluation

RECIPE = Path(__file__).parents[3] / "recipes" / "compare" / "rtn_w4_g64.yaml"
#: Instead of the recipe's: few enough that some answers are wrong.
TIMESTEPS = "timesteps: {vision: 3, text: 3}"
PER_KIND = 8
FIRST_LINE = "part['text'].split('\\n')[0].removeprefix('Question: ').lower()"
#: Kinds of questions -> categories of OCRBench.
CATEGORIES = {
    "read": "Digit String Recognition",
    "word": "Artistic Text Recognition",
    "letter": "Regular Text Recognition",
    "pos": "Scene Text-centric VQA",
    "max": "Handwritten Mathematical Expression Recognition",
}
#: Two questions a picture, by subtask of MME.
SUBTASKS = ("existence", "color", "commonsense_reasoning")
COLORS, SHAPES = ("red", "green", "blue", "yellow"), ("triangle", "circle", "rectangle", "square")


def main(out: Path) -> None:
    """All of it."""
    from llmcompressor import oneshot

    processor = load_processor()
    before = processor.chat_template
    processor.chat_template = before.replace("{{ part['text'] }}", "{{ " + FIRST_LINE + " }}")
    assert FIRST_LINE in processor.chat_template
    recipe = RECIPE.read_text(encoding="utf-8").replace("timesteps: {vision: 3, text: 4}", TIMESTEPS)
    assert TIMESTEPS in recipe
    oneshot(model=load_model(), processor=processor, recipe=recipe, output_dir=str(out / "checkpoint"))

    drawn = benchmarks()
    (out / "LMUData").mkdir(exist_ok=True)
    for name, rows in drawn.items():
        written(out / "LMUData", name, [{**row, "image": encoded(row["image"])} for row in rows])
    as_lmms_tasks(out / "lmms", drawn)
    as_lm_eval_tasks(out / "lm_eval")

    model, processor = spike_compressor.load(out / "checkpoint"), open_processor(out / "checkpoint")
    own = {}
    for name in drawn:
        evaluation = parse_evaluation(f"{name}:{out / 'LMUData'}")
        found = evaluation.run(model, processor)
        own[name] = {"score": found.value, "answers": found.detail["answers"], "scores": found.detail["scores"]}
        print(f"{name}: {found.value:.2f} of {len(drawn[name])} questions")
    (out / "own.json").write_text(json.dumps(own, indent=1), encoding="utf-8")


def benchmarks() -> dict[str, list[dict[str, Any]]]:
    """Rows with their pictures, by name."""
    asked: dict[str, list[Item]] = {}
    for item in items("test", PER_KIND):
        asked.setdefault(item.kind, []).append(item)
    return {
        "ocrbench": _rows(
            {"answer": str([item.answer]), "category": category, **_of(item)}
            for kind, category in CATEGORIES.items()
            for item in asked[kind]
        ),
        "mme": _rows(_yes_and_no(12)),
        "textvqa": _rows(
            {"answer": str(_people(item.answer, number)), **_of(item)}
            for kind in ("color", "min", "vqa_shape", "read")
            for number, item in enumerate(asked[kind])
        ),
        "docvqa": _rows(
            {"answer": str([item.answer, f"{item.answer}."]), **_of(item)}
            for kind in ("read", "where", "word")
            for item in asked[kind]
        ),
        "scienceqa": _rows(
            {"answer": "ABCD"[choices.index(item.answer)], **dict(zip("ABCD", choices, strict=True)), **_of(item)}
            for kind, choices in (("vqa_color", COLORS), ("vqa_shape", SHAPES))
            for item in asked[kind]
            if item.answer in choices
        ),
    }


def _of(item: Item) -> dict[str, Any]:
    return {"question": item.question, "image": item.image}


def _rows(rows: Any) -> list[dict[str, Any]]:
    return [{"index": index, "image_path": f"{index}.png", **row} for index, row in enumerate(rows)]


def _yes_and_no(pictures: int) -> Any:
    """Two questions a picture, a yes and a no, as MME has them."""
    pixels, questions = embedded_shapes("test")
    for number in range(pictures):
        of_it = [(question, answer) for index, question, answer in questions if index == number]
        for right in ("yes", "no"):
            question = next(question for question, answer in of_it if answer == right)
            if right == "yes" and number % 4 == 3:
                right = "no"  # an answer key that is wrong, so that not every picture has both right
            image = Pictures.fromarray(pixels[number])
            subtask = SUBTASKS[number % len(SUBTASKS)]
            yield {
                "question": question,
                "answer": right.capitalize(),
                "category": subtask,
                "image": image,
                "image_path": f"{subtask}/{number}.png",
            }


def _people(answer: str, number: int) -> list[str]:
    """Ten answers, of which some agree."""
    agree = 10 - number % 4 * 3  # 10, 7, 4, 1
    return [answer] * agree + [f"other {index}" for index in range(10 - agree)]


def as_lmms_tasks(folder: Path, drawn: dict[str, list[dict[str, Any]]]) -> None:
    """lmms-eval's own tasks, on local files.

    A task that includes the published one keeps its prompts and scorers and replaces where the data are: this is what
    lmms-eval documents for local data.
    """
    import lmms_eval

    source = Path(lmms_eval.__file__).parent / "tasks"
    published = {
        "ocrbench": (source / "ocrbench" / "ocrbench.yaml", "test"),
        "mme": (source / "mme" / "mme.yaml", "test"),
        "textvqa": (source / "textvqa" / "textvqa_val.yaml", "validation"),
        "docvqa": (source / "docvqa" / "docvqa_val.yaml", "validation"),
        "scienceqa": (source / "scienceqa" / "scienceqa_img.yaml", "test"),
    }
    folder.mkdir(exist_ok=True)
    for name, (file, split) in published.items():
        columns = [_as_published(name, row) for row in drawn[name]]
        texts = {key: _feature(value) for key, value in columns[0].items() if key != "image"}
        data = Dataset.from_list(columns, features=Features({**texts, "image": Image()}))
        data.to_parquet(folder / f"{name}.parquet")
        (folder / f"{name}.yaml").write_text(
            f"include: {file}\ntask: local_{name}\ndataset_path: parquet\ndataset_name: null\n"
            f"dataset_kwargs: {{data_files: {{{split}: {folder.resolve()}/{name}.parquet}}}}\n",
            encoding="utf-8",
        )


def _feature(value: Any) -> Any:
    if isinstance(value, list):
        return List(Value("string"))
    return Value("int64" if isinstance(value, int) else "string")


def _as_published(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row as lmms-eval's data set of that name has it."""
    shared = {"image": row["image"], "question": row["question"]}
    several = json.loads(row["answer"].replace("'", '"')) if row["answer"].startswith("[") else []
    if name == "ocrbench":
        formula = row["category"] == CATEGORIES["max"]
        return {
            **shared,
            "answer": several,
            "question_type": row["category"],
            "dataset": "HME100k" if formula else "drawn",
        }
    if name == "mme":
        return {**shared, "answer": row["answer"], "category": row["category"], "question_id": row["image_path"]}
    if name == "textvqa":
        return {**shared, "answers": several, "question_id": row["index"]}
    if name == "docvqa":
        return {**shared, "answers": several, "questionId": str(row["index"])}
    choices = [row[letter] for letter in "ABCD"]
    return {**shared, "choices": choices, "answer": "ABCD".index(row["answer"]), "hint": ""}


def as_lm_eval_tasks(folder: Path) -> None:
    """Choices by their likelihood, and questions about pictures, for lm-evaluation-harness."""
    folder.mkdir(exist_ok=True)
    asked = [item for item in items("test", PER_KIND) if item.kind in ("vqa_color", "color", "max")]
    rows: dict[str, list[dict[str, Any]]] = {"colours": [], "pictures": []}
    for number, item in enumerate(asked):
        path = folder.resolve() / f"{number}.png"
        item.image.save(path)
        rows["pictures"].append({"text": prompt(item.question), "answer": item.answer, "file": str(path)})
        if item.answer in COLORS:
            rows["colours"].append({"question": item.question, "answer": COLORS.index(item.answer)})
    colours = lm_eval_tasks.choices(COLORS)
    lm_eval_tasks.write_tasks(
        folder, {"colours": (colours, rows["colours"]), "pictures": (lm_eval_tasks.PICTURES, rows["pictures"])}
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
