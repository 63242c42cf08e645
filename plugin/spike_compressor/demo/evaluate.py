"""Accuracy on the demo's questions: exact match under greedy decoding, and the blind baseline.

``python -m spike_compressor.demo.evaluate`` measures the embedded model on the test split.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from spike_compressor.checkpoint import open_model, open_processor
from spike_compressor.threads import threads_for, use_threads

from .data import SPLITS, Item
from .data import items as draw_items
from .model import MAX_ANSWER_TOKENS, MODEL_DIR, prompt


@dataclass(frozen=True)
class Accuracy:
    """Exact-match accuracy, 0 … 1. ``average`` is the mean over kinds; ``questions`` counts them by kind."""

    average: float
    by_kind: dict[str, float]
    questions: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, for JSON."""
        return {"average": self.average, "by_kind": dict(self.by_kind), "questions": dict(self.questions)}


def evaluate(
    model: Any,
    processor: Any,
    items: Sequence[Item],
    *,
    shuffle_images: bool = False,
    batch_size: int = 64,
    progress: Callable[[int, int], object] | None = None,
) -> Accuracy:
    """Share of ``items`` whose answer the model would generate exactly, by kind.

    One forward a batch: greedy decoding gives an answer if and only if, with the answer itself as context, the
    most likely next token is the right one at each of its positions and the end token follows. Batches hold items
    of equal length, so nothing is padded. ``shuffle_images`` is the blind baseline: within a family every item
    gets a picture that differs from its own. ``progress(done, total)`` is called after every batch.

    Raises:
        ValueError: no items, or pictures that cannot be shuffled because too many are the same.
    """
    correct = judge(model, processor, items, shuffle_images=shuffle_images, batch_size=batch_size, progress=progress)
    return accuracy(items, correct)


def accuracy(items: Sequence[Item], correct: Sequence[bool]) -> Accuracy:
    """Accuracy by kind of what `judge` found about ``items``."""
    hits: dict[str, int] = {}
    questions: dict[str, int] = {}
    for item, right in zip(items, correct, strict=True):
        questions[item.kind] = questions.get(item.kind, 0) + 1
        hits[item.kind] = hits.get(item.kind, 0) + int(right)
    by_kind = {kind: hits[kind] / questions[kind] for kind in questions}
    return Accuracy(sum(by_kind.values()) / len(by_kind), by_kind, questions)


def judge(
    model: Any,
    processor: Any,
    items: Sequence[Item],
    *,
    shuffle_images: bool = False,
    batch_size: int = 64,
    progress: Callable[[int, int], object] | None = None,
) -> list[bool]:
    """Item by item, whether the model's greedy answer is exactly ``item.answer``. See `evaluate`."""
    correct = [False] * len(items)
    done = 0
    for batch in batches(processor, items, shuffle_images=shuffle_images, batch_size=batch_size):
        for place, right in zip(batch.places, judge_batch(model, processor, batch), strict=True):
            correct[place] = right
        done += len(batch.places)
        if progress is not None:
            progress(done, len(items))
    return correct


@dataclass(frozen=True)
class Batch:
    """Questions with their answers, of equal length, for one forward pass.

    ``places`` are their indices among all items, ``texts`` prompts with answers, ``answers`` the tokens of each answer
    with its end token.
    """

    places: tuple[int, ...]
    images: tuple[Image.Image, ...]
    texts: tuple[str, ...]
    answers: tuple[int, ...]


def batches(
    processor: Any, items: Sequence[Item], *, shuffle_images: bool = False, batch_size: int = 64
) -> list[Batch]:
    """``items`` as batches of one length each, the shortest first; the same for the same items.

    Raises:
        ValueError: no items, or pictures that cannot be shuffled because too many are the same.
    """
    if not items:
        raise ValueError("there are no items to evaluate")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    images = shuffled_images(items) if shuffle_images else [item.image for item in items]
    tokenizer = processor.tokenizer
    texts = [f"{prompt(item.question)} {item.answer} {tokenizer.eos_token}" for item in items]
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    answers = [len(ids) + 1 for ids in tokenizer([i.answer for i in items], add_special_tokens=False)["input_ids"]]
    order = sorted(range(len(items)), key=lambda i: (lengths[i], answers[i]))
    found: list[Batch] = []
    done = 0
    while done < len(items):
        places = order[done : done + batch_size]
        places = [i for i in places if lengths[i] == lengths[places[0]]]
        found.append(
            Batch(
                tuple(places),
                tuple(images[i] for i in places),
                tuple(texts[i] for i in places),
                tuple(answers[i] for i in places),
            )
        )
        done += len(places)
    return found


