"""What a comparison of a miniature with code of its own needs; in a module, so that worker processes find it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from spike_compressor.evaluations.base import Evaluation, Metric, Progress
from torch import Tensor
from torch.utils.data import DataLoader

from helpers.tiny_models import VOCABULARY


def prompts(seed: int, count: int) -> Tensor:
    """Token ids [count, 8] without pictures."""
    return torch.randint(10, VOCABULARY, (count, 8), generator=torch.Generator().manual_seed(seed))


def calibration(processor: Any, seed: int) -> DataLoader[Any]:
    """Two batches of two rows."""
    batches = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in prompts(seed, 4).split(2)]
    return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]


class MeanLogit(Evaluation):
    """Mean magnitude of the logits of four prompts; the model takes `input_ids` and no switches of its cache."""

    name, unit, higher_is_better = "mean_logit", "logit", True

    def items(self, processor: Any) -> Iterator[bytes]:
        for row in prompts(1000, 4):
            yield row.numpy().tobytes()

    def calibration_items(self, loader: Any) -> Iterator[bytes]:
        for batch in loader:
            for row in batch["input_ids"]:
                yield row.numpy().tobytes()

    @torch.inference_mode()
    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Metric:
        value = float(model(input_ids=prompts(1000, 4)).logits.abs().mean())
        return Metric(value, value, value, 4, {})

    def sample(self, model: Any, processor: Any) -> None:
        self.run(model, processor)
