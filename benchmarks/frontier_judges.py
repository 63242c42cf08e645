"""What the frontier judges models by: held-out text for SmolLM2, all test questions for the embedded model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import smollm2
import torch
from frontier_codes import WEIGHTS_ALONE, Code
from frontier_weights import weights_recipe
from quantizers_smollm2 import calibration as calibration_windows
from spike_compressor.cli.models import calibration_of_seed
from spike_compressor.comparison import Cells, Workbench
from spike_compressor.demo.data import items
from spike_compressor.demo.evaluate import Batch, batches, judge, judge_batch
from spike_compressor.demo.model import MODEL_DIR, load_model, load_processor
from spike_compressor.evaluations import Interval, Perplexity, accuracy_difference, accuracy_interval
from spike_compressor.evaluations.bootstrap import perplexity_interval, perplexity_ratio
from spike_compressor.evaluations.disjoint import require_disjoint, shingles
from spike_compressor.evaluations.likelihood import perplexity
from spike_compressor.fingerprint import digest
from spike_compressor.metrics import SpikeRecord, record_planes, record_spikes
from spike_compressor.runtime import spiking_layers, spiking_state
from spike_compressor.runtime.reference import weight_only


class Judge:
    """A model's weights, its data in chunks, and the folder where what was found is kept.

    Args:
        scratch: folder for models, weights and cells.
    """

    name: ClassVar[str]
    chunks: ClassVar[int]

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.folder = scratch / "sweeps" / f"frontier_{self.name}"
        self.store = Cells(self.folder / "cells")
        self._benches: dict[int, Workbench] = {}

    # Models

    def open(self) -> Any:
        """The float model."""
        raise NotImplementedError

    def bench(self, seed: int) -> Workbench:
        """Where models of a seed are made."""
        if seed not in self._benches:
            self._benches[seed] = self._bench(seed)
        return self._benches[seed]

    def _bench(self, seed: int) -> Workbench:
        raise NotImplementedError

    def exact(self, weights: str, seed: int) -> Any:
        """A model with these weights, which spikes with T = 7."""
        return self.bench(seed).exact(weights_recipe(weights))

    @contextlib.contextmanager
    def coded(self, model: Any, code: Code) -> Iterator[None]:
        """Within the block the layers of a model spike as a code says, or not at all."""
        if code.label == WEIGHTS_ALONE:
            with weight_only(model):
                yield
            return
        state = spiking_state(model)
        if code.budget is None and not code.rebuilt:
            for layer in state.layers.values():
                layer.neurons.spec = code.spec(layer.neurons.spec.timesteps)
        yield

    # What is kept

    def key(self, weights: str, code: Code, seed: int, part: int | str) -> dict[str, Any]:
        """Everything that a part of a row depends on."""
        key = {"judge": self.name, "weights": self._weights(weights, seed), "part": self.data(part)}
        recipe = None if weights == "float" else code.recipe(weights_recipe(weights))
        if recipe is None:
            return {**key, "code": code.label}
        return {**key, "code": code.label, "spikes": self.bench(seed).parts(recipe)}

    def _weights(self, name: str, seed: int) -> dict[str, Any]:
        bench = self.bench(seed)
        if name == "float":
            return {"model": bench.parts()["model"]}
        parts = bench.weights_parts(weights_recipe(name))
        del parts["checkpoint"]  # how files are laid out changes no weights
        return {"weights": digest(parts)}

    def get(self, weights: str, code: Code, seed: int, part: int | str) -> Any | None:
        """What was found, or None."""
        return self.store.get(self.key(weights, code, seed, part))

    def data(self, part: int | str) -> str:
        """Names the data of a chunk, or of the count of spikes, by their content."""
        raise NotImplementedError

    # Judging

    def judge(self, model: Any, chunk: int) -> Any:
        """What a model does on a chunk, as plain values."""
        raise NotImplementedError

    def sample(self, model: Any) -> None:
        """Run a model on the data that spikes are counted on."""
        raise NotImplementedError

    def count(self, model: Any) -> dict[str, Any]:
        """Spikes and operations on a sample."""
        with record_spikes(model) as record, record_planes(model) as planes:
            self.sample(model)
        seen = {name: layer.modalities for name, layer in spiking_layers(model).items()}
        return {"totals": record.to_dict(), "layers": _layers(record), "modalities": seen, "planes": planes.to_dict()}

    def figures(self, chunks: list[Any], floating: list[Any], weights: list[Any] | None) -> dict[str, Interval]:
        """The metric of a row, and its paired differences to the float model and to the weights alone."""
        raise NotImplementedError

    def settings(self, chunks: int) -> Mapping[str, Any]:
        """What stands above the table."""
        raise NotImplementedError


def _layers(record: SpikeRecord) -> dict[str, dict[str, dict[str, Any]]]:
    table: dict[str, dict[str, Any]] = {}
    for (name, modality), layer in record.layers.items():
        table.setdefault(name, {})[modality] = {
            "timesteps": layer.timesteps,
            "neurons": layer.neurons,
            "by_step": layer.spikes_by_step(),
            "sops": layer.sops,
            "macs": layer.macs,
            "clipped": layer.saturated,
        }
    return table


class SmolLM2(Judge):
    """SmolLM2-135M on five held-out works, a window of 512 tokens of each in every chunk: 40 windows, 20,480 tokens."""

    name = "smollm2"
    chunks = 8
    context = 512
    #: Tokens of each work that spikes are counted on.
    counted = 256
    samples = 32

    def __init__(self, scratch: Path) -> None:
        super().__init__(scratch)
        smollm2.require()
        smollm2.model_directory(scratch)

    @cached_property
    def tokenizer(self) -> Any:
        return smollm2.load_tokenizer(self.scratch)

    @cached_property
    def texts(self) -> dict[str, torch.Tensor]:
        """int64 [chunks x context] by work."""
        return smollm2.tokens_of(self.tokenizer, smollm2.FRONTIER_WORKS, self.chunks * self.context)

    def open(self) -> Any:
        return smollm2.load_model(self.scratch)

    def _bench(self, seed: int) -> Workbench:
        calibration = partial(calibration_windows, self.samples, self.tokenizer, seed)
        seen = (part for batch in calibration() for row in batch["input_ids"] for part in shingles(row))
        require_disjoint(
            seen, (part for text in self.texts.values() for part in shingles(text)), "passages of 32 tokens"
        )
        directory = smollm2.model_directory(self.scratch)
        return Workbench(directory, self.open, self.tokenizer, calibration, self.scratch / "weights", seed)

    def windows(self, chunk: int) -> torch.Tensor:
        """int64 [works x context]: the chunk's window of each work."""
        start = chunk * self.context
        return torch.cat([text[start : start + self.context] for text in self.texts.values()])

    def data(self, part: int | str) -> str:
        return digest(
            [str(part) if part == "spikes" else "", self.windows(0 if part == "spikes" else int(part)).tolist()]
        )

    def judge(self, model: Any, chunk: int) -> Any:
        return perplexity(model, self.windows(chunk), self.context).to_dict()

    def sample(self, model: Any) -> None:
        tokens = self.windows(0).view(-1, self.context)[:, : self.counted]
        perplexity(model, tokens.flatten(), self.counted)

    def figures(self, chunks: list[Any], floating: list[Any], weights: list[Any] | None) -> dict[str, Interval]:
        own, real = _joined(chunks), _joined(floating)
        found = {"perplexity": perplexity_interval(own), "over_float": perplexity_ratio(own, real)}
        if weights is not None:
            found["over_weights"] = perplexity_ratio(own, _joined(weights))
        return found

    def settings(self, chunks: int) -> Mapping[str, Any]:
        works = ", ".join(smollm2.FRONTIER_WORKS)
        return {
            "held-out text": f"{chunks} windows of {self.context} tokens of each: {works}",
            "calibration": f"{self.samples} windows of {self.context} tokens out of 64",
            "caveat": smollm2.CAVEAT,
        }


