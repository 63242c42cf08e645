"""Tasks of lm-evaluation-harness as evaluations of a comparison."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from spike_compressor.errors import InputError
from spike_compressor.evaluations.base import (
    Evaluation,
    Metric,
    Progress,
    register_evaluation,
    whole_number,
)
from spike_compressor.evaluations.bootstrap import Interval, accuracy_interval
from spike_compressor.evaluations.disjoint import shingles
from spike_compressor.evaluations.text import TextPerplexity
from spike_compressor.integrations.lm_eval import HARNESS
from spike_compressor.reading import read_text
from spike_compressor.yaml_files import parse_yaml

#: Right or wrong a document, best known first.
_METRICS = ("acc_norm", "acc", "exact_match")


@register_evaluation("lm_eval")
class HarnessTask(Evaluation):
    """Share of right answers in a task of lm-evaluation-harness.

    `lm_eval:TASK@100` takes the first 100 documents of a task by its name, `lm_eval:FILE.yaml` a task of one's own.
    The first of `acc_norm`, `acc` and `exact_match` that the task has is the metric.
    """

    unit = "%"
    higher_is_better = True
    items_are = "passages of 32 tokens"

    def __init__(self, argument: str) -> None:
        super().__init__(argument)
        HARNESS.require()
        task, _, limit = argument.partition("@")
        if not task:
            raise InputError("--eval lm_eval needs a task: lm_eval:NAME or lm_eval:FILE.yaml")
        self.limit = whole_number(limit, 0, f"--eval {self.name}") or None
        self.file = Path(task) if task.endswith((".yaml", ".yml")) else None
        self.task = task if self.file is None else _name_in(self.file)

    @property
    def label(self) -> str:
        return f"{self.name}:{self.task}" + (f"@{self.limit}" if self.limit else "")

    def parts(self) -> dict[str, Any]:
        import lm_eval

        found = {**super().parts(), "lm_eval": lm_eval.__version__}
        return found if self.file is None else {**found, "task": self.file.read_text(encoding="utf-8")}

    def _manager(self) -> Any:
        return _task_manager(None if self.file is None else str(self.file.resolve().parent))

    def _task(self) -> Any:
        try:
            found = self._manager().load([self.task])["tasks"]
        except (KeyError, ValueError, OSError) as error:
            raise InputError(f"--eval {self.label}: the task cannot be loaded: {error}") from error
        if len(found) != 1:
            raise InputError(
                f"--eval {self.label} is a group of {len(found)} tasks; name one of them: {', '.join(found)}"
            )
        (task,) = found.values()
        return task

    def _documents(self) -> list[str]:
        task = self._task()
        rows = task.test_docs() if task.has_test_docs() else task.validation_docs()
        texts = []
        for index, row in enumerate(rows):
            if self.limit is not None and index >= self.limit:
                break
            texts.append(f"{task.doc_to_text(row)} {task.doc_to_target(row)}")
        return texts

    def items(self, processor: Any) -> Iterator[bytes]:
        tokenizer = getattr(processor, "tokenizer", processor)
        for text in self._documents():
            yield from shingles(torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"]))

    calibration_items = TextPerplexity.calibration_items

    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Metric:
        from lm_eval import simple_evaluate

        found = simple_evaluate(
            model=self._wrapped(model, processor),
            tasks=[self._task()],
            task_manager=self._manager(),
            limit=self.limit,
            bootstrap_iters=0,
            log_samples=True,
        )
        (samples,) = found["samples"].values()
        metric = next((name for name in _METRICS if name in samples[0]), None)
        if metric is None:
            raise InputError(f"--eval {self.label}: the task has none of the metrics {', '.join(_METRICS)}")
        right = [bool(sample[metric]) for sample in samples]
        interval = accuracy_interval({self.task: right})
        percent = Interval(100 * interval.estimate, 100 * interval.low, 100 * interval.high)
        detail = {"metric": metric, "correct": {self.task: "".join("01"[one] for one in right)}}
        return Metric.of(percent, len(right), detail)

    def sample(self, model: Any, processor: Any) -> None:
        tokenizer = getattr(processor, "tokenizer", processor)
        for text in self._documents()[:4]:
            model(**tokenizer(text, return_tensors="pt"))

    @staticmethod
    def _wrapped(model: Any, processor: Any) -> Any:
        from spike_compressor.integrations.lm_eval.models import SpikeLM

        return SpikeLM(pretrained=model, tokenizer=getattr(processor, "tokenizer", processor), batch_size=8)


@functools.cache
def _task_manager(folder: str | None) -> Any:
    """lm-evaluation-harness's index: of the tasks in a folder, or of its own.

    It reads thousands of files for its own tasks, so it does that once per process, and not for a task of the user's.
    """
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=folder, include_defaults=folder is None)


def _name_in(file: Path) -> str:
    """The task's name, read without running what the file may include."""
    where = f"--eval lm_eval: the task {file}"
    content = parse_yaml(read_text(file, "YAML", where), where, tags=True)
    if not isinstance(content, dict) or not isinstance(content.get("task"), str):
        raise InputError(f"--eval lm_eval: {file} names no task (`task: NAME`)")
    return str(content["task"])
