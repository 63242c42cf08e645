"""Perplexity of a text file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from spike_compressor.errors import InputError
from spike_compressor.evaluations.base import Evaluation, Metric, Progress, register_evaluation, whole_number
from spike_compressor.evaluations.bootstrap import perplexity_interval
from spike_compressor.evaluations.disjoint import shingles
from spike_compressor.evaluations.likelihood import perplexity
from spike_compressor.fingerprint import digest_of_files


@register_evaluation("text")
class TextPerplexity(Evaluation):
    """Perplexity of a text file: `text:FILE`, or `text:FILE@512x24` for 24 windows of 512 tokens (default 512x16)."""

    unit = "perplexity"
    higher_is_better = False
    items_are = "passages of 32 tokens"

    def __init__(self, argument: str) -> None:
        super().__init__(argument)
        path, _, windows = argument.partition("@")
        context, _, count = (windows or "512x16").partition("x")
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"--eval text: no file at {path!r}; give text:FILE")
        self.context, self.windows = whole_number(context, 512, "--eval text"), whole_number(count, 16, "--eval text")

    @property
    def label(self) -> str:
        return f"text:{self.path.name}@{self.context}x{self.windows}"

    def parts(self) -> dict[str, Any]:
        return {**super().parts(), "file": digest_of_files([self.path], self.path.parent)}

    def tokens(self, processor: Any) -> torch.Tensor:
        """int64 [windows x context], from the head of the file."""
        tokenizer = getattr(processor, "tokenizer", processor)
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--eval text: cannot read {self.path}: {error}") from error
        ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
        if ids.numel() < 2:
            raise InputError(f"--eval text: {self.path} is empty")
        return ids[: self.context * self.windows]

    def items(self, processor: Any) -> Iterator[bytes]:
        yield from shingles(self.tokens(processor))

    def calibration_items(self, loader: Any) -> Iterator[bytes]:
        for batch in loader:
            mask = batch.get("attention_mask")
            for index, row in enumerate(batch["input_ids"]):
                yield from shingles(row if mask is None else row[mask[index].bool()])

    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Metric:
        measured = perplexity(model, self.tokens(processor), self.context, progress=progress)
        return Metric.of(perplexity_interval(measured), measured.scored, measured.to_dict())

    def sample(self, model: Any, processor: Any) -> None:
        perplexity(model, self.tokens(processor)[: self.context], self.context)