def _joined(chunks: list[Any]) -> Perplexity:
    return Perplexity.joined([Perplexity.from_dict(chunk) for chunk in chunks])


class Embedded(Judge):
    """The embedded model on its test questions, every tenth of each kind in a chunk: 15,000 in all."""

    name = "embedded"
    chunks = 10
    per_kind = 1000
    samples = 256
    batch = 64
    #: Questions of each kind that spikes are counted on.
    counted = 10

    @cached_property
    def processor(self) -> Any:
        return load_processor()

    @cached_property
    def questions(self) -> list[Any]:
        return items("test", self.per_kind)

    @cached_property
    def _encoded(self) -> dict[int, list[tuple[Batch, Any]]]:
        """Batches of a chunk with what the processor makes of them: it takes as long as the model does."""
        return {}

    def open(self) -> Any:
        return load_model()

    def _bench(self, seed: int) -> Workbench:
        calibration = partial(calibration_of_seed, "demo", self.samples, 8, self.processor, seed)
        return Workbench(MODEL_DIR, self.open, self.processor, calibration, self.scratch / "weights_embedded", seed)

    def asked(self, chunk: int) -> list[Any]:
        """The questions of a chunk."""
        return self.questions[chunk :: self.chunks]

    def data(self, part: int | str) -> str:
        return digest(["test", self.per_kind, self.chunks, part if part != "spikes" else f"{self.counted} counted"])

    def judge(self, model: Any, chunk: int) -> Any:
        asked = self.asked(chunk)
        if chunk not in self._encoded:
            self._encoded[chunk] = [
                (batch, self.processor(images=list(batch.images), text=list(batch.texts), return_tensors="pt"))
                for batch in batches(self.processor, asked, batch_size=self.batch)
            ]
        right = [False] * len(asked)
        for batch, encoded in self._encoded[chunk]:
            answers = judge_batch(model, lambda encoded=encoded, **_: encoded, batch)
            for place, one in zip(batch.places, answers, strict=True):
                right[place] = one
        found: dict[str, str] = {}
        for item, one in zip(asked, right, strict=True):
            found[item.kind] = found.get(item.kind, "") + "01"[one]
        return found

    def sample(self, model: Any) -> None:
        judge(model, self.processor, self.questions[:: self.per_kind // self.counted])

    def figures(self, chunks: list[Any], floating: list[Any], weights: list[Any] | None) -> dict[str, Interval]:
        own, real = _answers(chunks), _answers(floating)
        found = {"accuracy": accuracy_interval(own), "minus_float": accuracy_difference(own, real)}
        if weights is not None:
            found["minus_weights"] = accuracy_difference(own, _answers(weights))
        return found

    def settings(self, chunks: int) -> Mapping[str, Any]:
        return {
            "questions": f"{chunks * self.per_kind // self.chunks} of each of 15 kinds of the test split",
            "calibration": f"{self.samples} questions of the calibration split",
        }


def _answers(chunks: list[Any]) -> dict[str, list[bool]]:
    return {kind: [one == "1" for chunk in chunks for one in chunk[kind]] for kind in chunks[0]}


JUDGES: dict[str, type[Judge]] = {one.name: one for one in (SmolLM2, Embedded)}
