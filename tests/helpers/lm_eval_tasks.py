"""Local tasks of lm-evaluation-harness, in its own format, each with its data beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_HEAD = """\
task: {task}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/{task}.jsonl}}}}
test_split: test
"""
#: Rows of `question` and `answer`, the index of a choice.
CHOICES = """\
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: [CHOICES]
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
#: Rows of `text`.
PROSE = """\
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}]
"""
#: Rows of `text`, `answer` and the picture's `file`.
PICTURES = """\
output_type: generate_until
doc_to_text: "{{text}}"
doc_to_image: !function pictures.picture
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
metric_list: [{metric: exact_match}]
"""
_PICTURE = "from PIL import Image\n\n\ndef picture(doc):\n    return [Image.open(doc['file']).convert('RGB')]\n"


def choices(names: Sequence[str]) -> str:
    """A task whose answers are these."""
    return CHOICES.replace("CHOICES", ", ".join(names))


def write_tasks(folder: Path, tasks: Mapping[str, tuple[str, Sequence[Mapping[str, Any]]]]) -> None:
    """Write tasks into a folder: name -> (one of the texts above, rows)."""
    for task, (text, rows) in tasks.items():
        head = _HEAD.format(task=task, folder=folder.resolve())
        (folder / f"{task}.yaml").write_text(head + text, encoding="utf-8")
        (folder / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "pictures.py").write_text(_PICTURE, encoding="utf-8")