@torch.inference_mode()
def judge_batch(model: Any, processor: Any, batch: Batch) -> list[bool]:
    """Whether the model's greedy answer to each question of a batch is exactly the right one."""
    encoded = processor(images=list(batch.images), text=list(batch.texts), return_tensors="pt").to(model.device)
    ids = encoded["input_ids"]
    keep = max(batch.answers)
    short_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
    training = model.training
    model.eval()
    try:
        logits = model(
            input_ids=ids[:, :-1],
            attention_mask=encoded["attention_mask"][:, :-1],
            pixel_values=encoded["pixel_values"].to(model.dtype),
            use_cache=False,
            **({"logits_to_keep": keep} if short_logits else {}),
        ).logits[:, -keep:]
    finally:
        model.train(training)
    matches = (logits.argmax(-1) == ids[:, -keep:]).cpu()
    return [bool(row[keep - answer :].all()) for row, answer in zip(matches, batch.answers, strict=True)]


def shuffled_images(items: Sequence[Item]) -> list[Image.Image]:
    """A picture of the same family for every item, never one with the pixels of its own; always the same."""
    result: list[Image.Image | None] = [None] * len(items)
    for family in sorted({item.family for item in items}):
        members = [i for i, item in enumerate(items) if item.family == family]
        digests = {i: hashlib.sha256(items[i].image.tobytes()).hexdigest() for i in members}
        members.sort(key=lambda i: digests[i])
        # Equal pictures are neighbours now: moving on by the longest such run changes every picture.
        counts: dict[str, int] = {}
        for i in members:
            counts[digests[i]] = counts.get(digests[i], 0) + 1
        step = max(counts.values())
        if 2 * step > len(members):
            raise ValueError(
                f"{step} of the {len(members)} images of family {family} are the same, so they cannot be shuffled; "
                "evaluate more items"
            )
        for place, i in enumerate(members):
            result[i] = items[members[(place + step) % len(members)]].image
    return [image for image in result if image is not None]


@torch.inference_mode()
def predict(model: Any, processor: Any, image: Image.Image, question: str) -> str:
    """The model's greedy answer to ``question`` about ``image``, as text."""
    encoded = processor(images=image, text=prompt(question), return_tensors="pt").to(model.device)
    encoded["pixel_values"] = encoded["pixel_values"].to(model.dtype)
    generated = model.generate(**encoded, max_new_tokens=MAX_ANSWER_TOKENS, do_sample=False)
    answer = generated[0, encoded["input_ids"].shape[1] :]
    return str(processor.tokenizer.decode(answer, skip_special_tokens=True)).strip()


def main(arguments: list[str] | None = None) -> int:
    """Command line: a model directory's accuracy by kind beside the blind baseline, as a Markdown table or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m spike_compressor.demo.evaluate",
        description="Accuracy of the demo's model by kind of question, in percent, beside the blind baseline.",
    )
    parser.add_argument("--model", type=Path, default=MODEL_DIR, help="model directory (default: the embedded one)")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--per-kind", type=int, default=1000, help="questions of every kind (default 1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if not (options.model / "config.json").is_file():
        parser.exit(2, f"{parser.prog}: there is no model in {options.model}; pass a directory with --model\n")
    try:
        drawn = draw_items(options.split, options.per_kind)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    model, processor = open_model(options.model, "float32"), open_processor(options.model)
    with use_threads(threads_for(model)):
        seen = evaluate(model, processor, drawn)
        blind = evaluate(model, processor, drawn, shuffle_images=True)
    if options.json:
        print(json.dumps({options.split: seen.to_dict(), "blind": blind.to_dict()}))
        return 0
    print("| kind | questions | accuracy | blind |\n| --- | --: | --: | --: |")
    for kind, count in seen.questions.items():
        print(f"| `{kind}` | {count} | {100 * seen.by_kind[kind]:.1f} | {100 * blind.by_kind[kind]:.1f} |")
    total = sum(seen.questions.values())
    print(f"| **average** | {total} | **{100 * seen.average:.2f}** | {100 * blind.average:.2f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
